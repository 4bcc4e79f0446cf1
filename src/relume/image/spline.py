r"""Fields that vary slowly over a picture: uniform cubic B-splines, as matrices."""

__all__ = ["spline_matrix"]

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=64)
def spline_matrix(points: int, grid: int) -> NDArray[np.float32]:
    r"""The points×grid matrix of a cubic B-spline whose control points lie in the middle of ``grid`` cells.

    With one matrix R for rows and one C for columns, :math:`R F C^T` is the field of the control points F.
    Rows sum to one: beyond the outermost control points the spline goes on as if these were repeated. The
    answer is shared: do not write to it.

    Source: de Boor, *A Practical Guide to Splines*, 1978.
    """
    place = (np.arange(points) + 0.5) / points * grid - 0.5
    first = np.floor(place).astype(int)
    u = place - first
    taps = ((1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3)
    matrix = np.zeros((points, grid))
    for k, tap in enumerate(taps):
        np.add.at(matrix, (np.arange(points), np.clip(first + k - 1, 0, grid - 1)), tap / 6)
    return matrix.astype(np.float32)
