r"""What a camera adds to an image beside the light that came through the sample: a veil, and lone pixels.

A share s of the mean light is spread over the frame (veiling glare, in scintillator and lenses), and a few
pixels shine by themselves:

.. math:: I = \ell + s\,\bar\ell + \text{outliers}, \qquad \ell = g\,B\,T
"""

__all__ = [
    "GLARE",
    "GLARE_SD",
    "NONE",
    "Artefacts",
    "Mended",
    "lone",
    "mended",
    "with_glare",
    "without_glare",
]

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .estimator import Field
from .noise import camera

Where = npt.NDArray[np.intp]
GLARE = 0.055
"""What is expected of s where nobody has measured it. At one transmission X-ray microscope 0.05 to 0.07 was
seen, in the blocked corners of tiles; the simulator draws 0.03 to 0.08."""

GLARE_SD = 0.0144
"""The standard deviation of s about that."""

_CLEAR = 8.0  # standard deviations of the noise by which an outlier stands out
_SPREAD = 0.3  # of its height: what two pixels about it may not reach; beside the finest point of optics that
# resolve two pixels four reach 0.48
_MOST, _CELL, _FEW = 1e-3, 16, 2  # of the pixels, and in a square of so many pixels' side, how many: where
# more stand alone, that is what the sample looks like
_DARKEST = 0.1  # percentile of the means over cells that glare cannot exceed
_CELLS, _LEAST = 64, 4  # cells along the shorter side, of so many pixels at least: noise is not darkness
_AROUND = [(i, j) for i in range(-2, 3) for j in range(-2, 3) if (i, j) != (0, 0)]


class Mended(NamedTuple):
    """``counts`` (H,W) without outliers; ``where`` (K,) in the flattened image they were; ``spread`` (K,),
    the standard deviation of the pixels about each, which is how little is known of what they hid."""

    counts: Field
    where: Where
    spread: Field


@dataclass(frozen=True)
class Artefacts:
    """What is taken off before an image is divided by its background.

    ``glare`` is the share s of the mean, ``deviation`` its standard deviation (0: it was measured);
    ``outliers`` says whether lone bright pixels are replaced by the median of their neighbours.
    """

    glare: float = GLARE
    deviation: float = GLARE_SD
    outliers: bool = True

    def share(self, counts: npt.NDArray[np.floating]) -> float:
        """The glare of an image (H,W) less its dark level: what is expected, or less, if some part of the
        image is darker than that would be. A glare that was measured is believed."""
        if not self.glare or not self.deviation:
            return self.glare
        finite = np.isfinite(counts)
        if not finite.any():
            return self.glare
        mean = float(np.mean(counts, where=finite, dtype=np.float64))
        most = max(0.0, _darkest(counts))
        expected = self.glare / (1 + self.glare) * mean
        return self.glare if most >= expected or mean <= 0 else most / (mean - most)

    def mended(self, counts: npt.NDArray[np.floating], *, bright: Where | None = None) -> Mended:
        """Without outliers, if they are to be taken off, but for those at ``bright`` (flattened)."""
        if self.outliers:
            return mended(counts, bright=bright)
        return Mended(np.asarray(counts, np.float64), np.zeros(0, np.intp), np.zeros(0))

    def unveiled(self, counts: npt.NDArray[np.floating]) -> Field:
        """Counts less the dark level (H,W) without their glare."""
        return without_glare(counts, self.share(counts))

    def cleared(self, counts: npt.NDArray[np.floating]) -> Field:
        """Counts less the dark level (H,W) without outliers and glare."""
        return self.unveiled(self.mended(counts).counts)

    def told(self, *, glare: float | None = None, outliers: bool | None = None) -> "Artefacts":
        """These, with what a user has said: a glare that is told is known."""
        found = self if glare is None else replace(self, glare=glare, deviation=0.0)
        return found if outliers is None else replace(found, outliers=outliers)


NONE = Artefacts(0.0, 0.0, False)
"""Nothing is taken off: the classical methods as the literature has them."""


def _darkest(counts: npt.NDArray[np.floating]) -> float:
    """The darkest part of an image, of means over cells that are all finite."""
    step = min(*counts.shape, max(_LEAST, min(counts.shape) // _CELLS))
    rows, columns = (side // step for side in counts.shape)
    whole = np.asarray(counts[: rows * step, : columns * step], np.float64)
    cells = whole.reshape(rows, step, columns, step).mean((1, 3))
    known = cells[np.isfinite(cells)]
    return float(np.percentile(known, _DARKEST)) if known.size else 0.0


def without_glare(counts: npt.NDArray[np.floating], glare: float) -> Field:
    r""":math:`I - \frac{s}{1+s}\,\bar I`, which is :math:`\ell` if s is right; pixels that are not finite do
    not count."""
    light = np.asarray(counts, np.float64)
    finite = np.isfinite(light)
    if not glare or not finite.any():
        return light
    return light - glare / (1 + glare) * float(np.mean(light, where=finite))


def with_glare(light: npt.NDArray[np.floating], glare: float) -> Field:
    r""":math:`\ell + s\,\bar\ell`, what :func:`without_glare` takes off put back."""
    given = np.asarray(light, np.float64)
    finite = np.isfinite(given)
    if not glare or not finite.any():
        return given
    return given + glare * float(np.mean(given, where=finite))


def mended(counts: npt.NDArray[np.floating], *, bright: Where | None = None) -> Mended:
    """Counts (H,W) with the median of their neighbours in place of single bright pixels.

    An outlier exceeds the median of the 24 pixels around it by eight standard deviations of the noise, as it
    is at its own brightness, and at most one of them reaches 0.3 of that height. Optics that resolve two
    pixels cannot draw such a point; a camera can, in a pixel that is hot or was hit. Lines and clusters of
    three and more stay, dark pixels do, as a particle may be that small, and so do those on the border. Where
    more than a thousandth of the pixels stand alone, none is touched, and where three do in a square of a
    grid of 16×16, these are not: fine parts of samples lie together, as the middle of a Siemens star.

    Args:
        counts: of one image, less the dark level.
        bright: pixels of the flattened image that are left alone: a reference holds them too, and dividing
            takes them off.
    """
    given = np.asarray(counts, np.float64)
    where = lone(given)
    if len(where) > max(_FEW, _MOST * given.size):
        where = where[:0]
    if len(where):
        y, x = np.divmod(where, given.shape[1])
        cells = y // _CELL * (given.shape[1] // _CELL + 1) + x // _CELL
        where = where[np.bincount(cells)[cells] <= _FEW]
    if bright is not None:
        where = where[np.isin(where, bright, invert=True)]
    if not len(where):
        return Mended(given, where, np.zeros(0))
    y, x = np.divmod(where, given.shape[1])
    near = np.sort([given[y + i, x + j] for i, j in _AROUND if max(abs(i), abs(j)) == 1], axis=0)
    found = given.copy()
    found[y, x] = 0.5 * (near[3] + near[4])
    return Mended(found, where, np.asarray(near[:7].std(0), np.float64))


def lone(counts: npt.NDArray[np.floating]) -> Where:
    """The bright pixels of an image (H,W) that stand alone, in the flattened image: see :func:`mended`."""
    nothing = np.zeros(0, np.intp)
    if counts.ndim != 2 or min(counts.shape) < 3:
        return nothing
    finite = np.isfinite(counts)
    values = np.asarray(counts if finite.all() else np.where(finite, counts, np.nan), np.float64)
    slope, offset = camera(values)
    if not slope and not offset:
        return nothing
    beside = values[:-2, 1:-1] + values[2:, 1:-1]
    beside += values[1:-1, :-2]
    beside += values[1:-1, 2:]
    beside *= 0.25
    middle = values[1:-1, 1:-1]
    with np.errstate(invalid="ignore"):
        # of the four one may be bright, too: three quarters of the height are left at least
        apart = 0.7 * _CLEAR * np.sqrt(offset + slope * np.maximum(beside, 0))
        y, x = np.nonzero((middle - beside > apart) & (middle > 0))
    padded = np.pad(values, 1, mode="symmetric")  # what is about a pixel beside the border lies beyond it
    around = np.array([padded[y + 2 + i, x + 2 + j] for i, j in _AROUND]).reshape(len(_AROUND), -1)
    known = np.isfinite(around).all(0)
    base, second = np.median(around, axis=0), np.sort(around, axis=0)[-2]
    top = middle[y, x]
    with np.errstate(invalid="ignore"):
        clear = top - base > _CLEAR * np.sqrt(offset + slope * np.maximum(top, 0))
        alone = known & clear & (second - base < _SPREAD * (top - base))
    return np.asarray(np.ravel_multi_index((y[alone] + 1, x[alone] + 1), values.shape), np.intp)
