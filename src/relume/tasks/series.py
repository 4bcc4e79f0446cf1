r"""One light behind many images: what a net finds in each of them, and what all of them hold.

.. math:: \ln I_i(r) = c_i + F(r) + \ln T_i(r) + \varepsilon_i

Images of one session share the field F, and samples differ from one to the next. The mean of the net's
answers, at each place by how sure they are there, knows the slow part of F far better than one answer does.
What is left in the images over it is sample, noise and what the net has missed; the last is the same in all
of them, and counts at each place and in each band by how quiet an image is there. Slow waves that drift are
followed (:mod:`relume.tasks.series_drift`). A sample that stands still through all of it is taken for light.
"""

__all__ = ["LEAST", "Seen", "Series", "agreed", "series"]

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from relume.background.smooth import polynomials
from relume.degrade.resample import resize_matrix
from relume.errors import UsageError

from .series_drift import Drift, drift

LEAST = 3
"""Images that a series has at least: of two, what both hold may be the sample."""

_SURE = 1.5  # power of an answer's variance in its weight; 1 were right if each told the whole of it
_BELIEVED = 0.5  # the least share of what an answer tells of its error, beside what it is off the mean
_PARTS = 8  # along a side, over which an answer is off the mean or not
_ROUNDS = 3
_AREA = 8  # cells of its band along a side over which an image is quiet or not
_COARSEST = 16  # cells along the shorter side of the slowest band; what is slower is the net's alone
_OWN = 2.0  # over the number of images: the share of an image's own power beside that of what it is off
_SHARED = 0.05  # of the variance of the net's error, what all images of a session have alike
_LOUD = 300.0  # times the median of the variance: where the pattern is not looked for
_WHITE = 0.25  # of the variance of white noise, what a band has at least, on its own grid
_STILL, _LARGE = 0.5, 0.03  # in 70 simulated series .28 and .026 at the most
_FLOOR = 1e-8
_DEGREE = 2
Plane = npt.NDArray[np.float32]
Field = npt.NDArray[np.float64]


class Series(NamedTuple):
    """``field`` ln F (H,W), up to a constant, ``sigma`` (H,W), its standard error, and the ``drift``.
    ``still`` says that the images look like exposures of one place: what all hold over the net's answer is
    large, and most of what they hold."""

    field: Field
    sigma: Field
    drift: Drift
    still: bool

    def at(self, place: float | None) -> tuple[Field, Field]:
        """ln F and its standard error (H,W) where an image was taken: see :meth:`Drift.at`."""
        moved, variance = self.drift.at(place)
        return self.field + moved, np.sqrt(self.sigma**2 + variance)


class Seen(NamedTuple):
    """What is seen of an image, (H,W) each.

    ``level``: ln counts without outliers and glare, finite everywhere. ``answer``: what the net takes for
    ln B. ``error``: its standard error, without that of what is finer than the net can show. ``noise``: the
    standard deviation of the level's noise, 1 where nothing was measured.
    """

    level: npt.NDArray[np.floating]
    answer: npt.NDArray[np.floating]
    error: npt.NDArray[np.floating]
    noise: npt.NDArray[np.floating]


def series(images: Sequence[Seen], places: Sequence[float] | None = None) -> Series:
    """The field that images have in common, and how it drifts.

    Args:
        images: of one session.
        places: when each was taken, in any unit, rising; evenly, if not told.

    Raises:
        UsageError: there are fewer than three, or of several sizes.
    """
    if len(images) < LEAST:
        raise UsageError(f"a series needs {LEAST} images of one session or more, not {len(images)}")
    if len({image.level.shape for image in images}) > 1:
        raise UsageError("the images of a series are of one size")
    told = _told(images)
    own, mean, weights = _agreed(images, told)
    left = [list(_bands(_over(image.level, each, mean))) for image, each in zip(images, own, strict=True)]
    noises = [np.asarray(np.square(image.noise), np.float32) for image in images]
    missed, variance, explained = _common(left, noises)
    field = np.asarray(mean + missed, np.float64)
    whole = np.sum(weights, axis=0)
    alone = np.sum([w**2 * t for w, t in zip(weights, told, strict=True)], axis=0) / whole**2
    alike = np.float32(_SHARED) * _mean(told, weights, whole)
    moved = drift(own, mean, weights, told, range(len(own)) if places is None else places)
    still = explained > _STILL and float(np.std(missed)) > _LARGE
    return Series(field, np.sqrt(alone + alike + variance), moved, still)


def agreed(images: Sequence[Seen]) -> Plane:
    """What the net's answers agree on (H,W), up to a constant."""
    return _agreed(images, _told(images))[1]


def _told(images: Sequence[Seen]) -> list[Plane]:
    return [np.asarray(np.square(image.error) + _FLOOR, np.float32) for image in images]


def _agreed(images: Sequence[Seen], told: Sequence[Plane]) -> tuple[list[Plane], Plane, list[Plane]]:
    r"""The answers (H,W) less a constant each, their mean at each place, and their weights.

    .. math:: m = \frac{\sum_i w_i (a_i - c_i)}{\sum_i w_i}, \qquad \sum_r w_i (a_i - c_i - m) = 0

    Weights are by the variance that an answer tells and, of three and more, by what it is off the mean in
    that part of the frame: a net that is misled by a sample does not always say so.
    """
    count = len(images)
    own = [np.asarray(image.answer - np.mean(image.answer), np.float32) for image in images]
    kept = max(_BELIEVED, min(1.0, _OWN / count))
    off = told
    for _ in range(_ROUNDS):
        weights = [np.asarray(each**-_SURE, np.float32) for each in off]
        whole = np.sum(weights, axis=0)
        for _ in range(_ROUNDS):
            mean = _mean(own, weights, whole)
            own = [o - np.float32(np.average(o - mean, weights=w)) for o, w in zip(own, weights, strict=True)]
        mean = _mean(own, weights, whole)
        free = [np.maximum(1 - w / whole, np.float32(0.1)) for w in weights]  # as an answer is in the mean
        apart = [_local((o - mean) ** 2 / f, _PARTS) for o, f in zip(own, free, strict=True)]
        off = [np.float32(kept) * t + np.float32(1 - kept) * a for t, a in zip(told, apart, strict=True)]
    return own, mean, weights


def _mean(parts: Sequence[Plane], weights: Sequence[Plane], whole: Plane) -> Plane:
    return np.asarray(np.sum([w * p for w, p in zip(weights, parts, strict=True)], axis=0) / whole)


def _over(level: npt.NDArray[np.floating], answer: Plane, mean: Plane) -> Plane:
    """What is left of an image over the mean answer, the slowest waves as its own answer has them."""
    lines = [(2 * np.arange(side) + 1) / side - 1 for side in answer.shape]
    basis = polynomials(lines[0][:, None], lines[1][None, :], _DEGREE)[1:]
    # Legendre's polynomials are orthogonal: a coefficient is a mean
    drift = np.tensordot(basis, answer - mean, 2) / np.square(basis).sum((1, 2))
    return np.asarray(level - mean - np.tensordot(drift, basis, 1), np.float32)


def _resized(x: npt.NDArray[np.floating], shape: tuple[int, ...], kernel: str = "bicubic") -> Plane:
    rows, columns = (resize_matrix(a, b, kernel) for a, b in zip(x.shape, shape, strict=True))
    return np.asarray(rows @ np.asarray(x, np.float32) @ columns.T, np.float32)


def _bands(x: Plane) -> Iterator[Plane]:
    """From the finest on, each on a grid of half the size; their sum, enlarged, is x less what is slow."""
    while min(x.shape) >= _COARSEST:
        low = _resized(x, tuple(-(-side // 2) for side in x.shape))
        yield x - _resized(low, x.shape)
        x = low


def _common(images: list[list[Plane]], noises: list[Plane]) -> tuple[Field, Field, float]:
    r"""What all images hold, of bands of what is left in each, its variance (H,W), and its share of the mean
    square of what is left. ``noises`` are the variances of pixels.

    .. math:: \hat P = \frac{\pi}{\pi + v}\,\frac{\sum_i p_i / s_i^2}{\sum_i 1 / s_i^2}, \qquad
        v = \Bigl(\sum_i 1 / s_i^2\Bigr)^{-1}

    s² is the mean square over 8×8 cells, at first of p itself and then of what it is off the estimate: where
    a sample has edges an image says little, where it is flat or empty much. Of few images the first counts
    on, or one of them would be taken for the pattern. No image is quieter than its noise: one that is has
    seen nothing there. π, the mean square of the pattern in this band, is what that of the estimate has
    beyond v, where v is not many times the usual.
    """
    count = len(images)
    kept, more = min(1.0, _OWN / count), count / (count - 1)
    total: Plane = np.zeros((1, 1), np.float32)
    spread: Plane = np.zeros((1, 1), np.float32)
    before = after = 0.0
    for band in reversed(range(len(images[0]))):
        parts = [image[band] for image in images]
        least = [_WHITE / 4**band * _resized(noise, parts[0].shape, "bilinear") for noise in noises]
        own = [np.maximum(_power(part), low) for part, low in zip(parts, least, strict=True)]
        found, whole = _weighted(parts, own)
        off = [np.maximum(more * _power(p - found), low) for p, low in zip(parts, least, strict=True)]
        mixed = [kept * a + (1 - kept) * b for a, b in zip(own, off, strict=True)]
        found, whole = _weighted(parts, mixed)
        variance = 1 / whole
        pattern = max(0.0, float(np.average(found**2 - variance, weights=whole > np.median(whole) / _LOUD)))
        share = pattern / (pattern + variance)
        before += float(np.mean([np.mean(part**2) for part in parts]))
        after += float(np.mean([np.mean((part - share * found) ** 2) for part in parts]))
        total = np.asarray(_resized(total, found.shape) + share * found, np.float32)
        spread = np.asarray(_resized(spread, found.shape, "bilinear") + share * variance, np.float32)
    explained = 1 - after / before if before else 0.0
    return total.astype(np.float64), spread.astype(np.float64), explained


def _weighted(parts: list[Plane], powers: list[Plane]) -> tuple[Plane, Plane]:
    """The mean by inverse powers, and the sum of these."""
    weights = [np.asarray(1 / (power + _FLOOR), np.float32) for power in powers]
    whole = np.sum(weights, axis=0)
    return _mean(parts, weights, whole), whole


def _power(part: Plane) -> Plane:
    return _local(part**2, *(max(1, side // _AREA) for side in part.shape))


def _local(x: Plane, *cells: int) -> Plane:
    """Means over ``cells`` along the sides, and between them."""
    return _resized(_resized(x, cells * (x.ndim // len(cells)), "bilinear"), x.shape, "bilinear")
