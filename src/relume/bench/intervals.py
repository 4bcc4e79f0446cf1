r"""How sure is a difference between two rows of a table?"""

__all__ = ["Interval", "paired_bootstrap"]

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from relume.errors import UsageError


class Interval(NamedTuple):
    """A mean and the bounds of its interval, over so many ``pictures``."""

    mean: float
    low: float
    high: float
    pictures: int


def paired_bootstrap(
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    seed: int = 0,
    resamples: int = 4000,
    level: float = 0.95,
) -> Interval:
    r"""Percentile bootstrap of the mean of ``ours - theirs``, the same pictures drawn for both.

    Pictures differ far more from each other than methods do on one picture; pairing takes that out.

    Raises
    ------
    UsageError
        If the lists differ in length or are empty, or the level is not within (0, 1).

    Source: Efron, Tibshirani, *An Introduction to the Bootstrap*, 1993.
    """
    if len(ours) != len(theirs) or not len(ours):
        raise UsageError(f"{len(ours)} and {len(theirs)} figures are no pairs")
    if not 0 < level < 1:
        raise UsageError(f"a level of {level}: it lies between 0 and 1")
    differences = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    draws = np.random.default_rng(seed).integers(len(differences), size=(resamples, len(differences)))
    means = differences[draws].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(differences.mean()), float(low), float(high), len(differences))
