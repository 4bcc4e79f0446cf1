r"""Anderson acceleration of the forward step method."""

__all__ = ["anderson"]

from collections import deque

import numpy as np

from relume.invert.inversion import Array, Forward, Inversion, Search, inner

# A residual so many times the best one ends a run of accelerated steps.
ASTRAY = 10.0
# Tikhonov term of the small system, relative to its trace.
RIDGE = 1e-14


def anderson(
    forward: Forward,
    y: Array,
    x: Array,
    *,
    tolerance: float = 1e-6,
    iterations: int = 500,
    step: float = 1.0,
    memory: int = 5,
) -> Inversion:
    r"""Combines the last steps so that the linear model of F through them has the least residual.

    With :math:`r_k = F(x_k) - y` and the differences of the last ``memory`` points:

    .. math::
        γ = \arg\min \|r_k - \textstyle\sum_j γ_j Δr_j\|, \qquad
        x_{k+1} = x_k - ρ r_k - \sum_j γ_j (Δx_j - ρ Δr_j)

    The cost is that of the forward step plus ``memory`` stored pairs. When it goes astray the history is
    dropped, ρ halved, and the search goes on from the best point.

    Source: "Iterative Procedures for Nonlinear Integral Equations", Anderson, 1965; "Anderson Acceleration
    for Fixed-Point Iterations", Walker, Ni, 2011.
    """
    search = Search(forward, y, x, tolerance=tolerance, iterations=iterations)
    moves: deque[tuple[Array, Array]] = deque(maxlen=memory)
    previous: tuple[Array, Array] | None = None
    while not search.over():
        miss = search.miss(x)
        if search.over():
            break
        if search.last > ASTRAY * search.residual:
            x, previous, step = search.best, None, step / 2
            moves.clear()
            continue
        if previous is not None:
            moves.append((x - previous[0], miss - previous[1]))
        previous = (x, miss)
        x = x - step * miss
        for gamma, (dx, dmiss) in zip(_mixing(miss, moves), moves, strict=True):
            x = x - gamma * (dx - step * dmiss)
    return search.result()


def _mixing(miss: Array, moves: deque[tuple[Array, Array]]) -> list[float]:
    """γ, by the normal equations of a system that has at most ``memory`` unknowns."""
    if not moves:
        return []
    columns = [dmiss for _, dmiss in moves]
    gram = np.array([[inner(a, b) for b in columns] for a in columns])
    # Columns of very different size (the residual falls by orders) are brought to one.
    size = np.sqrt(np.diag(gram))
    size[size == 0.0] = 1.0
    right = np.array([inner(a, miss) for a in columns]) / size
    gram = gram / np.outer(size, size) + RIDGE * len(columns) * np.eye(len(columns))
    if not (np.isfinite(gram).all() and np.isfinite(right).all()):
        return [0.0] * len(columns)
    return [float(value) for value in np.linalg.lstsq(gram, right, rcond=None)[0] / size]
