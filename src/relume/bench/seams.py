r"""Do the borders of tiles show?"""

__all__ = ["seam_energy"]

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from relume.bench.metric import Picture, same_shape

Band = tuple[int, int]


def seam_energy(
    picture: Picture, truth: Picture, *, rows: Sequence[Band], columns: Sequence[Band]
) -> float | None:
    r"""Mean squared step of the error across the seams, over that across all other lines.

    The error :math:`p - t` is taken because the photograph's own edges cancel in it. A step lies between two
    neighbouring rows or columns; it belongs to a seam if one of its lines lies within a band (from, below)
    in which two tiles meet. 1 where the seams are like any other place; ``None`` where there is no
    seam, or no error elsewhere to compare with. Shapes H×W×C.

    Raises
    ------
    UsageError
        If the pictures differ in shape.
    """
    same_shape(picture, truth)
    error = picture.astype(np.float64) - truth
    at_seams, elsewhere = [], []
    for axis, bands in enumerate((rows, columns)):
        steps = (np.diff(error, axis=axis) ** 2).mean(axis=(1 - axis, 2))
        seam = _touched(len(steps), bands)
        at_seams.append(steps[seam])
        elsewhere.append(steps[~seam])
    seams, others = np.concatenate(at_seams), np.concatenate(elsewhere)
    if not seams.size or not others.size or others.mean() == 0:
        return None
    return float(seams.mean() / others.mean())


def _touched(count: int, bands: Sequence[Band]) -> NDArray[np.bool_]:
    """Which of ``count`` steps have a line within a band; step i lies between the lines i and i + 1."""
    touched = np.zeros(count, bool)
    for start, end in bands:
        touched[max(0, start - 1) : end] = True
    return touched
