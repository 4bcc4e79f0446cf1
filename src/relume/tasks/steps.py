r"""A task in steps: what is asked of the net, one evaluation of one tile at a time.

A tile is a :data:`Chain`: it says what it wants evaluated, is sent the answer, and goes on. It neither knows
nor cares who evaluates, with what else at once, and what happens in between. That is a :data:`Run`: the plain
one below, or a :class:`~relume.tasks.scheduler.Scheduler` that many pictures share.
"""

__all__ = ["Chain", "Evaluate", "Run", "one_by_one"]

from collections.abc import Callable, Generator, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

Evaluate = Callable[..., Any]
"""One evaluation of the net: arrays → array, all with the batch as their first axis; an engine is one."""

Chain = Generator[tuple[Array, ...], Array, Array]
"""One tile: yields the arrays of an evaluation (batches of one), is sent the answer, returns the result."""

Run = Callable[[Iterable[Chain]], Generator[Array, None, None]]
"""Chains → their results, in the same order. Closing it ends the work; nothing is evaluated after that."""


def one_by_one(evaluate: Evaluate) -> Run:
    """One chain after another, one step after another, here and now."""

    def run(chains: Iterable[Chain]) -> Generator[Array, None, None]:
        for chain in chains:
            yield _alone(chain, evaluate)

    return run


def _alone(chain: Chain, evaluate: Evaluate) -> Array:
    try:
        asked = next(chain)
        while True:
            asked = chain.send(np.asarray(evaluate(*asked)))
    except StopIteration as end:
        result: Array = end.value
        return result
