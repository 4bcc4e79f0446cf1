r"""Pixels that a camera did not measure: nan or infinite in the file."""

__all__ = ["filled"]

import numpy as np
import numpy.typing as npt

from relume.errors import UsageError

Plane = npt.NDArray[np.float64]


def filled(image: npt.NDArray[np.floating]) -> Plane:
    """The image (H,W) with every pixel that is not finite taken from the nearest one of its row that is.

    A row without any is that of the nearest row which has some. (SciPy's distance transform would find the
    nearest of all; flat fields are divided out without that extra.)

    Raises:
        UsageError: no pixel is finite.

    >>> filled(np.array([[1.0, np.nan, np.nan, 4.0], [np.nan] * 4]))
    array([[1., 1., 4., 4.],
           [1., 1., 4., 4.]])
    """
    values = np.asarray(image, np.float64)
    good = np.isfinite(values)
    if good.all():
        return values
    if not good.any():
        raise UsageError("no pixel of the image is a finite number")
    values = np.take_along_axis(values, _nearest(good), axis=1)
    rows = np.asarray(good.any(axis=1), np.bool_)
    return np.asarray(values[_nearest(rows[None])[0]])


def _nearest(good: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """The place along the last axis of the nearest good pixel; anywhere where there is none."""
    places, length = np.arange(good.shape[-1]), good.shape[-1]
    before = np.maximum.accumulate(np.where(good, places, -length), axis=-1)
    after = np.minimum.accumulate(np.where(good, places, 2 * length)[..., ::-1], axis=-1)[..., ::-1]
    return np.asarray(np.where(places - before <= after - places, before, after).clip(0, length - 1), np.intp)
