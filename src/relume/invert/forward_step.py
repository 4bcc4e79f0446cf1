r"""The forward step method: small steps against the residual, made safe."""

__all__ = ["forward_step"]

from relume.invert.inversion import Array, Forward, Inversion, Search

# A residual so many times the best one is a divergence, and not a detour.
DIVERGED = 10.0


def forward_step(
    forward: Forward,
    y: Array,
    x: Array,
    *,
    tolerance: float = 1e-6,
    iterations: int = 500,
    step: float = 1.0,
    warmup: int = 20,
    patience: int = 20,
) -> Inversion:
    r""":math:`x \leftarrow x - ρ_k\,(F(x) - y)` without any gradient of F.

    :math:`ρ_k` grows to ``step`` over ``warmup`` iterations. It is halved, and the search goes back to the
    best point, when ``patience`` iterations brought nothing better or the residual has grown tenfold; so a
    step that is too long for F's cocoercivity β (ρ < 2β is needed) is found out and mended.

    Source: "On Exact Inversion of DPM-Solvers", Hong, Lee, Jeon, Bae, Chun, 2024. The return to the best
    point is ours.
    """
    search = Search(forward, y, x, tolerance=tolerance, iterations=iterations, patience=5 * patience)
    idle, factor = 0, 1.0
    while not search.over():
        before = search.residual
        miss = search.miss(x)
        # The first digits of a plateau are no progress.
        idle = 0 if search.last < (1 - 1e-4) * before else idle + 1
        if search.over():
            break
        if idle >= patience or search.last > DIVERGED * search.residual:
            x, idle, factor = search.best, 0, factor / 2
            continue
        x = x - step * factor * min(1.0, search.count / max(1, warmup)) * miss
    return search.result()
