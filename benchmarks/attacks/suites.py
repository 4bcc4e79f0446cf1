r"""The list of suites: name → what runs it, ``(folder, share of the full size) → rows``."""

__all__ = ["SUITES"]

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import described
import live
import pictures
import unfolding
from fuzzing import CRASH, HANG, fuzz
from tally import Tally

DECODED = {
    "PNG": 20_000,
    "TIFF": 24_000,
    "JPEG": 16_000,
    "WebP": 12_000,
    "BMP": 12_000,
    "HEIF": 3_000,
    "camera RAW": 6_000,
    "other": 3_000,
}
FORMS = 20_000


def decoding(folder: Path, share: float) -> dict[str, Any]:
    """Pictures of every format that is read, and of some that are not."""
    seeds = pictures.seeds()
    goals = {name: max(50, round(goal * share)) for name, goal in DECODED.items() if name in seeds}
    return {
        name: _row(fuzz("decoding.py", folder / name.replace(" ", "-"), seeds[name], goal))
        for name, goal in goals.items()
    }


def forms(folder: Path, share: float) -> dict[str, Any]:
    """Forms with pictures and masks."""
    seeds = [Random(number).randbytes(200) for number in range(40)]
    return {"forms": _row(fuzz("forms.py", folder, seeds, max(100, round(FORMS * share))))}


def _row(tally: Tally) -> dict[str, Any]:
    names = {HANG: "hang", CRASH: "crash"}
    return {"tried": tally.total, "statuses": {names.get(s, str(s)): n for s, n in tally.counts.items()}}


SUITES: dict[str, Callable[[Path, float], dict[str, Any]]] = {
    "decoding": decoding,
    "forms": forms,
    "api": described.described,
    "unfolding": unfolding.bombs_and_polyglots,
    "names": live.names,
    "half-open": live.half_open,
    "slow": live.slow,
    "memory": live.memory,
    "overload": live.overload,
}
