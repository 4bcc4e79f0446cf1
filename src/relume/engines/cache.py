r"""What the benchmark of engines came to, kept on disk for as long as nothing that matters has changed.

The key holds the bundle's hash, the graph, the versions of the runtimes, the CPU, its usable cores, the
GPUs, and the device and threads that were asked for.
"""

__all__ = ["Key", "key_of", "place_of", "recall", "remember"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from relume import kept, machine
from relume.bundle import Bundle
from relume.engines.gate import LEAST_DB
from relume.engines.timing import Timing
from relume.kept import Key

_SHELF = "engines"


def key_of(
    bundle: Bundle, graph: str, versions: Mapping[str, str], *, device: str, threads: int | None
) -> Key:
    """Everything on which a measurement depends."""
    return {
        "bundle": bundle.hash,
        "graph": graph,
        "versions": dict(versions),
        "processor": machine.processor(),
        "cores": machine.usable_cores(),
        "graphics": machine.graphics(),
        "device": device,
        "threads": threads,
    }


def place_of(key: Key) -> Path:
    """The file that belongs to a key."""
    return kept.place_of(_SHELF, key)


def recall(key: Key) -> list[Timing] | None:
    """The timings that were kept under a key; ``None`` where there are none that can be used."""
    try:
        timings = [Timing(**facts) for facts in (kept.recall(_SHELF, key) or {})["timings"]]
    except (TypeError, KeyError):
        return None
    return timings if timings and all(map(_sound, timings)) else None


def remember(key: Key, timings: Sequence[Timing]) -> bool:
    """Keeps timings, atomically. False where the folder cannot be written: the next run measures again."""
    return kept.remember(_SHELF, key, {"timings": [asdict(timing) for timing in timings]})


def _sound(timing: Timing) -> bool:
    seconds = (timing.median_s, timing.spread_s)
    return (
        all(isinstance(word, str) for word in (timing.engine, timing.device, timing.precision))
        and timing.precision in LEAST_DB
        and isinstance(timing.rounds, int)
        and all(isinstance(one, float) and math.isfinite(one) for one in seconds)
        and timing.median_s > 0
        and timing.spread_s >= 0
    )
