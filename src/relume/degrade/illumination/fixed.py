r"""What of the light stays with an instrument for months: the fine pattern of its detector and optics.

It needs no net: it is the same in every frame, is found from flats of any days, divided out before and put
back after.
"""

__all__ = ["DARKEST", "fine_pattern", "fixed_map"]

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from relume.background.smooth import polynomials
from relume.degrade.resample import gaussian_matrix
from relume.errors import UsageError

from .targets import network_input

_SLOW = 1 / 32  # σ of what counts as slow, in shorter sides: the fixed map holds what is finer
DARKEST = float(np.log(0.5))
_DEGREE = 6  # of the polynomial that goes first: a slope is not to end as a pattern at the border
_FITTED = 64  # points along a side that it is fitted to
_ROUNDS = 6
_OUTLIER = 6.0  # spreads from the polynomial: a corner, not light
_UNLIT = -0.25  # of log light against the polynomial, smoothed: here is a corner, whose edge moves
_OUTSTANDING = 5.0  # standard errors by which a pixel differs from the other flats, or from noise
_QUIETEST = 0.1  # of the median variance: as little noise a flat is believed to have
_OWN = 0.01  # of the light: what pixels may differ by for good
_TOUCHING = 0.4  # correlation of neighbours, at most
_PAD = 32  # pixels that are mirrored around a map before its spectrum is taken
_RINGS = 5  # of the spectrum that are taken together
Plane = NDArray[np.float32]


def fine_pattern(light: NDArray[np.floating]) -> Plane:
    r"""What of log B (..., H, W) is finer than 1/32 of the shorter side; 0 where no light falls.

    .. math:: F = r - \frac{G * (m\,r)}{G * m}, \qquad r = \ln B - P

    P is a polynomial of degree 6 (robust least squares), G a Gaussian of 1/32 of the shorter side, and m is
    0 in corners that are dark, and near them: a vignette's edge is fine, but moves from day to day.
    """
    planes = np.asarray(light, np.float32).reshape(-1, *light.shape[-2:])
    return np.stack([_fine(plane)[0] for plane in planes]).reshape(light.shape)


def fixed_map(flats: Sequence[NDArray[np.floating]]) -> Plane:
    r"""The fixed map of an instrument (H,W) from flats of any days: the mean of their fine patterns.

    A flat counts by how little noise it has, and specks that one flat of three or more shows alone are cut
    off. Of two or more each ring of the mean's spectrum counts by how far it stands above what flats differ
    by,

    .. math:: g(f) = 1 - \frac{N(f)}{|\hat F(f)|^2}, \qquad
        N = \sum_i \frac{w_i^2\,|\hat F_i - \hat F|^2}{1 - w_i}, \qquad \sum_i w_i = 1

    (Wiener), and single pixels that stand out of the noise stay as they are. Of one flat nothing tells noise
    from pattern, so what its pixels differ by from their neighbours counts as N, but for 1 %: as much may be
    the pixels' own, and a flat that is a mean of many exposures keeps it.

    Flats are counts less the dark level, of any exposure.

    Raises:
        UsageError: there is none, they differ in size, or one is not above the dark level.
    """
    if not len(flats) or len({flat.shape for flat in flats}) > 1:
        raise UsageError("a fixed map is made of flats of one size; give at least one")
    patterns, lit, noises = [], [], []
    for flat in flats:
        middle = float(np.nanmedian(flat))
        if not middle > 0:
            raise UsageError("a flat is not above the dark level by its median")
        pattern, mask = _fine(np.asarray(network_input(np.nan_to_num(flat, nan=middle)), np.float32))
        patterns.append(pattern)
        lit.append(mask)
        noises.append(_noise(pattern, mask))
    stack = np.stack(patterns)
    variance = np.array([each.variance for each in noises])
    variance = np.maximum(variance, _QUIETEST * np.median(variance))
    if len(stack) > 2:
        common = np.median(stack, 0)
        reach = _OUTSTANDING * np.sqrt(variance + np.pi / 2 * variance.mean() / len(stack))
        for pattern, far in zip(stack, reach, strict=True):
            np.clip(pattern, common - far, common + far, out=pattern)
    weights = 1 / variance / np.sum(1 / variance)
    total, mean = np.zeros(stack.shape[1:]), np.zeros(stack.shape[1:])
    for pattern, mask, weight in zip(stack, lit, weights, strict=True):
        total += weight * mask
        mean += weight * mask * pattern
    mean /= np.maximum(total, 1e-3)
    apart = (np.where(total > 0.5, pattern - mean, 0) for pattern in stack)
    floor = _differing(apart, weights) if len(stack) > 1 else _alone(noises[0], mean.shape)
    smooth = _above(mean, floor)
    single = np.abs(mean - smooth) > _OUTSTANDING * np.sum(1 / variance) ** -0.5
    return np.where(single, mean, smooth).astype(np.float32)


def _fine(light: Plane) -> tuple[Plane, NDArray[np.bool_]]:
    """The fine pattern (H,W), and where there is light enough for one."""
    h, w = light.shape
    left = np.clip(light - _slow(light), DARKEST, -DARKEST)
    down, right = (gaussian_matrix(n, _SLOW * min(h, w)) for n in (h, w))
    edge_down, edge_right = (gaussian_matrix(n, _SLOW * min(h, w) / 2) for n in (h, w))
    unlit = (edge_down @ left @ edge_right.T < _UNLIT).astype(np.float32)
    lit = edge_down @ unlit @ edge_right.T < 0.05  # and not near it
    if not lit.any():
        return np.zeros_like(left), lit
    share = np.maximum(down @ lit.astype(np.float32) @ right.T, 1e-3)
    slow = down @ np.where(lit, left, 0) @ right.T / share
    return np.where(lit, left - slow, 0).astype(np.float32), lit


def _slow(light: Plane) -> Plane:
    """The polynomial: light without its fine part, and without corners that no light reaches."""
    h, w = light.shape
    y, x = ((2 * np.arange(n) + 1) / n - 1 for n in (h, w))
    rows, columns = (slice(None, None, max(1, n // _FITTED)) for n in (h, w))
    level = light[rows, columns].ravel().astype(np.float64)
    basis = polynomials(y[rows, None], x[None, columns], _DEGREE).reshape(-1, level.size).T
    near = (level > np.median(level) + DARKEST).astype(np.float64)
    for _ in range(_ROUNDS):
        found = np.linalg.lstsq(basis * near[:, None], level * near, rcond=1e-9)[0]
        fitted = basis @ found
        off = np.abs(level - fitted)
        near = (off <= _OUTLIER * 1.4826 * np.median(off) + 1e-9).astype(np.float64)
    low, high = fitted[near > 0].min(), fitted[near > 0].max()
    room = 0.1 * (high - low)  # further off what was fitted a polynomial goes anywhere
    slow = np.tensordot(found, polynomials(y[:, None], x[None, :], _DEGREE), 1)
    return np.clip(slow, low - room, high + room).astype(np.float32)


class _Noise(NamedTuple):
    """Of a flat's logarithm: its variance, and the correlation of neighbouring pixels."""

    variance: float
    beside: float


def _noise(pattern: Plane, lit: NDArray[np.bool_]) -> _Noise:
    """What pixels differ by from those one and two further on, where light falls: a pattern hardly does."""
    found = []
    for step in (1, 2):
        squares = []
        for axis in (0, 1):
            level, there = np.moveaxis(pattern, axis, 0), np.moveaxis(lit, axis, 0)
            apart = np.abs(level[step:] - level[:-step])[there[step:] & there[:-step]]
            if apart.size:
                squares.append((1.4826 * float(np.median(apart))) ** 2 / 2)
        found.append(float(np.mean(squares)) if squares else 0.0)
    near, far = found
    variance = max(far, 1e-9)
    return _Noise(variance, min(max(1 - near / variance, 0.0), _TOUCHING))


def _differing(apart: Iterable[NDArray[np.floating]], weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """The power of the noise of a weighted mean, by what the patterns differ by from it."""
    parts = zip(apart, weights, strict=True)
    return sum(
        (w**2 / max(1 - w, 1e-6) * np.abs(_spectrum(each)) ** 2 for each, w in parts),
        np.zeros(1),
    )


def _alone(noise: _Noise, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The power of the noise of one flat, if all of it but 1 % is noise."""
    fy, fx, (h, w) = _frequencies(shape)
    cy, cx = (1 + 2 * noise.beside * np.cos(2 * np.pi * f) for f in (fy, fx))
    return np.asarray(max(0.0, noise.variance - _OWN**2) * h * w * cy * cx)


def _above(pattern: NDArray[np.floating], floor: NDArray[np.floating]) -> NDArray[np.floating]:
    """What of a pattern (H,W) stands above the power of its noise, ring by ring of its spectrum."""
    spectrum = _spectrum(pattern)
    fy, fx, (h, w) = _frequencies(pattern.shape)
    rings = np.rint(np.hypot(fy, fx) * min(h, w)).astype(np.intp)
    power, noise = (
        np.convolve(np.bincount(rings.ravel(), part.ravel()), np.ones(_RINGS), "same")
        for part in (np.abs(spectrum) ** 2, floor)
    )
    gain = np.clip(1 - noise / np.maximum(power, 1e-30), 0, 1)
    kept = np.fft.irfft2(spectrum * gain[rings], (h, w))
    rows, columns = (slice(min(_PAD, side), min(_PAD, side) + side) for side in pattern.shape)
    return kept[rows, columns]


def _spectrum(pattern: NDArray[np.floating]) -> NDArray[np.complexfloating]:
    """Of a pattern that is mirrored beyond its borders."""
    return np.fft.rfft2(np.pad(pattern, [(min(_PAD, n),) * 2 for n in pattern.shape], mode="symmetric"))


def _frequencies(
    shape: tuple[int, ...],
) -> tuple[NDArray[np.floating], NDArray[np.floating], tuple[int, int]]:
    """Those of :func:`_spectrum`, in cycles a pixel, and how large it is in pixels."""
    h, w = (side + 2 * min(_PAD, side) for side in shape)
    return np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w)[None, :], (h, w)
