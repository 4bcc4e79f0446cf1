r"""A short benchmark: the same tile through each engine in turn, in rounds, until the time is up.

Rounds are interleaved, so that a machine that slows down slows all of them. Of each engine the median and
the spread (the distance of the quartiles) are kept.
"""

__all__ = ["BUDGET_S", "ROUNDS", "SIDE", "Timing", "example", "measure", "ranked"]

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from relume.bundle import Bundle
from relume.engines.engine import Engine
from relume.engines.gate import LEAST_DB
from relume.errors import EngineError

SIDE = 256
ROUNDS = 5
BUDGET_S = 2.0
TIE = 0.1


@dataclass(frozen=True)
class Timing:
    """What a tile of SIDE×SIDE took on an engine, in seconds."""

    engine: str
    precision: str
    device: str
    median_s: float
    spread_s: float
    rounds: int


def example(bundle: Bundle, graph: str, side: int = SIDE) -> list[npt.NDArray[np.float32]]:
    """Inputs of a graph for one tile, drawn from [0,1): a constant would be friendlier than pictures are."""
    rng = np.random.default_rng(0)
    multiple = bundle.card.get("multiple_of", 1)
    sizes = {"batch": 1}
    whole = max(multiple, side // multiple * multiple)
    return [
        rng.random([sizes.get(s, whole) if isinstance(s, str) else s for s in port["shape"]], np.float32)
        for port in bundle.facts(graph)["inputs"]
    ]


def measure(
    engines: Iterable[Engine],
    arrays: Sequence[Any],
    *,
    rounds: int = ROUNDS,
    budget: float = BUDGET_S,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Timing]:
    """Times engines against each other.

    Arguments:
        engines: loaded while they are taken; no further one is taken once half of the budget is gone.
        arrays: what each is given; the first call of each is a warm-up and does not count.
        budget: seconds after which no further round begins. At least one round is made.

    Returns:
        One timing for each engine that runs, in the order given.
    """
    began = clock()
    ready: list[tuple[Engine, list[float]]] = []
    for engine in engines:
        try:
            engine(*arrays)
        except EngineError:
            continue
        ready.append((engine, []))
        if clock() - began > budget / 2:
            break
    for done in range(rounds):
        if done and clock() - began > budget:
            break
        for engine, taken in ready:
            before = clock()
            engine(*arrays)
            taken.append(clock() - before)
    return [_timing(engine, taken) for engine, taken in ready]


def _timing(engine: Engine, taken: Sequence[float]) -> Timing:
    low, middle, high = np.percentile(taken, [25, 50, 75])
    return Timing(
        engine.name, engine.precision, engine.device, float(middle), float(high - low), rounds=len(taken)
    )


def ranked(timings: Sequence[Timing]) -> list[Timing]:
    """The fastest first; among what is within the spread, and within a tenth, the finer precision first."""
    by_time = sorted(timings, key=lambda one: one.median_s)
    if not by_time:
        return []
    best = by_time[0]
    limit = best.median_s + min(best.spread_s, TIE * best.median_s)
    finest = list(LEAST_DB)
    return sorted(
        by_time,
        key=lambda one: (one.median_s > limit, finest.index(one.precision) if one.median_s <= limit else 0),
    )
