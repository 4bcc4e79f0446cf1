r"""How close a picture is to the truth."""

__all__ = ["psnr", "ssim", "ssim_map", "tone_aligned", "tone_aligned_psnr"]

import numpy as np
from numpy.typing import NDArray

from relume.bench.metric import Picture, same_shape
from relume.errors import UsageError


def psnr(picture: Picture, truth: Picture) -> float:
    r"""Peak signal-to-noise ratio in dB of pictures in [0,1]: :math:`-10 \log_{10} \mathrm{MSE}`.

    Equal pictures give infinity.

    Raises
    ------
    UsageError
        If the pictures differ in shape.

    >>> import numpy as np
    >>> round(psnr(np.zeros((8, 8, 3)), np.full((8, 8, 3), 0.1)), 6)
    20.0
    """
    same_shape(picture, truth)
    mse = float(np.mean((picture.astype(np.float64) - truth.astype(np.float64)) ** 2))
    return float("inf") if mse == 0 else -10 * float(np.log10(mse))


def _blur(plane: NDArray[np.float64], taps: NDArray[np.float64]) -> NDArray[np.float64]:
    """A separable filter over the last two axes, "valid" part only."""
    n = len(taps)
    rows = sum(t * plane[..., i : plane.shape[-2] - n + 1 + i, :] for i, t in enumerate(taps))
    return np.asarray(sum(t * rows[..., i : plane.shape[-1] - n + 1 + i] for i, t in enumerate(taps)))


def ssim(picture: Picture, truth: Picture) -> float:
    r"""Structural similarity of H×W×C pictures in [0,1], averaged over channels.

    Gaussian window of 11 pixels and σ = 1.5, K = (0.01, 0.03), population covariance, borders left out.

    Raises
    ------
    UsageError
        If a side is shorter than the window, or the pictures differ in shape.

    Source: Wang, Bovik, Sheikh, Simoncelli, *Image Quality Assessment*, 2004.
    """
    return float(np.mean(ssim_map(picture, truth)))


def ssim_map(picture: Picture, truth: Picture) -> NDArray[np.float64]:
    """What :func:`ssim` is the mean of: (C, H−10, W−10), each value in the middle of its window.

    Raises
    ------
    UsageError
        If a side is shorter than the window, or the pictures differ in shape.
    """
    same_shape(picture, truth)
    if min(picture.shape[:2]) < 11:
        raise UsageError("SSIM needs pictures of 11 pixels or more on each side")
    taps = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    taps /= taps.sum()
    x, y = (np.moveaxis(v.astype(np.float64), 2, 0) for v in (picture, truth))
    mx, my = _blur(x, taps), _blur(y, taps)
    vx, vy = _blur(x * x, taps) - mx * mx, _blur(y * y, taps) - my * my
    covariance = _blur(x * y, taps) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mx * my + c1) * (2 * covariance + c2)
    return np.asarray(top / ((mx * mx + my * my + c1) * (vx + vy + c2)))


def tone_aligned(picture: Picture, truth: Picture) -> Picture:
    """The picture after the best gain and offset per channel towards the truth, clipped to [0,1].

    What differs afterwards is structure: a photograph that was only faded scores as undamaged. Shapes H×W×C.

    Raises
    ------
    UsageError
        If the pictures differ in shape.
    """
    same_shape(picture, truth)
    aligned = np.empty_like(truth)
    for c in range(truth.shape[2]):
        x, y = picture[..., c].astype(np.float64), truth[..., c].astype(np.float64)
        variance = x.var()
        gain = ((x - x.mean()) * (y - y.mean())).mean() / variance if variance > 1e-12 else 0.0
        aligned[..., c] = y.mean() + gain * (x - x.mean())
    return np.clip(aligned, 0, 1)


def tone_aligned_psnr(picture: Picture, truth: Picture) -> float:
    """:func:`psnr` in dB after :func:`tone_aligned`: what is left is structure.

    Raises
    ------
    UsageError
        If the pictures differ in shape.
    """
    return psnr(tone_aligned(picture, truth), truth)
