r"""Is a picture as sharp as the truth? Over-smoothing and left-over noise show here, not in the PSNR."""

__all__ = ["BANDS", "band_energies", "band_ratio", "gradient_energy"]

import numpy as np
from numpy.typing import NDArray

from relume.bench.metric import Picture, luma, same_shape

# Octaves of wavelength in pixels, from the finest that there is.
BANDS: tuple[tuple[int, int], ...] = ((2, 4), (4, 8), (8, 16), (16, 64))


def gradient_energy(picture: Picture, truth: Picture) -> float:
    r"""Mean squared gradient of H×W×C pictures, over that of the truth.

    .. math:: \frac{\sum (\partial_x p)^2 + (\partial_y p)^2}{\sum (\partial_x t)^2 + (\partial_y t)^2}

    1 where both are as sharp; below 1 is smoother than the truth, above 1 is noise or invented texture. A
    truth without any gradient gives infinity, or 1 where the picture has none either.

    Raises
    ------
    UsageError
        If the pictures differ in shape.

    >>> ramp = np.linspace(0, 1, 32).reshape(1, 32, 1).repeat(8, 0)
    >>> gradient_energy(ramp / 2, ramp)
    0.25
    """
    same_shape(picture, truth)
    return _ratio(_gradients(picture), _gradients(truth))


def band_ratio(picture: Picture, truth: Picture, band: tuple[int, int]) -> float:
    """Energy of the luma at wavelengths of ``band`` pixels (from, below) over that of the truth.

    Raises
    ------
    UsageError
        If the pictures differ in shape.
    """
    same_shape(picture, truth)
    return _ratio(band_energies(picture, (band,))[0], band_energies(truth, (band,))[0])


def band_energies(picture: Picture, bands: tuple[tuple[int, int], ...] = BANDS) -> NDArray[np.float64]:
    """Power of the luma of an H×W×3 picture in rings of the spectrum, one figure a band.

    The mean is taken off and a Hann window laid over, so that the picture's borders are no edge. Frequencies
    are radial, in cycles a pixel; the corners beyond one half belong to no band.
    """
    plane = luma(picture).astype(np.float64)
    window = np.hanning(plane.shape[0] + 2)[1:-1, None] * np.hanning(plane.shape[1] + 2)[None, 1:-1]
    power = np.abs(np.fft.fft2((plane - plane.mean()) * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(plane.shape[0])[:, None], np.fft.fftfreq(plane.shape[1])[None, :])
    return np.asarray([power[(radius > 1 / long) & (radius <= 1 / short)].sum() for short, long in bands])


def _gradients(picture: Picture) -> float:
    exact = picture.astype(np.float64)
    return float((np.diff(exact, axis=0) ** 2).sum() + (np.diff(exact, axis=1) ** 2).sum())


def _ratio(mine: float, theirs: float) -> float:
    if theirs > 0:
        return float(mine / theirs)
    return 1.0 if mine == 0 else float("inf")
