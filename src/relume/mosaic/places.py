r"""Where the tiles lie: robust least squares over all measured shifts."""

__all__ = ["places"]

from collections.abc import Sequence

import numpy as np

from .overlap import Places
from .registration import GATE, Link

_SHARP, _STAGE = 0.2, 4.0  # pixels: how exact a measured shift is, and a step of the stage
_TURN = 0.02  # by how much a stage is turned or stretched, at a guess
_WIDE, _CLOSER, _ROUNDS = 32.0, 0.75, 25  # pixels that a shift may miss at first; how that falls, how often
_BELIEF = 0.25, 0.5  # a correlation from which belief grows, and within how much more it is whole
_ENOUGH = 1 / 8  # of the links: fewer may all be wrong, and what turns a mosaic moves its corners far


def places(nominal: Places, links: Sequence[Link], *, gate: float = GATE) -> Places:
    r"""Upper left corners (N,2), (y, x) in pixels, that agree best with the links.

    .. math:: \min_p \sum_{ij} \rho\!\left(p_j - p_i - s_{ij}\right)/\sigma^2
        + \sum_{ij} \lVert p_j - p_i - M(n_j - n_i)\rVert^2/\sigma_n^2

    Links below the gate say nothing; there the stage is believed, turned and stretched by the M that the
    others show, 1 where few do. ρ is Cauchy's, so that a false link does not pull, and narrows from wide to
    sharp: begun sharp, a false link that pulls a tile far at first keeps it there, and the stage and it
    outvote the true ones. Links count less the lower their correlation: just above the gate most are false
    where overlaps hold little. The mean place is that of the nominal ones.

    Source: Blake and Zisserman, *Visual Reconstruction*, 1987, for the narrowing.
    """
    from scipy.sparse import coo_array, eye_array
    from scipy.sparse.linalg import spsolve

    if not links:
        return nominal.copy()
    i, j = (np.array(part) for part in zip(*((link.i, link.j) for link in links), strict=True))
    steps = nominal[j] - nominal[i]
    found = np.array([link.offset for link in links])
    sure = np.array([link.ncc >= gate for link in links])
    expected = steps @ _turn(steps[sure], found[sure]) if sure.mean() >= _ENOUGH else steps
    count, rows = len(nominal), np.arange(len(links))
    ends = np.concatenate([-np.ones(len(links)), np.ones(len(links))])
    graph = coo_array((ends, (np.tile(rows, 2), np.concatenate([i, j]))), (len(links), count)).tocsr()
    at = nominal.copy()
    ncc = np.array([link.ncc for link in links])
    belief = np.where(sure, np.clip((ncc - _BELIEF[0]) / _BELIEF[1], 0.1, 1.0), 0.0) * _SHARP**-2
    weight, width = belief, _WIDE
    for _ in range(_ROUNDS):
        total = weight + _STAGE**-2
        target = (weight[:, None] * found + _STAGE**-2 * expected) / total[:, None]
        matrix = graph.T @ graph.multiply(total[:, None]) + 1e-9 * eye_array(count)
        at = np.stack([spsolve(matrix.tocsc(), graph.T @ (total * target[:, k])) for k in (0, 1)], axis=1)
        miss = np.hypot(*(graph @ at - found).T)
        weight = belief / (1 + (miss / width) ** 2)
        width = max(3 * _SHARP, _CLOSER * width)
    return np.asarray(at - at.mean(0) + nominal.mean(0))


def _turn(steps: Places, found: Places) -> Places:
    """M, transposed: the linear map from nominal to found steps, near 1 unless many links say otherwise."""
    weight = np.ones(len(steps))
    turn: Places = np.eye(2)
    for _ in range(10):
        near = (_STAGE / _TURN) ** 2 * np.eye(2)
        square, mixed = (steps.T @ (weight[:, None] * part) for part in (steps, found))
        turn = np.asarray(np.linalg.solve(square + near, mixed + near), np.float64)
        miss = np.hypot(*(steps @ turn - found).T)
        weight = 1 / (1 + (miss / 8) ** 2)
    return turn
