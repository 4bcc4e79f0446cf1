r"""What a camera adds to an image beside the light that came through the sample: a veil, and lone pixels.

A share s of the mean light is spread over the frame (veiling glare, in scintillator and lenses), and a few
pixels shine by themselves:

.. math:: I = \ell + s\,\bar\ell + \text{outliers}, \qquad \ell = g\,B\,T
"""

__all__ = ["GLARE", "GLARE_SD", "NONE", "Artefacts", "Mended", "mended", "veil", "without_glare"]

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .estimator import Field
from .noise import camera

GLARE = 0.055
"""What is expected of s where nobody has measured it. At one transmission X-ray microscope 0.05 to 0.07 was
seen, in the blocked corners of tiles; the simulator draws 0.03 to 0.08."""

GLARE_SD = 0.0144
"""The standard deviation of s about that."""

_CLEAR = 8.0  # standard deviations of the noise by which an outlier exceeds the median of its neighbours
_SPREAD = 0.3  # of its height: what two of its neighbours may not reach; beside the finest point of optics
# that resolve two pixels four of them reach 0.48
_MOST, _CELL, _FEW = 1e-3, 16, 2  # of the pixels, and in a square of so many pixels' side, how many: where
# more stand alone, that is what the sample looks like
_BESIDE = [(i, j) for i in range(-1, 2) for j in range(-1, 2) if (i, j) != (0, 0)]
_RING = [(i, j) for i in range(-2, 3) for j in range(-2, 3) if max(abs(i), abs(j)) == 2]


class Mended(NamedTuple):
    """``counts`` (H,W) without outliers; ``where`` (K,) in the flattened image they were; ``spread`` (K,),
    the standard deviation of the pixels about each, which is how little is known of what they hid."""

    counts: Field
    where: npt.NDArray[np.intp]
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

    def cleared(self, counts: npt.NDArray[np.floating]) -> Field:
        """Counts less the dark level (H,W) without outliers and glare."""
        return without_glare(self.mended(counts).counts, self.glare)

    def mended(self, counts: npt.NDArray[np.floating]) -> Mended:
        """Without outliers, if they are to be taken off."""
        if self.outliers:
            return mended(counts)
        return Mended(np.asarray(counts, np.float64), np.zeros(0, np.intp), np.zeros(0))

    def told(self, *, glare: float | None = None, outliers: bool | None = None) -> "Artefacts":
        """These, with what a user has said: a glare that is told is known."""
        found = self if glare is None else replace(self, glare=glare, deviation=0.0)
        return found if outliers is None else replace(found, outliers=outliers)


NONE = Artefacts(0.0, 0.0, False)
"""Nothing is taken off: the classical methods as the literature has them."""


def without_glare(counts: npt.NDArray[np.floating], glare: float) -> Field:
    r""":math:`I - \frac{s}{1+s}\,\bar I`, which is :math:`\ell` if s is right; pixels that are not finite do
    not count."""
    light = np.asarray(counts, np.float64)
    return light - veil(light, glare) if glare else light


def veil(counts: npt.NDArray[np.floating], glare: float) -> float:
    """The counts of the glare in every pixel of an image less its dark level; 0 if none is finite."""
    finite = np.isfinite(counts)
    if not glare or not finite.any():
        return 0.0
    return glare / (1 + glare) * float(np.mean(counts, where=finite, dtype=np.float64))


def mended(counts: npt.NDArray[np.floating]) -> Mended:
    """Counts (H,W) with the median of their neighbours in place of single bright pixels.

    An outlier exceeds the median of the eight pixels around it by eight standard deviations of the noise, and
    at most one of them reaches 0.3 of its height above the ring about them. Optics that resolve two pixels
    cannot draw such a point; a camera can, in a pixel that is hot or was hit. Clusters of three and more
    stay, dark pixels do, as a particle may be that small, and so do those on the border. Where more than a
    thousandth of the pixels stand alone, none is touched, and where three do in 16×16, these are not: fine
    parts of samples lie together, as the middle of a Siemens star.
    """
    values = np.asarray(counts, np.float64)
    nothing = Mended(values, np.zeros(0, np.intp), np.zeros(0))
    if values.ndim != 2 or min(values.shape) < 3:
        return nothing
    slope, offset = camera(values)
    pairs = [values[:-2, 1:-1], values[2:, 1:-1], values[1:-1, :-2], values[1:-1, 2:]]
    beside = 0.25 * np.sum(pairs, axis=0)
    with np.errstate(invalid="ignore"):
        # of the four one may be bright, too: three quarters of the height are left at least
        apart = 0.7 * _CLEAR * np.sqrt(offset + slope * np.maximum(beside, 0))
        y, x = np.nonzero((values[1:-1, 1:-1] - beside > apart) & (values[1:-1, 1:-1] > 0))
    padded = np.pad(values, 1, mode="reflect")  # the ring of a pixel beside the border lies beyond it
    around = np.sort([padded[y + 2 + i, x + 2 + j] for i, j in _BESIDE], axis=0)
    ring = np.median([padded[y + 2 + i, x + 2 + j] for i, j in _RING], axis=0)
    middle = 0.5 * (around[3] + around[4])
    bright = values[y + 1, x + 1]
    noise = np.sqrt(np.maximum(offset + slope * np.maximum(middle, 0), 1e-12))
    with np.errstate(invalid="ignore"):
        lone = (bright - middle > _CLEAR * noise) & (around[6] - ring < _SPREAD * (bright - ring))
    cells = (y + 1) // _CELL * (values.shape[1] // _CELL + 1) + (x + 1) // _CELL
    if lone.any():
        lone &= np.bincount(cells[lone], minlength=int(cells.max()) + 1)[cells] <= _FEW
    if not lone.any() or lone.sum() > max(_FEW, _MOST * values.size):
        return nothing
    y, x, middle = y[lone] + 1, x[lone] + 1, middle[lone]
    found = values.copy()
    found[y, x] = middle
    where = np.asarray(np.ravel_multi_index((y, x), values.shape), np.intp)
    return Mended(found, where, np.asarray(around[:7, lone].std(0), np.float64))
