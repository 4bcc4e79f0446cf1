r"""Damage that is too large to be seen at the picture's own scale, found on a smaller copy of it.

The net learned damage of a certain size. On a large or soft scan a scratch is wider than that, and its edges
are less steep: it passes for part of the picture. On a copy of half the size it is seen again.

On genuine plates the net finds more marks where they went through the blocks of a JPEG; a copy has none, and
is therefore saved as one.
"""

__all__ = ["SMALLEST", "Ask", "Overlooked", "fill", "halved", "overlooked", "search"]

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageFilter

from relume.tasks.finish import grown

Array = NDArray[np.float32]

Ask = Callable[[Array, Array | None], tuple[Array, Array]]
"""(picture, where to look or everywhere) → (the restored picture, the probability of damage)."""

#: The shorter side that a copy has to keep, in pixels: on smaller ones faces are made of specks.
SMALLEST = 224
# Only damage that the net is sure of counts (from the first probability on, wholly at the second), and only
# where at full size it saw none.
_DOUBT, _SURE, _SEEN = 0.5, 0.8, 0.25
_QUALITY = 95  # of the saved copies: with 90 more is found, and more that is no damage
_LONGEST = 65_000  # pixels a side that fit into a JPEG
_NEAR = 7  # pixels around what was seen at full size


@dataclass(frozen=True)
class Overlooked:
    """What a smaller copy told: ``weight`` of the mended copy, H×W in [0,1], and the picture filled with it.

    ``shown`` is where the net has to look again: the weight and a soft margin round it.
    """

    weight: Array
    shown: Array
    filled: Array


def search(picture: Array, seen: Array, ask: Ask) -> Overlooked | None:
    """What was overlooked in a picture in which ``seen`` was found, on copies of a half, a quarter, …

    A copy is mended by what still smaller ones tell before it tells anything itself.
    """
    small = halved(picture)
    if small is None:
        return None
    mended, found = ask(small, None)
    deeper = search(small, found, ask)
    if deeper is not None:
        again, _ = ask(deeper.filled, deeper.shown)
        mended, found = fill(mended, again, deeper.shown), np.maximum(found, deeper.weight)
    return overlooked(picture, seen, small, mended, found)


def halved(picture: Array) -> Array | None:
    """H×W×3 at half the size and saved as a JPEG, or ``None`` where that would be too small."""
    h, w = picture.shape[:2]
    if min(h, w) // 2 < SMALLEST:
        return None
    return _saved(np.clip(_resized(picture, (w // 2, h // 2), PilImage.Resampling.LANCZOS), 0, 1))


def _saved(picture: Array) -> Array:
    """H×W×3 in [0,1] as it comes back from a JPEG, whose first block begins at the upper left corner.

    What is too large for that format stays as it is.
    """
    if max(picture.shape) > _LONGEST:
        return picture
    with io.BytesIO() as file:
        levels = np.rint(picture * np.float32(255)).astype(np.uint8)
        PilImage.fromarray(levels).save(file, "JPEG", quality=_QUALITY, subsampling=0)
        with PilImage.open(file) as saved:
            return np.asarray(saved, np.float32) / np.float32(255)


def overlooked(picture: Array, seen: Array, small: Array, mended: Array, found: Array) -> Overlooked | None:
    """Where the copy shows damage that the picture itself did not; ``None``: nowhere.

    ``picture`` is H×W×3 and ``seen`` the probability of damage at full size; ``small``, ``mended`` and
    ``found`` are the copy, its restoration and the damage on it.
    """
    h, w = picture.shape[:2]
    size = (small.shape[1], small.shape[0])
    known = _resized(_grown(seen, _NEAR), size, PilImage.Resampling.BILINEAR)
    sure = np.clip((found - _DOUBT) / (_SURE - _DOUBT), 0, 1) * (known < _SEEN)
    if sure.max() < 0.5:
        return None
    weight = np.clip(_resized(_grown(sure, 3), (w, h), PilImage.Resampling.BILINEAR), 0, 1)
    filled = fill(picture, np.clip(_resized(mended, (w, h), PilImage.Resampling.BICUBIC), 0, 1), weight)
    soft = PilImage.fromarray(_levels(_grown(weight, 9))).filter(ImageFilter.BoxBlur(4))
    return Overlooked(weight, np.asarray(soft, np.float32) / np.float32(255), filled)


def fill(picture: Array, other: Array, weight: Array) -> Array:
    """The other picture where the weight (H×W) is 1."""
    return np.asarray(picture + weight[..., None] * (other - picture), dtype=np.float32)


def _resized(planes: Array, size: tuple[int, int], how: PilImage.Resampling) -> Array:
    if planes.ndim == 2:
        plane = PilImage.fromarray(np.ascontiguousarray(planes, dtype=np.float32))
        return np.asarray(plane.resize(size, how), dtype=np.float32)
    return np.stack([_resized(planes[..., c], size, how) for c in range(planes.shape[2])], axis=2)


def _levels(plane: Array) -> NDArray[np.uint8]:
    return (np.clip(plane, 0, 1) * 255).astype(np.uint8)


def _grown(plane: Array, side: int) -> Array:
    """The maximum over a square around each pixel, in steps of 1/255."""
    return np.ascontiguousarray(grown(_levels(plane), side), dtype=np.float32) / np.float32(255)
