r"""Tiles to one picture: each over its light, laid where it belongs, weighted by inverse variance and a
ramp."""

__all__ = ["Band", "Canvas", "bands", "canvas", "laid"]

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from relume.background import filled

from .looks import Looks
from .overlap import Places
from .solve import Solution

_DARK = 0.3  # of the median light: corners that are darker are left out
_REACH = 16  # rows beyond those wanted that a cubic spline needs: its memory is 0.27 to that power


class Canvas(NamedTuple):
    """The picture's shape (H,W), where its upper left pixel lies (y, x), and how many rows a band has."""

    shape: tuple[int, int]
    origin: tuple[int, int]
    rows: int

    @property
    def bands(self) -> int:
        """How many bands there are."""
        return -(-self.shape[0] // self.rows)


class Band(NamedTuple):
    """Rows ``top`` … of the picture: transmission T and one standard deviation of it; nan where no tile
    is."""

    top: int
    transmission: npt.NDArray[np.float32]
    sigma: npt.NDArray[np.float32]


def canvas(places: Places, size: tuple[int, int]) -> Canvas:
    """The smallest picture that holds all tiles; bands of half a tile."""
    low, high = np.floor(places.min(0)).astype(int), np.ceil(places.max(0)).astype(int)
    shape = int(high[0] - low[0]) + size[0], int(high[1] - low[1]) + size[1]
    return Canvas(shape, (int(low[0]), int(low[1])), max(16, size[0] // 2))


def bands(
    looks: Looks, found: Solution, on: Canvas, *, wanted: Iterator[int] | None = None
) -> Iterator[Band]:
    r"""Fuses band by band; memory is that of one band and of the tiles in it.

    .. math:: \hat T = \frac{\sum_i w_i\, I_i/L_i}{\sum_i w_i}, \qquad
        w_i = \frac{r_i}{\operatorname{var}(L_i)/L_i^2}, \qquad L_i = e^{c_i + d_i\cdot P + F}

    L is what an empty field would count, r falls to 0 at the tile's border. The variance is that of L and
    not of the counts, which would prefer a pixel that is dark by chance. Tiles are moved by fractions of a
    pixel with cubic splines. sigma is the camera's noise, the gauge's freedom and the error of the glare,
    which lightens what is dark.

    Args:
        looks, found, on: the tiles, what is known of them, and the picture.
        wanted: numbers of the bands to make; all of them.
    """
    ramp = _ramp(looks.shape)
    usable = found.field > np.log(_DARK)
    for number in range(on.bands) if wanted is None else wanted:
        top = number * on.rows
        height = min(on.rows, on.shape[0] - top)
        yield _band(looks, found, on, top, height, np.where(usable, ramp, 0.0))


def laid(looks: Looks, found: Solution, number: int) -> npt.NDArray[np.float32]:
    """One tile (H,W) as it goes into the picture, its upper left corner at its place rounded down: T, and 0
    where the tile is left out."""
    kept = np.where(found.field > np.log(_DARK), 1.0, 0.0)
    moved, weight, _, _ = _tile(looks, found, number, kept, 0, looks.shape[0])
    return np.where(weight > 0, moved, np.float32(0))


def _ramp(size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """A pyramid of the distance to the border, 1 from a quarter of the tile on; never quite 0."""
    lines = [np.minimum(np.arange(side) + 0.5, side - np.arange(side) - 0.5) / (side / 4) for side in size]
    return np.asarray(np.outer(*(np.clip(line, 0, 1) for line in lines)))


def _band(
    looks: Looks, found: Solution, on: Canvas, top: int, height: int, ramp: npt.NDArray[np.float64]
) -> Band:
    shape = height, on.shape[1]
    total, weights, squares, level, veil = (np.zeros(shape, np.float32) for _ in range(5))
    whole = np.floor(found.places).astype(int)
    for i in range(len(looks)):
        y, x = int(whole[i, 0]) - on.origin[0], int(whole[i, 1]) - on.origin[1]
        low, high = max(top, y), min(top + height, y + looks.shape[0])
        if low >= high:
            continue
        t, weight, variance, doubt = _tile(looks, found, i, ramp, low - y, high - y)
        area = np.s_[low - top : high - top, x : x + looks.shape[1]]
        total[area] += weight * t
        weights[area] += weight
        squares[area] += weight**2 * variance
        level[area] += weight * np.float32(found.balance.deviations[i])
        veil[area] += weight * doubt
    with np.errstate(invalid="ignore", divide="ignore"):
        t = total / weights
        sigma = np.sqrt(squares / weights**2 + (t * level / weights) ** 2 + (veil / weights) ** 2)
    return Band(top, np.where(weights > 0, t, np.nan), np.where(weights > 0, sigma, np.nan))


def _tile(
    looks: Looks, found: Solution, number: int, ramp: npt.NDArray[np.float64], low: int, high: int
) -> tuple[npt.NDArray[np.float32], ...]:
    """Of rows ``low`` to ``high`` of one tile, moved to whole pixels: T, weight, variance, and what T is off
    with the glare."""
    from scipy.ndimage import shift

    first = max(0, low - _REACH)
    near, rows = slice(first, high + _REACH), slice(low - first, high - first)
    light = np.exp(found.balance.slow(number, looks.shape)[near] + found.field[near])
    slope, offset = found.camera
    counts = looks.counts(number)[near]
    there = np.isfinite(counts)
    counts = filled(counts) if there.any() else np.zeros(counts.shape)
    t = counts / light
    part = found.places[number] - np.floor(found.places[number])
    moved = shift(t, part, order=3, mode="nearest") if part.any() else t
    added = looks.added(number)
    variance = (offset + slope * np.maximum(counts + added.veil, 0)) / light**2
    # what T is off if the glare is off by its deviation: a veil lightens what is dark, and 1 stays 1
    doubt = looks.artefacts.deviation * added.light * (1 / light - t / np.exp(found.balance.gains[number]))
    empty = (offset + slope * light) / light**2
    weight = np.where(there, ramp[near] / np.maximum(empty, 1e-12), 0.0)
    moved, weight, variance, doubt = (
        np.asarray(each[rows], np.float32) for each in (moved, weight, variance, np.where(there, doubt, 0))
    )
    return moved, weight, variance, doubt
