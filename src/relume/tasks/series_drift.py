r"""Light that drifts along a series: the slow waves by which it differs from image to image.

.. math:: y_i = \mu + d_i + e_i, \qquad d_i - d_{i-1} \sim \mathcal N(0, q), \quad e_i \sim \mathcal N(0, r_i)

y is what a net's answer on image i has of a wave over the mean of all answers. One answer is further off than
light drifts between two images, and answers err each for themselves, while light goes on from where it was: a
random walk behind noise, whose steps, beside the noise, are as large as the series shows them to be
(restricted maximum likelihood; Patterson & Thompson 1971). Its best linear estimate (kriging) between two
images is a straight line. In an order that is not that of time drift looks like noise, and none is followed.
"""

__all__ = ["Drift", "drift"]

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from relume.background.smooth import polynomials

_DEGREE = 2
_SURE = 1.5  # as in the mean of the answers
_RATIOS = np.geomspace(1e-3, 10, 17)  # q / r
_USUAL, _WITHIN = 0.05, np.log(4)  # what is expected of it, and its standard deviation as a logarithm
Field = npt.NDArray[np.float64]
Plane = npt.NDArray[np.float32]


class Drift(NamedTuple):
    """``places`` (N,), rising; ``waves`` (M,H,W) of rms 1; ``size`` (N,M), the ln light of an image over that
    of the series in each, and ``variance`` (N,M) of that."""

    places: Field
    waves: Field
    size: Field
    variance: Field

    def at(self, place: float | None) -> tuple[Field, Field]:
        """ln light over that of the series, and its variance, (H,W) each.

        Args:
            place: on the scale of ``places``; before and after them it is as at the ends. Without, nothing
                is known but how far images are from their mean.
        """
        if place is None:
            size = np.zeros(self.size.shape[1])
            variance = np.mean(self.size**2 + self.variance, axis=0)
        else:
            size = np.array([np.interp(place, self.places, each) for each in self.size.T])
            variance = np.array([np.interp(place, self.places, each) for each in self.variance.T])
        return np.tensordot(size, self.waves, 1), np.tensordot(variance, self.waves**2, 1)


def drift(
    own: Sequence[Plane],
    mean: Plane,
    weights: Sequence[Plane],
    told: Sequence[Plane],
    places: Sequence[float],
) -> Drift:
    """The drift behind answers.

    Args:
        own: answers (H,W), ln light up to a constant.
        mean: of these (H,W), by their weights.
        weights: (H,W) of each, by which it is a part of the mean.
        told: variance (H,W) of each, up to a factor.
        places: when each was taken, in any unit, rising.
    """
    count = len(own)
    when = np.asarray(places, np.float64)
    lines = [(2 * np.arange(side) + 1) / side - 1 for side in mean.shape]
    waves = polynomials(lines[0][:, None], lines[1][None, :], _DEGREE)[1:]
    waves = waves / np.sqrt(np.square(waves).mean((1, 2), keepdims=True))
    seen = np.array([_size(each - mean, waves, t**-_SURE) for each, t in zip(own, told, strict=True)])
    noise = np.array([1 / np.mean(t**-_SURE, dtype=np.float64) for t in told])
    noise /= np.median(noise)
    # what an image counts in the mean
    part = np.array([np.mean(w / np.sum(weights, axis=0), dtype=np.float64) for w in weights])
    level = np.eye(count) - np.broadcast_to(part, (count, count))
    ratio, scale = _ratio(seen, noise, np.diff(when))
    walk = -0.5 * ratio * np.abs(np.subtract.outer(when, when))
    # Best linear estimate of μ + d with μ unknown: rows sum to one.
    system = np.block([[walk + np.diag(noise), np.ones((count, 1))], [np.ones((1, count)), np.zeros((1, 1))]])
    best = np.linalg.solve(system, np.vstack([walk, np.ones((1, count))]))[:count].T
    take = level @ best
    missed = take - level  # of the drift itself; rows sum to zero, so what a walk starts from does not matter
    variance = np.einsum("ij,jk,ik->i", missed, walk, missed) + np.square(take) @ noise
    return Drift(when, waves, take @ seen, np.outer(np.maximum(variance, 0), scale))


def _size(over: Plane, waves: Field, weight: npt.NDArray[np.floating]) -> Field:
    """The waves (M,) of a field (H,W) less its mean, by least squares with weights."""
    every = np.concatenate([np.ones((1, *over.shape)), waves])
    flat = every.reshape(len(every), -1)
    heavy = flat * weight.reshape(-1)
    found: Field = np.linalg.solve(heavy @ flat.T, heavy @ over.reshape(-1).astype(np.float64))
    return found[1:]


def _ratio(seen: Field, noise: Field, apart: Field) -> tuple[float, Field]:
    """q / r, one for all waves, and r of each (M,) in units of ``noise``: the most likely ones given ``seen``
    (N,M) up to a constant, what is expected, and how far in time each is from the next, ``apart`` (N-1,)."""
    count = len(seen)
    steps = np.diff(seen, axis=0)
    beside = np.diff(np.eye(count), axis=0)
    best, found = -np.inf, (_USUAL, np.zeros(seen.shape[1]))
    for ratio in _RATIOS:
        # of a walk steps are independent; each shares its noise with the next
        spread = ratio * np.diag(apart) + beside @ np.diag(noise) @ beside.T
        power = np.mean(steps * np.linalg.solve(spread, steps), axis=0) + 1e-12
        likely = -0.5 * np.sum((count - 1) * np.log(power) + np.linalg.slogdet(spread)[1]) - 0.5 * np.square(
            np.log(ratio / _USUAL) / _WITHIN
        )
        if likely > best:
            best, found = likely, (float(ratio), power)
    return found
