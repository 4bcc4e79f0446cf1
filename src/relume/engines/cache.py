r"""What the benchmark of engines came to, kept on disk for as long as nothing that matters has changed.

.. code-block:: text

    <user folder>/cache/engines/<first half of SHA-256 of the key>.json   {format, key, measured, timings}

The key holds the bundle's hash, the graph, the versions of the runtimes, the CPU, its usable cores, the
GPUs, and the device and threads that were asked for. A file that cannot be read, or is not what it should
be, counts as none.
"""

__all__ = ["Key", "key_of", "place_of", "recall", "remember"]

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from relume import machine
from relume.bundle import Bundle, user_folder
from relume.engines.gate import LEAST_DB
from relume.engines.timing import Timing
from relume.files import place

Key = dict[str, Any]
FORMAT = 1
_LARGEST = 1 << 20  # bytes; a file of ours is a thousand times smaller


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
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return user_folder() / "cache" / "engines" / f"{digest[:32]}.json"


def recall(key: Key) -> list[Timing] | None:
    """The timings that were kept under a key; ``None`` where there are none that can be used."""
    path = place_of(key)
    try:
        if path.stat().st_size > _LARGEST:
            return None
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT or found["key"] != key:
            return None
        timings = [Timing(**facts) for facts in found["timings"]]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return timings if timings and all(map(_sound, timings)) else None


def remember(key: Key, timings: Sequence[Timing]) -> bool:
    """Keeps timings, atomically. False where the folder cannot be written: the next run measures again."""
    path = place_of(key)
    facts = {
        "format": FORMAT,
        "key": key,
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "timings": [asdict(timing) for timing in timings],
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        place((json.dumps(facts, indent=2) + "\n").encode(), path, overwrite=True)
    except OSError:
        return False
    return True


def _sound(timing: Timing) -> bool:
    seconds = (timing.median_s, timing.spread_s)
    return (
        isinstance(timing.engine, str)
        and isinstance(timing.device, str)
        and timing.precision in LEAST_DB
        and isinstance(timing.rounds, int)
        and all(isinstance(one, float) and math.isfinite(one) for one in seconds)
        and timing.median_s > 0
        and timing.spread_s >= 0
    )
