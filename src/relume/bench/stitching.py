r"""How well the tiles of a mosaic agree, and whether their grid shows."""

__all__ = ["Seam", "low_frequency_bias", "pitch_peak", "profile_peak", "seam", "seams"]

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from relume.bench.transmission import Field, Mask, smoothed
from relume.errors import UsageError


class Seam(NamedTuple):
    """Two tiles on what both show: ``rms`` of their log ratio (σ 2), and its ``median``, signed."""

    rms: float
    median: float


def seam(one: Field, other: Field) -> Seam:
    """Of two registered pictures of one place, (H,W) each. Pixels that are not positive do not count.

    Raises:
        UsageError: the shapes differ, or nothing is left.
    """
    if one.shape != other.shape:
        raise UsageError(f"overlaps of shapes {one.shape} and {other.shape} cannot be compared")
    usable = (one > 0) & (other > 0)
    if not usable.any():
        raise UsageError("the overlap holds no positive pixel")
    ratio = np.log(np.where(usable, one, 1).astype(np.float64) / np.where(usable, other, 1))
    low = smoothed(ratio, 2, usable)[usable]
    return Seam(float(np.sqrt(np.mean(low**2))), float(np.median(ratio[usable])))


def seams(tiles: Sequence[Field], corners: NDArray[np.floating], *, least: int = 8) -> list[Seam]:
    """Of all overlapping pairs of tiles, whose upper left corners (N,2) are rounded to whole pixels.

    Overlaps narrower than ``least`` pixels are left out, and those that hold no positive pixel of both.
    """
    at = np.rint(corners).astype(int)
    found = []
    for i, (one, a) in enumerate(zip(tiles, at, strict=True)):
        h, w = one.shape
        for other, b in zip(tiles[i + 1 :], at[i + 1 :], strict=True):
            dy, dx = int(b[0] - a[0]), int(b[1] - a[1])
            if h - abs(dy) < least or w - abs(dx) < least:
                continue
            here = one[max(0, dy) : h + min(0, dy), max(0, dx) : w + min(0, dx)]
            there = other[max(0, -dy) : h + min(0, -dy), max(0, -dx) : w + min(0, -dx)]
            if ((here > 0) & (there > 0)).any():
                found.append(seam(here, there))
    return found


def pitch_peak(mosaic: Field, step: float) -> float:
    """Power at one cycle per ``step`` pixels over that of its neighbourhood, on the worse axis. 1: no grid.

    The mosaic is averaged along the other axis first, which keeps a grid and quiets the sample.

    Raises:
        UsageError: fewer than four steps fit into the mosaic.
    """
    level = np.log(np.maximum(mosaic.astype(np.float64), 1e-6))
    return max(profile_peak(level.mean(axis), step) for axis in (0, 1))


def profile_peak(profile: NDArray[np.floating], step: float) -> float:
    """The same of one profile (N,): the mean of ln T along the other axis.

    Raises:
        UsageError: it is shorter than four steps.
    """
    n = len(profile)
    if n < 4 * step:
        raise UsageError(f"a grid of {step:g} pixels cannot be seen in {n} pixels; use four tiles or more")
    line = np.arange(n) - (n - 1) / 2
    level = profile - np.polyval(np.polyfit(line, profile, 1), line)
    # the power at any frequency, not only at whole cycles: the step seldom divides the mosaic
    window = np.hanning(n)
    cycles = np.array([-4, -3.5, -3, -2.5, 0, 2.5, 3, 3.5, 4]) / n + 1 / step
    power = np.abs(np.exp(-2j * np.pi * cycles[:, None] * line) @ (level * window)) ** 2
    near = np.concatenate([power[:4][cycles[:4] > 1 / n], power[5:]])
    return float(power[4] / max(np.median(near), 1e-30))


def low_frequency_bias(found: Field, truth: Field, valid: Mask, *, sigma: float = 150) -> float:
    """Standard deviation of (T̂/T − 1) blurred by 150 pixels: ramps and bowls that a sample would not have."""
    ratio = np.where(valid, found / np.where(truth > 0, truth, 1) - 1, 0.0)
    return float(smoothed(ratio, sigma, valid)[valid].std())
