r"""How much goes on around a pixel: where a picture is busy, it hides more."""

__all__ = ["luma", "masked", "window_mean"]

from typing import Any

import numpy as np
from numpy.typing import NDArray

from relume.errors import UsageError
from relume.marks.mark import Floats

LEVEL = 1 / 255
# The amplitude of a mark, of [0,1]: in a flat place, its growth with the activity, and the most.
FLOOR, SLOPE, MOST = 0.7 * LEVEL, 0.15, 3.0 * LEVEL
_DETAIL, _AROUND = 7, 9  # sides of the windows, in units


def luma(picture: NDArray[Any]) -> Floats:
    """H×W×1 or H×W×3 in [0,1] → H×W, by the weights of ITU-R BT.601."""
    if picture.shape[2] not in (1, 3):
        raise UsageError(f"a picture has 1 or 3 channels, not {picture.shape[2]}")
    plane = picture[..., 0] if picture.shape[2] == 1 else picture @ np.array([0.299, 0.587, 0.114])
    return np.asarray(plane, np.float64)


def masked(plane: Floats, unit: float) -> tuple[Floats, Floats]:
    r"""What a detector should look at, and the amplitude that a mark may have, both H×W.

    With d the detail that a small mean leaves, the activity is its geometric mean around a pixel,

    .. math:: g = \exp \overline{\log(|d| + 1/255)},

    which one edge beside a flat place hardly raises (it would hide nothing there). The detector looks at
    :math:`d / (g + 2/255)`, clipped to ±4: no place of the picture outweighs the others.
    """
    detail = plane - window_mean(plane, _DETAIL * unit)
    activity = np.exp(window_mean(np.log(np.abs(detail) + LEVEL), _AROUND * unit))
    flat = np.clip(detail / (activity + 2 * LEVEL), -4, 4)
    return flat, np.clip(FLOOR + SLOPE * (activity - LEVEL), 0, MOST)


def window_mean(plane: Floats, side: float) -> Floats:
    """The mean over a window of about ``side`` pixels, the edges continued; H×W."""
    reach = max(1, round((side - 1) / 2))
    for axis in (0, 1):
        margin = [(reach + 1, reach) if each == axis else (0, 0) for each in (0, 1)]
        total = np.cumsum(np.pad(plane, margin, mode="edge"), axis=axis).swapaxes(0, axis)
        plane = (total[2 * reach + 1 :] - total[: -2 * reach - 1]).swapaxes(0, axis) / (2 * reach + 1)
    return plane
