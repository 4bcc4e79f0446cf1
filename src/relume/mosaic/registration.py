r"""How far neighbouring tiles lie apart: normalised cross-correlation of what they share.

Logarithms, less their local mean and less what is left in common then, so that the pattern of the detector,
which lies at shift 0 in every pair, is not what is found. Dark corners do not count. The correlation is that
of the part which overlaps at each shift, so that its height says how well the two agree.

Source: Padfield, *Masked object registration in the Fourier domain*, 2012.
"""

__all__ = ["GATE", "Details", "Link", "details", "link", "register"]

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .looks import Field, Looks
from .overlap import shared

GATE = 0.35
"""The correlation from which on a measured shift is believed."""
_NEAR_GATE = 0.3  # the same for a shift of few pixels, near one that is believed
_NEAR = 4  # pixels: how far from it a finer one is looked for
_NARROWEST = 5  # pixels: a local mean over fewer leaves nothing
_DARK = 0.5  # of the median light, in the pattern
_CLIMB = 8  # pixels at most from the surest shift to the best one
_SAMPLE = 48  # tiles from which the common pattern is taken


class Link(NamedTuple):
    """Tile ``j`` lies at ``offset`` (y, x) from tile ``i``, with correlation ``ncc``."""

    i: int
    j: int
    offset: tuple[float, float]
    ncc: float


class Details(Looks):
    """What is fine in the tiles and their own, with a cache of its own.

    Args:
        looks: the tiles.
        width: of the local mean that is taken off, in pixels; a sixteenth of a tile's side without.

    Attributes:
        mask: (H,W), 1 where there is light, 0 near dark corners.
        inner: the same, and 0 near the border of the tile: the local mean takes a mirror image for what lies
            beyond it, another one in each of two tiles.
        margin: how near, in pixels.
    """

    def __init__(self, looks: Looks, width: int | None = None) -> None:
        from scipy.ndimage import uniform_filter

        self._from = looks
        self._width = width or _widest(looks)
        chosen = range(0, len(looks), -(-len(looks) // _SAMPLE))
        light = np.median(np.stack([looks[i] - np.median(looks[i]) for i in chosen]), axis=0)
        self._common = np.median(np.stack([self._fine(looks[i]) for i in chosen]), axis=0)
        bright = uniform_filter((light > np.log(_DARK)).astype(np.float64), self._width)
        self.mask = (bright > 0.999).astype(np.float64)
        self.margin = self._width // 2 + 1
        self.inner = np.pad(self.mask[self.margin : -self.margin, self.margin : -self.margin], self.margin)
        super().__init__(looks.tiles, looks.dark)

    def _read(self, number: int) -> npt.NDArray[np.float32]:
        fine = self._fine(self._from[number]) - self._common
        limit = 6 * 1.4826 * np.median(np.abs(fine)) + 1e-12  # a hot pixel weighs no more than a strong edge
        return np.asarray(np.clip(fine, -limit, limit), np.float32)

    def _fine(self, look: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """Smoothed by a 256th of a tile's side, less the mean over the width."""
        from scipy.ndimage import gaussian_filter, uniform_filter

        own = np.clip(look - np.median(look), -1.5, 1.5).astype(np.float32)
        smooth = gaussian_filter(own, max(1.0, min(look.shape) / 256))
        return np.asarray(smooth - uniform_filter(own, self._width), np.float32)


def _widest(looks: Looks) -> int:
    return max(7, int(min(looks.shape)) // 16) | 1


def details(looks: Looks) -> list[Details]:
    """What is fine on up to three scales, the coarsest first: see :func:`register`."""
    widest = _widest(looks)
    widths = [widest, *(w for w in (widest // 2 | 1, widest // 4 | 1) if _NARROWEST <= w < widest)]
    return [Details(looks, width) for width in widths]


def register(
    scales: Sequence[Details], expected: tuple[float, float], radius: int, pair: tuple[int, int]
) -> Link:
    """The shift on the coarsest scale, refined on finer ones as long as they show it too.

    A local mean over as much as two tiles share takes in what only one of them has: such a shift is found
    surely, and is wrong by half a pixel and more. A narrow mean is exact where fine content stands out of
    the noise. The correlation is that of the coarsest scale.

    On the finer scales the borders of the tiles do not count where the overlap is wide enough to do without:
    they pull tiles together, by up to 0.2 pixels each where overlaps are narrow, which adds up along a row.
    """
    i, j = pair
    found = link(scales[0][i], scales[0][j], scales[0].mask, expected, radius, pair)
    for scale in scales[1:]:
        if found.ncc < GATE:
            break
        dy, dx = (int(np.rint(d)) for d in found.offset)
        room = min(shared((dy, dx), (scale.shape[0], scale.shape[1])).shape) - 2 * scale.margin
        mask = scale.inner if room >= _NARROWEST else scale.mask
        near = link(scale[i], scale[j], mask, found.offset, _NEAR, pair)
        if near.ncc < _NEAR_GATE:
            break
        found = found._replace(offset=near.offset)
    return found


def link(
    one: npt.NDArray[np.float32],
    other: npt.NDArray[np.float32],
    mask: Field,
    expected: tuple[float, float],
    radius: int,
    pair: tuple[int, int],
) -> Link:
    """Looks for the shift within ``radius`` pixels of the expected one; ncc 0 where none is found.

    The peak is placed between pixels by a parabola in each direction.
    """
    guess = int(np.rint(expected[0])), int(np.rint(expected[1]))
    area = shared(guess, (one.shape[0], one.shape[1]), grow=radius)
    if min(area.shape) < 4:
        return Link(*pair, expected, 0.0)
    a, b = one[area.here].astype(np.float64), other[area.there].astype(np.float64)
    start = [guess[k] + area.there[k].start - area.here[k].start for k in (0, 1)]
    ncc, count = _correlation(a, b, mask[area.here], mask[area.there], start, radius)
    # Small overlaps correlate by chance: the surest shift is taken, not the highest.
    sure = np.where(count >= 0.25 * np.median(count), ncc * np.sqrt(count), -np.inf)
    peak = np.unravel_index(int(np.argmax(sure)), sure.shape)
    y, x = _top(ncc, int(peak[0]), int(peak[1]))
    if not (0 < y < 2 * radius and 0 < x < 2 * radius):
        return Link(*pair, expected, 0.0)
    dy, dx = _vertex(ncc[y - 1 : y + 2, x]), _vertex(ncc[y, x - 1 : x + 2])
    return Link(
        *pair, (float(guess[0] + y - radius + dy), float(guess[1] + x - radius + dx)), float(ncc[y, x])
    )


def _correlation(
    a: Field, b: Field, here: Field, there: Field, start: list[int], radius: int
) -> tuple[Field, Field]:
    """Correlation coefficient and pixel count at the shifts start ± radius: two (2R+1, 2R+1)."""
    from scipy import fft

    lags = [np.arange(s - radius, s + radius + 1) for s in start]
    size = [
        fft.next_fast_len(int(max(nb + lag[-1], na - lag[0]) + 1), real=True)
        for na, nb, lag in zip(a.shape, b.shape, lags, strict=True)
    ]
    ones = fft.rfft2(np.stack([here, a * here, a * a * here]), size)
    others = np.conj(fft.rfft2(np.stack([there, b * there, b * b * there]), size))
    pairs = ((0, 0), (1, 0), (0, 1), (2, 0), (0, 2), (1, 1))
    window = np.ix_(*(lag % n for lag, n in zip(lags, size, strict=True)))
    n, sa, sb, saa, sbb, sab = (fft.irfft2(ones[p] * others[q], size)[window] for p, q in pairs)
    count = np.maximum(np.rint(n), 1.0)
    spread = np.maximum(saa - sa * sa / count, 1e-12) * np.maximum(sbb - sb * sb / count, 1e-12)
    return (sab - sa * sb / count) / np.sqrt(spread), count


def _top(ncc: Field, y: int, x: int) -> tuple[int, int]:
    """The local maximum above (y, x).

    Where the content is smooth, the surest shift lies a pixel or two on the side of the larger overlap.
    """
    for _ in range(_CLIMB):
        top, left = max(0, y - 1), max(0, x - 1)
        around = ncc[top : y + 2, left : x + 2]
        best = np.unravel_index(int(np.argmax(around)), around.shape)
        higher = top + int(best[0]), left + int(best[1])
        if higher == (y, x):
            break
        y, x = higher
    return y, x


def _vertex(three: Field) -> float:
    """Where the parabola through three equidistant values has its top, from the middle one."""
    bend = three[0] - 2 * three[1] + three[2]
    return 0.0 if bend >= 0 else float(np.clip(0.5 * (three[0] - three[2]) / bend, -0.5, 0.5))
