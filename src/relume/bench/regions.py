r"""Errors in one part of a picture: in the damage, beside it, in a face."""

__all__ = ["DAMAGED", "Box", "damaged", "in_boxes", "rms_where", "undamaged"]

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from relume.bench.metric import Measure, Picture, same_shape

DAMAGED = 0.5  # from this opacity on a pixel counts as damaged

Where = NDArray[np.bool_]


class Box(NamedTuple):
    """A rectangle of pixels: rows ``y … y+height``, columns ``x … x+width``."""

    y: int
    x: int
    height: int
    width: int


def damaged(mask: Picture) -> Where:
    """Where an H×W mask of opacities says damage."""
    return np.asarray(mask >= DAMAGED)


def undamaged(mask: Picture) -> Where:
    """Where nothing was painted over; the soft borders of the damage belong to neither side."""
    return np.asarray(mask <= 0)


def rms_where(picture: Picture, truth: Picture, where: Where) -> float | None:
    """Root mean square error of H×W×C pictures over the pixels of an H×W region; ``None`` if it is empty.

    Raises
    ------
    UsageError
        If the pictures differ in shape.
    """
    same_shape(picture, truth)
    if not where.any():
        return None
    return float(np.sqrt(np.mean((picture[where].astype(np.float64) - truth[where]) ** 2)))


def in_boxes(measure: Measure, picture: Picture, truth: Picture, boxes: Sequence[Box]) -> float | None:
    """Mean of a metric over rectangles, each weighted alike; ``None`` if there is none.

    Raises
    ------
    UsageError
        If the pictures differ in shape, or a box is too small for the metric.
    """
    same_shape(picture, truth)
    cuts = [np.s_[box.y : box.y + box.height, box.x : box.x + box.width] for box in boxes]
    values = [measure(picture[cut], truth[cut]) for cut in cuts]
    return float(np.mean(values)) if values else None
