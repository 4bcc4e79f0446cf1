r"""How close a corrected X-ray image is to the true transmission.

Arrays are (H,W), linear, and may exceed 1. ``valid`` marks the pixels that count, usually those where the
vignette is above 0.97. A method that is flat because it erased the sample must fail: flatness is one figure
among those of :func:`report`, with the preservation of the sample beside it.
"""

__all__ = [
    "PEAK",
    "Preservation",
    "Report",
    "density_error",
    "density_slope",
    "fidelity",
    "flatness",
    "hallucination",
    "masks",
    "preservation",
    "report",
    "scaled",
    "smoothed",
    "step_bias",
]

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from relume.bench.quality import psnr, ssim_map
from relume.errors import UsageError

PEAK = 1.2  # fringes of the thinnest samples reach it
_CLIP = 1.6  # what SSIM may see
Field = NDArray[np.floating]
Mask = NDArray[np.bool_]


def scaled(found: Field, truth: Field, valid: Mask) -> NDArray[np.float64]:
    r"""``found`` times :math:`g = \langle\hat T,T\rangle/\langle\hat T,\hat T\rangle`, the best factor."""
    x, y = found[valid].astype(np.float64), truth[valid].astype(np.float64)
    return found.astype(np.float64) * (x @ y) / (x @ x)


def smoothed(field: Field, sigma: float, valid: Mask | None = None) -> NDArray[np.float64]:
    """Gaussian blur with mirrored borders; with ``valid``, the mean of the valid pixels near by.

    Raises:
        UsageError: no pixel is valid.
    """
    if valid is not None:
        if not valid.any():
            raise UsageError("no pixel is valid")
        weight = smoothed(valid.astype(np.float64), sigma)
        return smoothed(np.where(valid, field, 0.0), sigma) / np.maximum(weight, 1e-12)
    h, w = field.shape
    mirrored = np.pad(field.astype(np.float64), ((0, h), (0, w)), mode="symmetric")
    fy, fx = np.fft.fftfreq(2 * h)[:, None], np.fft.rfftfreq(2 * w)[None, :]
    response = np.exp(-2 * (np.pi * sigma) ** 2 * (fy**2 + fx**2))
    return np.asarray(np.fft.irfft2(np.fft.rfft2(mirrored) * response, mirrored.shape)[:h, :w])


def masks(truth: Field, valid: Mask) -> dict[str, Mask]:
    """``image``, ``empty`` (T within 1 % of 1 around), ``edge`` (steep) and ``sample`` (the rest)."""
    low = smoothed(truth, 2)
    dy, dx = np.gradient(low)
    edge = valid & (np.hypot(dy, dx) > 0.01)
    # a fringe is no empty field, though T passes through 1 in it
    empty = valid & ~edge & (smoothed((np.abs(truth - 1) > 0.01).astype(np.float64), 3) < 0.02)
    return {"image": valid, "empty": empty, "edge": edge, "sample": valid & ~empty & ~edge}


def density_error(found: Field, truth: Field, valid: Mask) -> float:
    r"""Mean :math:`|\ln\hat T - \ln T|` over the valid pixels where both are positive.

    Raises:
        UsageError: there is no such pixel.
    """
    usable = valid & (found > 0) & (truth > 0)
    if not usable.any():
        raise UsageError("no valid pixel has a positive transmission")
    return float(np.mean(np.abs(np.log(found[usable]) - np.log(truth[usable]))))


def density_slope(found: Field, truth: Field, valid: Mask) -> float:
    """Slope of the found optical density on the true one; 1 is ideal, nan where the truth does not vary."""
    usable = valid & (found > 0) & (truth > 0)
    x, y = -np.log(truth[usable].astype(np.float64)), -np.log(found[usable].astype(np.float64))
    x = x - x.mean() if len(x) else x
    return float(x @ y / (x @ x)) if x @ x > 1e-9 else float("nan")


def step_bias(found: Field, truth: Field, steps: Sequence[float], valid: Mask) -> dict[float, float]:
    """On a wedge: optical density found minus true, as the median over each step that is there."""
    density = -np.log(truth)
    biases = {}
    for step in steps:
        flat = valid & (np.abs(density - step) < 1e-3) & (found > 0)
        if flat.any():
            biases[float(step)] = float(np.median(-np.log(found[flat])) - step)
    return biases


def flatness(found: Field, empty: Mask, *, sigma: float = 4) -> float:
    """Standard deviation over mean of the known-empty area, smoothed; ``sigma=0``: per pixel. Ideal 0."""
    if not empty.any():
        return float("nan")
    values = (smoothed(found, sigma, empty) if sigma else found)[empty]
    return float(values.std() / values.mean())


class Preservation(NamedTuple):
    """What is left of the sample.

    ``detail`` correlates what lies between 2 and 16 pixels in both; ``loss`` is the share of the sample's
    amplitude beyond 16 pixels that is gone: 0 is ideal, 1 a sample erased. nan where there is no sample.
    """

    detail: float
    loss: float


def preservation(found: Field, truth: Field, valid: Mask) -> Preservation:
    """See :class:`Preservation`."""
    fine, coarse = ([smoothed(t, s, valid) for t in (found, truth)] for s in (2, 16))
    x, y = (((a - b)[valid]) for a, b in zip(fine, coarse, strict=True))
    low_x, low_y = (low[valid] - low[valid].mean() for low in coarse)
    varies = y.std() > 1e-6, low_y.std() > 1e-6
    return Preservation(
        float(np.corrcoef(x, y)[0, 1]) if varies[0] and x.std() > 0 else float("nan"),
        float(1 - low_x @ low_y / (low_y @ low_y)) if varies[1] else float("nan"),
    )


def hallucination(one: Field, other: Field, valid: Mask) -> float:
    r"""Rms of :math:`\ln(\hat B_1/\hat B_2)`, less its median, of one light behind two samples. Ideal 0."""
    difference = np.log(one[valid].astype(np.float64)) - np.log(other[valid].astype(np.float64))
    return float(np.sqrt(np.mean((difference - np.median(difference)) ** 2)))


class Report(NamedTuple):
    """The figures of one image: in dB, 1, natural optical density and 1."""

    psnr: float
    ssim: float
    density_error: float
    density_slope: float
    flatness: float
    flatness_pixel: float
    detail: float
    loss: float
    psnr_in: dict[str, float]
    ssim_in: dict[str, float]


def fidelity(found: Field, truth: Field, valid: Mask) -> tuple[float, float]:
    """PSNR in dB and the mean error of optical density, after one factor, as in :func:`report`: what is quick
    to have of a large mosaic."""
    t, y = scaled(found, truth, valid), truth.astype(np.float64)
    return psnr(t[valid] / PEAK, y[valid] / PEAK), density_error(t, y, valid)


def report(found: Field, truth: Field, valid: Mask, *, scale: bool = True) -> Report:
    """All figures of one corrected image.

    Args:
        found, truth: transmissions.
        valid: the pixels that count.
        scale: fit one factor first. False tests the absolute scale too, where dark level and flux are known.

    Raises:
        UsageError: the shapes differ, or no pixel is valid.
    """
    if found.shape != truth.shape or not valid.any():
        raise UsageError(f"transmissions of shapes {found.shape} and {truth.shape} cannot be compared")
    t = scaled(found, truth, valid) if scale else found.astype(np.float64)
    y = truth.astype(np.float64)
    pair = [np.clip(a, 0, _CLIP)[..., None] / PEAK for a in (t, y)]
    similarity = np.pad(ssim_map(*pair)[0], 5, constant_values=np.nan)
    parts = {name: part for name, part in masks(y, valid).items() if part.any()}
    inner = {name: similarity[part] for name, part in parts.items()}
    kept = preservation(t, y, valid)
    empty = parts.get("empty", np.zeros_like(valid))
    levels = {name: psnr(t[part] / PEAK, y[part] / PEAK) for name, part in parts.items()}
    means = {name: float(np.nanmean(v)) for name, v in inner.items() if np.isfinite(v).any()}
    return Report(
        psnr=levels["image"],
        ssim=means["image"],
        density_error=density_error(t, y, valid),
        density_slope=density_slope(t, y, valid),
        flatness=flatness(t, empty),
        flatness_pixel=flatness(t, empty, sigma=0),
        detail=kept.detail,
        loss=kept.loss,
        psnr_in=levels,
        ssim_in=means,
    )
