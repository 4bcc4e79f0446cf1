r"""How long does a call take? Warm-up, interleaved rounds, percentiles and an interval.

Rounds are interleaved and their order turns round, so that a machine that slows down slows all calls alike
and none always follows the same neighbour. What a call takes the first time is kept apart.
"""

__all__ = ["Call", "Latency", "interleaved", "latency", "warm_up"]

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from relume.bench.intervals import bootstrap
from relume.errors import UsageError

Call = Callable[[], object]
Clock = Callable[[], float]

_SAME = 5
"""So many calls in a row have to agree before a warm-up is over."""


@dataclass(frozen=True)
class Latency:
    """Seconds of a call over its ``rounds``; ``low_s`` to ``high_s`` is the 95 % interval of the median.

    With fewer than a hundred rounds ``p99_s`` lies between the two slowest of them.
    """

    median_s: float
    low_s: float
    high_s: float
    p90_s: float
    p99_s: float
    min_s: float
    max_s: float
    rounds: int


def latency(seconds: Sequence[float]) -> Latency:
    """The figures of measured times, by linear interpolation between order statistics.

    Raises
    ------
    UsageError
        If there are none.

    >>> latency([3.0, 1.0, 2.0]).median_s
    2.0
    """
    if not len(seconds):
        raise UsageError("no time was measured: allow at least one round")
    median, p90, p99 = (float(value) for value in np.percentile(seconds, [50, 90, 99]))
    interval = bootstrap(seconds, np.median)
    return Latency(
        median, interval.low, interval.high, p90, p99, float(min(seconds)), float(max(seconds)), len(seconds)
    )


def warm_up(
    call: Call,
    *,
    least: int = 2,
    most: int = 10,
    agree: float = 0.02,
    budget_s: float = 2.0,
    clock: Clock = time.perf_counter,
) -> list[float]:
    """Calls until five times in a row lie within ``agree`` of each other, ``most`` are made or time is up.

    Returns the times, of which the first is that of a cold call; they count for nothing else.
    """
    began, seconds = clock(), list[float]()
    while len(seconds) < most:
        seconds.append(_timed(call, clock))
        last = seconds[-_SAME:]
        settled = len(last) == _SAME and max(last) <= (1 + agree) * min(last)
        if len(seconds) >= least and (settled or clock() - began > budget_s):
            break
    return seconds


def interleaved(
    calls: Mapping[str, Call],
    *,
    rounds: int,
    least: int = 3,
    budget_s: float = float("inf"),
    clock: Clock = time.perf_counter,
) -> dict[str, list[float]]:
    """The times of each call, one a round; the first of a round is another in each round.

    No round begins after ``budget_s``, except that ``least`` are made in any case.

    Raises
    ------
    UsageError
        If fewer than one round is asked for.
    """
    if rounds < 1:
        raise UsageError(f"{rounds} rounds measure nothing; ask for 1 or more")
    began, names = clock(), list(calls)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        if number >= least and clock() - began > budget_s:
            break
        turn = number % max(len(names), 1)
        for name in names[turn:] + names[:turn]:
            seconds[name].append(_timed(calls[name], clock))
    return seconds


def _timed(call: Call, clock: Clock) -> float:
    before = clock()
    call()
    return clock() - before
