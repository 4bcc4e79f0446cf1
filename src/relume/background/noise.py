r"""The noise of a camera, measured in one image."""

__all__ = ["camera", "noise"]

import numpy as np
import numpy.typing as npt


def noise(counts: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """The standard deviation (H,W) of the noise at each pixel: see :func:`camera`. nan where counts are."""
    slope, offset = camera(counts)
    return np.sqrt(np.maximum(offset + slope * np.asarray(counts, np.float64), 1e-12)).astype(np.float32)


def camera(counts: npt.NDArray[np.floating]) -> tuple[float, float]:
    r"""Slope b and offset a of the variance of counts (H,W) over their brightness.

    .. math:: \sigma^2(I) = a + b\,I

    fitted to the robust spread of pixels about their neighbours, in ten classes of brightness, for a camera
    whose neighbours are correlated by 0.18. Pixels that are not finite, and their neighbours, do not count.
    """
    values = np.asarray(counts, np.float64)
    sides = [axis for axis, side in enumerate(values.shape) if side >= 3]  # a sinogram may have two rows
    inner = tuple(slice(1, -1) if axis in sides else slice(None) for axis in (0, 1))
    pairs = [np.roll(values, 1, axis) + np.roll(values, -1, axis) for axis in sides]
    middle = (np.sum(pairs, axis=0) / (2 * len(pairs)) if pairs else values)[inner]
    off = (values[inner] - middle).ravel() / np.sqrt(_APART[len(pairs)])
    known = np.isfinite(off)
    if not known.any():
        return 0.0, 0.0
    off, middle = off[known], middle.ravel()[known]
    order = [part for part in np.array_split(np.argsort(middle), 10) if len(part)]
    level = np.array([np.median(middle[part]) for part in order])
    variance = np.array([(1.4826 * np.median(np.abs(off[part]))) ** 2 for part in order])
    return _line(level, variance)


# Variance of a pixel less the mean of its 0, 2 or 4 neighbours, of unit noise correlated by 0.18, 0.03 and 0
# at distances 1, √2 and 2.
_APART = (1.0, 1 + 0.5 - 2 * 0.18, 1 + 0.265 - 2 * 0.18)


def _line(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Slope and offset, neither below 0: the medians of what pairs of points say (Theil, Sen), or, where the
    offset would be negative, of what each point says of a line through 0."""
    i, j = np.triu_indices(len(x), 1)
    apart = np.abs(x[j] - x[i]) > 1e-9 * max(1.0, float(np.abs(x).max()))
    slopes = (y[j] - y[i])[apart] / (x[j] - x[i])[apart]
    slope = max(0.0, float(np.median(slopes))) if len(slopes) else 0.0
    offset = float(np.median(y - slope * x))
    if offset >= 0:
        return slope, offset
    # a slope that is too steep, as an even image or structure gives: the line through 0 instead
    bright = x > 0
    return (max(0.0, float(np.median(y[bright] / x[bright]))) if bright.any() else slope), 0.0
