r"""Invented: how far each pixel of a restored picture is expected to be from the truth.

Four things are looked at: how much the answer depends on the seed, how far the chain is from leading back
from the result, where there was damage, and how much detail the result claims. What weight each has was
fitted on photographs that were damaged by a recipe, whose truth is known (``benchmarks/invented.py``); for
the embedded model that of the damage came out next to 0.
"""

__all__ = ["COEFFICIENTS", "INVENTED", "Evidence", "Invented", "detail", "evidence", "invented", "predicted"]

from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from relume import tiles
from relume.image import Image
from relume.marks.activity import luma, window_mean
from relume.tasks.finish import three_channels
from relume.tasks.lattice import lead
from relume.tasks.restore import Restoration, Restorer
from relume.tasks.settings import Settings

Array = NDArray[np.float32]

INVENTED = 0.1  # an expected error above this counts as invented, of the [0,1] range
WINDOW = 9  # pixels a side, over which the evidence is averaged: single pixels cannot be told


class Coefficients(NamedTuple):
    """Of :func:`predicted`, and the model that they were fitted for."""

    spread: float
    residual: float
    damage: float
    activity: float
    model: str


COEFFICIENTS = Coefficients(
    spread=0.1282,
    residual=0.2018,
    damage=0.0089,
    activity=0.0884,
    model="f18af6b37306db85705cbdbfdbb9988edd789b601bc82e44a2b921225f0e6c91",
)


@dataclass(frozen=True)
class Evidence:
    r"""What is known without the truth, each H×W float32.

    ``spread`` is the deviation over eight seeds. ``residual`` is that of the naive inversion of the one-step
    chain: with y the (toned) damaged picture and :math:`x = D(y; y)` its restoration,
    :math:`|D(x; y) - x|`, by which the start that naive inversion recovers misses y to first order.
    ``damage`` is the probability of damage, ``activity`` the detail of the result: its luma without the mean
    around each pixel.
    """

    spread: Array
    residual: Array
    damage: Array
    activity: Array


@dataclass(frozen=True)
class Invented:
    """``error`` is the expected error, H×W, of [0,1]; ``calibrated`` whether it was fitted for this model."""

    error: Array
    calibrated: bool

    @property
    def share(self) -> float:
        """How much of the picture is expected to be further than :data:`INVENTED` from the truth."""
        return float((self.error > INVENTED).mean())


def invented(
    restorer: Restorer,
    image: Image,
    restoration: Restoration,
    settings: Settings = Settings(),
    *,
    mask: Array | None = None,
) -> Invented:
    """The expected error of a restoration, its detail alone: tone and light over wide areas are apart.

    ``mask`` is the one that the restoration was given, if any. It costs 34 evaluations of the net a tile.
    What two passes made (``mask="twice"``) is judged by one, and so told not to be calibrated.
    """
    found = evidence(restorer, image, restoration, settings, mask=mask)
    fitted = restorer.bundle.weights_hash == COEFFICIENTS.model
    return Invented(predicted(found), fitted and (settings.mask != "twice" or mask is not None))


def evidence(
    restorer: Restorer,
    image: Image,
    restoration: Restoration,
    settings: Settings = Settings(),
    *,
    mask: Array | None = None,
) -> Evidence:
    """The evidence for a picture that was restored with these settings and this mask."""
    drawing = replace(settings, uncertainty=True, samples=1, steps=None, fidelity=1.0, strength=1.0)
    if settings.mask == "twice":
        drawing = replace(drawing, mask="auto")
    spread = restorer.restore(image, drawing, mask=mask).uncertainty
    assert spread is not None  # it was asked for
    picture = three_channels(image.srgb())
    toned = restorer.toned(picture, settings)
    size, overlap = restorer.tiling(image.height, image.width, settings)

    told = np.zeros(toned.shape[:2], np.float32) if mask is None else mask

    def residual(tile: Array) -> Array:
        condition = np.ascontiguousarray(tile.transpose(2, 0, 1))[None]
        y = np.ascontiguousarray(condition[:, :3])
        once = np.ascontiguousarray(np.asarray(restorer.engine(y, condition, np.ones(1, np.float32)))[:, :3])
        again = np.asarray(restorer.engine(once, condition, np.ones(1, np.float32)))[:, :3]
        miss = np.sqrt(((again - once)[0] ** 2).mean(axis=0))
        return np.asarray(miss[..., None], np.float32)

    planes = np.dstack([toned, told])
    missed = tiles.apply(residual, planes, tile=size, overlap=overlap, lead=lead(picture))[..., 0]
    return Evidence(spread, np.ascontiguousarray(missed), restoration.mask, detail(restoration.image))


def predicted(found: Evidence, coefficients: Coefficients = COEFFICIENTS) -> Array:
    r"""The expected root mean square error around each pixel, H×W in [0,1].

    .. math:: e = \sum_i c_i \sqrt{\bar x_i}

    with :math:`\bar x_i` the evidence averaged over a window. Without any evidence nothing is expected.
    """
    total = sum(
        getattr(coefficients, part.name) * np.sqrt(np.maximum(averaged(getattr(found, part.name)), 0))
        for part in fields(found)
    )
    return np.asarray(np.clip(total, 0, 1), np.float32)


def averaged(plane: Array) -> NDArray[np.float64]:
    """The mean over a window around each pixel."""
    return window_mean(plane.astype(np.float64), WINDOW)


def detail(picture: Image) -> Array:
    """How far the luma is from its mean over a window, H×W."""
    plane = luma(picture.srgb())
    return np.asarray(np.abs(plane - window_mean(plane, WINDOW)), np.float32)
