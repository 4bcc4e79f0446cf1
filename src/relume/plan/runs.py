r"""Measured runs, read from the JSON of a benchmark.

Three shapes are read: ``rows``, a list (as ``relume bench`` writes it) or an object of rows by name; and ``speed``, an
object of rows whose ``photo_s`` holds every round. A row holds seconds per image, as one number, as all rounds (their
median counts) or as an object with ``median_s``, and may hold what ran and where: ``engine``, ``precision``,
``device``, ``threads``, ``machine``, and ``watts`` or ``energy``. What the row does not say of the machine, the file
says.
"""

__all__ = ["Run", "pick", "read", "stated"]

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from relume.errors import NoInput, UsageError
from relume.files import one_line
from relume.plan.figures import Figure, Kind
from relume.plan.sheet import Use

# The first that a row holds counts.
_SECONDS = ("seconds_per_image", "picture", "photo_s", "seconds_median", "seconds")
_MODELLED = (
    "modelled_picture_s"  # evaluations × the seconds of one, where a whole picture would take too long
)
_PARTS = ("cpu_j", "dram_j", "gpu_j")
_NAMED = ("name", "method", "row")


@dataclass(frozen=True)
class Run:
    """One measured row.

    Args:
        name: unique within its file.
        seconds: per image, the median of its rounds.
        rounds: how many there were; None where the file does not say.
        kind: measured, or modelled where the benchmark itself multiplied one evaluation.
        machine: in words.
        use: the cores or GPUs that it occupied; None where the file does not say.
        watts: mean power while it ran; None where nothing was measured.
        boundary: the parts of the machine that these watts are of.
        source: file and row.
    """

    name: str
    seconds: float
    rounds: int | None
    kind: Kind
    machine: str
    use: Use | None
    watts: float | None
    boundary: str
    source: str

    @property
    def figure(self) -> Figure:
        """Its seconds per image, with where they come from."""
        rounds = f", median of {self.rounds}" if self.rounds else ""
        return Figure(self.seconds, "s", self.kind, f"{self.source}{rounds}, on {self.machine}", 4)


def read(path: Path) -> dict[str, Run]:
    """The rows of a benchmark's file that hold seconds per image, by name.

    Raises:
        NoInput: the file cannot be read, is no JSON, or holds no such row.
        UsageError: a row contradicts itself or holds a number that none can be.
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NoInput(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise NoInput(f"{path} is no JSON: {one_line(error)}") from error
    found: dict[str, Run] = {}
    for name, row in _rows(facts):
        run = _run(name, row, facts if isinstance(facts, dict) else {}, path)
        if run is None:
            continue
        if run.name in found:
            raise UsageError(f"{path}: two rows are called {run.name!r}; give each a name")
        found[run.name] = run
    if not found:
        raise NoInput(f"{path} holds no seconds per image: rows need one of {', '.join(_SECONDS)}")
    return found


def pick(runs: Mapping[str, Run], asked: str | None, option: str) -> Run:
    """A run by its name, or by a part of it that no other has; the only one needs no name.

    Raises:
        UsageError: it is none of these, or more than one.
    """
    names = list(runs)
    if asked is not None and asked not in runs:
        names = [name for name in runs if asked.casefold() in name.casefold()]
    elif asked is not None:
        names = [asked]
    if len(names) == 1:
        return runs[names[0]]
    there = ", ".join(repr(name) for name in names or runs)
    if asked is None:
        raise UsageError(f"give {option} NAME; there are {there}")
    wrong = "means more than one row" if names else "is no row"
    raise UsageError(f"{option} {asked!r} {wrong}; there are {there}")


def stated(seconds: float, cpu_cores: int | None = None, gpus: int | None = None) -> Run:
    """A run that nobody measured: whoever asks says how long an image takes, and on what (default: one core)."""
    use = Use("gpu", gpus) if gpus is not None else Use("cpu", cpu_cores or 1)
    return Run(
        "as given", seconds, None, Kind.GIVEN, "a machine that was not named", use, None, "", "as given"
    )


def _rows(facts: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """(name, row) of all that could be rows."""
    rows = facts
    if isinstance(facts, dict):
        rows = next((facts[key] for key in ("rows", "speed") if isinstance(facts.get(key), dict | list)), [])
    if isinstance(rows, dict):
        return [(name, row) for name, row in rows.items() if isinstance(row, dict)]
    if not isinstance(rows, list):
        return []
    return [(_name(row), row) for row in rows if isinstance(row, dict)]


def _name(row: Mapping[str, Any]) -> str:
    for key in _NAMED:
        if isinstance(row.get(key), str):
            return str(row[key])
    parts = [row.get(key) for key in ("bundle", "engine", "precision", "device", "steps", "size")]
    return " ".join(str(part) for part in parts if isinstance(part, str | int)) or "unnamed"


def _run(name: str, row: Mapping[str, Any], facts: Mapping[str, Any], path: Path) -> Run | None:
    where = f"{path.name}: {name}"
    timed = next((row[key] for key in _SECONDS if row.get(key) is not None), None)
    kind = Kind.MEASURED if timed is not None else Kind.MODELLED
    seconds, rounds = _seconds(row.get(_MODELLED) if timed is None else timed, where)
    if seconds is None:
        return None
    machine = row.get("machine", facts.get("machine", {}))
    described = machine if isinstance(machine, dict) else {}
    words = machine if isinstance(machine, str) else str(described.get("cpu", "unnamed machine"))
    watts, boundary = _watts(row, where)
    return Run(name, seconds, rounds, kind, words, _use(row, described), watts, boundary, where)


def _seconds(value: Any, where: str) -> tuple[float | None, int | None]:
    """Seconds and the number of rounds; None where the row has none."""
    count = None
    if isinstance(value, dict):
        count, value = (
            value.get("rounds"),
            next((value[key] for key in ("median_s", "median") if key in value), None),
        )
    if value is None or value == []:
        return None, None
    values = value if isinstance(value, list) else [value]
    if not all(_positive(each) for each in values):
        raise UsageError(f"{where}: seconds per image must be numbers above zero")
    return float(median(values)), len(values) if isinstance(value, list) else count


def _watts(row: Mapping[str, Any], where: str) -> tuple[float | None, str]:
    """Mean power and what it is of: given as such, or as joules of a call and how long one took."""
    watts, boundary = row.get("watts"), str(row.get("watts_boundary", "what the file does not say"))
    energy = row.get("energy")
    if watts is None and isinstance(energy, dict):
        parts = {part[:-2]: energy[part] for part in _PARTS if energy.get(part) is not None}
        if parts:
            try:
                watts = sum(parts.values()) * energy["calls"] / energy["window_s"]
            except (KeyError, TypeError, ZeroDivisionError) as error:
                raise UsageError(
                    f"{where}: energy needs joules, calls and window_s, all above zero"
                ) from error
            boundary = " + ".join(parts)
    if watts is None:
        return None, ""
    if not _positive(watts):
        raise UsageError(f"{where}: watts must be a number above zero, or null where nothing was measured")
    return float(watts), boundary


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _use(row: Mapping[str, Any], machine: Mapping[str, Any]) -> Use | None:
    """What the run occupied: GPUs where it ran on one, else its threads, else all cores."""
    device = str(row.get("device", "")).casefold()
    gpus = row.get("gpus")
    if any(word in device for word in ("cuda", "gpu", "tensorrt")) or (isinstance(gpus, int) and gpus > 0):
        return Use("gpu", gpus if isinstance(gpus, int) and gpus > 0 else 1)
    for value in (row.get("threads"), row.get("cpu_cores"), machine.get("threads"), machine.get("cores")):
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return Use("cpu", value)
    return None
