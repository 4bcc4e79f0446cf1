r"""How sure is a figure, or a difference between two rows of a table?"""

__all__ = ["Interval", "bootstrap", "paired_bootstrap"]

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from relume.errors import UsageError


class Interval(NamedTuple):
    """A mean (or another statistic) and the bounds of its interval, over so many ``pictures`` (or rounds)."""

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
    differences = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    return bootstrap(differences, np.mean, seed=seed, resamples=resamples, level=level)


def bootstrap(
    values: Sequence[float] | np.ndarray[Any, np.dtype[np.float64]],
    statistic: Callable[..., Any],
    *,
    seed: int = 0,
    resamples: int = 4000,
    level: float = 0.95,
) -> Interval:
    r"""Percentile bootstrap of a ``statistic(values, axis=…)``, such as ``np.mean`` or ``np.median``.

    Raises
    ------
    UsageError
        If there are no values, or the level is not within (0, 1).

    Source: Efron, Tibshirani, *An Introduction to the Bootstrap*, 1993.
    """
    if not len(values):
        raise UsageError("no figures to draw from")
    if not 0 < level < 1:
        raise UsageError(f"a level of {level}: it lies between 0 and 1")
    drawn = np.asarray(values, np.float64)
    draws = np.random.default_rng(seed).integers(len(drawn), size=(resamples, len(drawn)))
    low, high = np.quantile(statistic(drawn[draws], axis=1), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(statistic(drawn, axis=0)), float(low), float(high), len(drawn))
