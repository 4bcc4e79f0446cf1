r"""Texture that a net took for noise is given back.

Noise lies all over a picture, so what a denoiser takes away is about as much everywhere. Where it takes away
several times as much as it does in the middle of the picture, and more than half of all fine detail, without
seeing damage there, that was grass, leaves or cloth.
"""

__all__ = ["given_back"]

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from relume.tasks.finish import weight_of

Array = NDArray[np.float32]

_CELL = 16  # pixels a side: in a cell scratches are few, so that its median does not see them
_STRIP = 32 * _CELL  # rows at a time, so that little memory is needed
_MUCH, _LEAST = 2.5, 0.02  # of what is taken away: times the usual, and levels of [0,1]
_KEPT = 0.5  # of the energy of gradients
_GREY = np.full(3, 1 / 3, np.float32)


def given_back(before: Array, after: Array, found: Array) -> Array:
    """``after`` (H×W×3), which the net made of ``before``, with the texture that it erased; changed in place.

    ``found`` (H×W) is the probability of damage: there it stays as the net made it. As much as is usual in
    this picture stays taken away, too.
    """
    rows, columns = (side // _CELL for side in before.shape[:2])
    if min(rows, columns) < 4:
        return after
    taken, kept = np.empty((2, rows, columns), np.float32)
    for row in range(0, rows, _STRIP // _CELL):
        cut = slice(row * _CELL, min(rows, row + _STRIP // _CELL) * _CELL)
        one, other = (picture[cut, : columns * _CELL] @ _GREY for picture in (before, after))
        there = slice(row, row + len(one) // _CELL)
        # Every second pixel of every second row: a median of 64 is as sure as is needed.
        taken[there] = np.median(_cells(np.abs(one[::2, ::2] - other[::2, ::2]), _CELL // 2), axis=2)
        kept[there] = _slopes(other) / (_slopes(one) + 1e-8)
    usual = float(np.median(taken))
    much = max(_MUCH * usual, _LEAST)
    share = np.clip((taken - much) / (0.5 * much), 0, 1) * (1 - usual / np.maximum(taken, 1e-6))
    share *= np.clip((_KEPT - kept) / 0.2 + 0.5, 0, 1)
    if not share.any():
        return after
    weight = np.asarray(
        PilImage.fromarray(_smoothed(share.astype(np.float32))).resize(
            (before.shape[1], before.shape[0]), PilImage.Resampling.BILINEAR
        )
    ) * (1 - weight_of(found))
    for top in range(0, len(after), _STRIP):
        cut = slice(top, top + _STRIP)
        after[cut] += weight[cut, :, None] * (before[cut] - after[cut])
    return after


def _cells(plane: Array, side: int) -> Array:
    """(a·side, b·side) → (a, b, side²)."""
    rows, columns = (length // side for length in plane.shape)
    return plane.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(rows, columns, -1)


def _slopes(plane: Array) -> Array:
    """The energy of gradients of each cell."""
    across = np.diff(plane, axis=1, append=plane[:, -1:]) ** 2
    down = np.diff(plane, axis=0, append=plane[-1:]) ** 2
    rows, columns = (length // _CELL for length in plane.shape)
    total: Array = (across + down).reshape(rows, _CELL, columns, _CELL).sum(axis=(1, 3))
    return total


def _smoothed(plane: Array) -> Array:
    """Means over 3×3 cells."""
    wide = np.pad(plane, 1, mode="edge")
    h, w = plane.shape
    shifted = [wide[y : y + h, x : x + w] for y in range(3) for x in range(3)]
    return np.asarray(np.mean(shifted, axis=0), np.float32)
