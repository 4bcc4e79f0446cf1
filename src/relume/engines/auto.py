r"""``auto``: what was measured to be the fastest on this machine, or a fixed order until something was.

A measurement takes a second or two, which one small photograph is not worth: so it is made when the caller
says that there is work enough (``measure=True``), by ``relume doctor --benchmark``, or at the first use with
``RELUME_BENCHMARK=on``. Afterwards every call with the same key profits. ``RELUME_BENCHMARK=off`` keeps to
the fixed order, whatever was measured: the same engine, and the same bytes, on all machines alike.
"""

__all__ = ["SWITCH", "Pick", "key", "measured", "picks"]

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from relume.bundle import Bundle
from relume.engines.cache import Key, key_of, recall, remember
from relume.engines.engine import Engine, version_of
from relume.engines.gate import passed
from relume.engines.timing import BUDGET_S, Timing, example, measure, ranked
from relume.errors import EngineError, UsageError

SWITCH = "RELUME_BENCHMARK"


@dataclass(frozen=True)
class Pick:
    """An engine to try, and how it came to be: ``benchmark`` or ``order``."""

    module: ModuleType
    precision: str
    chosen: str


def picks(
    modules: Sequence[ModuleType], bundle: Bundle, graph: str, *, enough: bool, **options: Any
) -> Iterator[Pick]:
    """What ``auto`` tries, in turn: the fastest that was measured, then the fixed order of ``modules``.

    Raises:
        UsageError: ``RELUME_BENCHMARK`` is neither on nor off.
    """
    switch = os.environ.get(SWITCH, "").lower()
    if switch not in ("", "on", "off"):
        raise UsageError(f'{SWITCH} is "{switch}"; set it to on or off, or leave it away')
    if switch != "off":
        timings = recall(key(modules, bundle, graph, **options))
        if timings is None and (enough or switch == "on"):
            timings = measured(modules, bundle, graph, **options)
        names = {module.NAMES[0]: module for module in modules}
        for timing in ranked(timings or []):
            # What is kept on disk opens nothing: not even --force lets auto come to what did not pass.
            known = timing.engine in names and timing.precision in passed(bundle, timing.engine)
            if known and options["precision"] in ("auto", timing.precision):
                yield Pick(names[timing.engine], timing.precision, "benchmark")
    for module in modules:
        yield Pick(module, options["precision"], "order")


def measured(
    modules: Sequence[ModuleType], bundle: Bundle, graph: str, *, budget: float = BUDGET_S, **options: Any
) -> list[Timing]:
    """Times every engine at every precision at which it passed with this model, and keeps the result.

    What the fixed order would take is timed first: where the time runs out, the rest counts as slower.
    """
    engines = _ready(modules, bundle, graph, **options)
    timings = measure(engines, example(bundle, graph), budget=budget)
    if timings:
        remember(key(modules, bundle, graph, **options), timings)
    return timings


def key(modules: Sequence[ModuleType], bundle: Bundle, graph: str, **options: Any) -> Key:
    """What the measurement of these engines is kept under."""
    versions = {module.NAMES[0]: version_of(*module.PACKAGES) for module in modules}
    return key_of(bundle, graph, versions, device=options["device"], threads=options["threads"])


def _ready(modules: Sequence[ModuleType], bundle: Bundle, graph: str, **options: Any) -> Iterator[Engine]:
    """Each engine as it is by itself, in the fixed order; then each at its other precisions."""
    others: list[tuple[ModuleType, str]] = []
    for module in modules:
        for engine in _loaded(module, bundle, graph, "auto", options):
            yield engine
            rest = (one for one in passed(bundle, module.NAMES[0]) if one != engine.precision)
            others += [(module, one) for one in rest]
    for module, precision in others:
        yield from _loaded(module, bundle, graph, precision, options)


def _loaded(
    module: ModuleType, bundle: Bundle, graph: str, precision: str, options: Mapping[str, Any]
) -> Iterator[Engine]:
    settings = {**options, "precision": precision, "force": False}
    try:
        yield module.load(bundle, graph, name=module.NAMES[0], **settings)
    except EngineError:  # not installed, no such device or precision, too large
        return
