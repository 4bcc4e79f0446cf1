r"""A camera's image on the grid that a background net works on, and its answer back at full size.

Light is slow, so the net sees the image shrunk to ``side`` pixels along its shorter side, whatever the camera
has. What is finer and belongs to the instrument is no matter for a net: it is the same in every frame, and is
kept as a map of its own (:mod:`.fixed`), divided out before and put back after.
"""

__all__ = [
    "STRIP",
    "Working",
    "answered",
    "asked",
    "shrunk",
    "working",
]

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from relume.degrade.resample import resize_matrix
from relume.errors import UsageError

from .targets import LIMIT, channels, network_input

STRIP = 8  # from this ratio of sides on the net is not asked
Plane = NDArray[np.float32]


class Working(NamedTuple):
    """``shape`` of a shrunk image, and ``padded``: the same, mirrored to what the net takes."""

    shape: tuple[int, int]
    padded: tuple[int, int]


def working(shape: tuple[int, int], side: int, multiple: int) -> Working:
    """The grid for a camera of (H, W) pixels, its shorter side ``side``, both multiples of ``multiple``.

    Raises:
        UsageError: the frame is a strip, in which no light of an area can be seen.
    """
    if max(shape) > STRIP * min(shape):
        raise UsageError(
            f"a frame of {shape[0]}x{shape[1]} pixels is a strip, and the model reads areas: "
            "take --method flat"
        )
    scale = side / min(shape)
    h, w = (max(1, round(length * scale)) for length in shape)
    return Working((h, w), (h + -h % multiple, w + -w % multiple))


def shrunk(image: NDArray[np.floating], shape: tuple[int, int]) -> Plane:
    """(H,W) → ``shape``, low-passed where it shrinks, cubic where it grows."""
    rows, columns = (resize_matrix(a, b) for a, b in zip(image.shape, shape, strict=True))
    return np.asarray(rows @ np.asarray(image, np.float32) @ columns.T, np.float32)


def asked(counts: NDArray[np.floating], grid: Working, *, known: bool, views: int = 1) -> Plane:
    """What the net sees of counts less the dark level (H,W): (V, 4, *grid.padded).

    ``known`` says that the fixed map was divided out. Pixels that are not finite are taken as the median.
    ``views`` are the ways in which the image is laid before the net: of eight on a square grid, else of four.

    Raises:
        UsageError: the image is no (H,W), or not above the dark level by its median.
    """
    finite = np.isfinite(counts)
    middle = float(np.median(counts[finite])) if counts.ndim == 2 and finite.any() else 0.0
    if not middle > 0:
        raise UsageError("an image is (H, W) counts less the dark level, most of them above 0")
    level = np.where(finite, counts, middle) / middle
    small = network_input(shrunk(np.clip(level, 0, np.exp(LIMIT)), grid.shape))
    laid = np.stack([_turned(small, view) for view in range(_views(grid, views))])
    planes = channels(laid, np.full(len(laid), known, np.float32))
    margins = [(0, b - a) for a, b in zip(grid.shape, grid.padded, strict=True)]
    return np.asarray(np.pad(planes, [(0, 0), (0, 0), *margins], mode="symmetric"), np.float32)


def answered(planes: NDArray[np.floating], grid: Working, shape: tuple[int, int]) -> tuple[Plane, Plane]:
    """The net's answers (V, 2, *grid.padded) as ln B and the logarithm of its variance, at full size (H,W).

    Views are averaged; what they differ by is added to the variance.
    """
    h, w = grid.shape
    back = np.stack([[_back(p[:h, :w], view) for p in pair] for view, pair in enumerate(planes)])
    fields = back[:, 0] - back[:, 0].mean((1, 2), keepdims=True)
    variance = np.exp(back[:, 1]).mean(0) + fields.var(0)
    return shrunk(fields.mean(0), shape), shrunk(np.log(variance), shape)


def _views(grid: Working, wanted: int) -> int:
    return max(1, min(wanted, 8 if grid.shape[0] == grid.shape[1] else 4))


def _turned(plane: Plane, view: int) -> Plane:
    """One of the eight ways to lay a plane; the first four keep its shape, the first of all keeps it."""
    laid = plane[:: -1 if view & 1 else 1, :: -1 if view & 2 else 1]
    return laid.T if view & 4 else laid


def _back(plane: Plane, view: int) -> Plane:
    """What :func:`_turned` undoes."""
    laid = plane.T if view & 4 else plane
    return laid[:: -1 if view & 1 else 1, :: -1 if view & 2 else 1]
