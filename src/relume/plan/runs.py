r"""Measured runs, read from the JSON of a benchmark.

Three shapes are read: ``rows``, a list (as ``relume bench`` writes it) or an object of rows by name; and
``speed``, an object of rows whose ``photo_s`` holds every round. A row holds seconds per image, as one
number, as all rounds (their median counts) or as an object with ``median_s``, and may hold what ran and
where: ``engine``, ``precision``, ``device``, ``threads``, ``machine``, ``watts`` or ``energy``, and the
agreement of its picture with the reference. What the row does not say of the machine, the file says.
"""

__all__ = ["Power", "Run", "disagreements", "pick", "read", "stated"]

import json
import math
from collections.abc import Iterable, Mapping
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
_PARTS = ("cpu", "dram", "gpu")
_NAMED = ("name", "method", "row")


@dataclass(frozen=True)
class Power:
    """Mean watts while a run worked, and of the same parts while nothing was asked of them.

    ``boundary`` names the parts; ``idle_w`` is None where that was not measured.
    """

    busy_w: float
    idle_w: float | None
    boundary: str

    def idle(self, share: float) -> float:
        """Measured, or that share of the busy power."""
        return self.busy_w * share if self.idle_w is None else self.idle_w


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
        power: while it ran; None where nothing was measured.
        source: file and row.
        size: height and width of the image; None where the file does not say.
        agrees: whether its picture is that of the reference; None where nobody compared them.
    """

    name: str
    seconds: float
    rounds: int | None
    kind: Kind
    machine: str
    use: Use | None
    power: Power | None
    source: str
    size: tuple[int, int] | None = None
    agrees: bool | None = None

    @property
    def figure(self) -> Figure:
        """Its seconds per image, with where they come from."""
        said = self.source + (f", median of {self.rounds}" if self.rounds else "")
        said += "" if self.size is None else f", {self.size[1]}×{self.size[0]} pixels"
        return Figure(self.seconds, "s", self.kind, f"{said}, on {self.machine}", 4)

    def comparable(self, other: "Run") -> bool:
        """Whether both are of images of one size, as far as the file says."""
        return None in (self.size, other.size) or self.size == other.size


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
    except (ValueError, RecursionError) as error:
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


def disagreements(runs: Iterable[Run]) -> tuple[str, ...]:
    """A line for each run whose picture is not the reference's: its speed is worth nothing."""
    return tuple(
        f"{run.name}: its picture is not that of the reference; its speed is worth nothing"
        for run in runs
        if run.agrees is False
    )


def stated(seconds: float, cpu_cores: int | None = None, gpus: int | None = None) -> Run:
    """A run that nobody measured: whoever asks says how long an image takes, on what (default: one core)."""
    use = Use("gpu", gpus) if gpus is not None else Use("cpu", cpu_cores or 1)
    return Run("as given", seconds, None, Kind.GIVEN, "a machine that was not named", use, None, "as given")


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
    settings = facts.get("settings")
    use = _use(row, described, settings if isinstance(settings, dict) else {})
    size = row.get("height"), row.get("width")
    return Run(
        name,
        seconds,
        rounds,
        kind,
        words,
        use,
        _power(row, where),
        where,
        (size[0], size[1]) if isinstance(size[0], int) and isinstance(size[1], int) else None,
        _agrees(row),
    )


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


def _power(row: Mapping[str, Any], where: str) -> Power | None:
    """Given as watts, or as joules of a call and how many calls there were in how long."""
    watts, idle = row.get("watts"), row.get("idle_watts")
    boundary = str(row.get("watts_boundary", "parts that the file does not name"))
    energy = row.get("energy")
    if watts is None and isinstance(energy, dict):
        parts = [part for part in _PARTS if energy.get(f"{part}_j") is not None]
        if not parts:
            return None
        boundary = " + ".join(parts)
        idles: list[Any] = [energy.get(f"idle_{part}_j") for part in parts]
        try:
            calls_a_second = energy["calls"] / energy["window_s"]
            watts = sum(energy[f"{part}_j"] for part in parts) * calls_a_second
            idle = sum(idles) * calls_a_second if None not in idles else None
        except (KeyError, TypeError, ZeroDivisionError) as error:
            raise UsageError(f"{where}: energy needs joules, calls and window_s, all above zero") from error
    if watts is None:
        return None
    if not _positive(watts) or not (idle is None or idle == 0 or _positive(idle)):
        raise UsageError(f"{where}: watts must be a number above zero, or null where nothing was measured")
    return Power(float(watts), None if idle is None else float(idle), boundary)


def _agrees(row: Mapping[str, Any]) -> bool | None:
    """Whether its picture is near enough to the reference's, by the row's own bound."""
    found, least = row.get("parity_db"), row.get("parity_least_db")
    if not isinstance(found, int | float) or not isinstance(least, int | float):
        return None
    return found >= least


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _use(row: Mapping[str, Any], machine: Mapping[str, Any], settings: Mapping[str, Any]) -> Use | None:
    """What the run occupied: GPUs where it ran on one, else its threads, else all cores."""
    device = str(row.get("device", "")).casefold()
    gpus = row.get("gpus")
    if any(word in device for word in ("cuda", "gpu", "tensorrt")) or (isinstance(gpus, int) and gpus > 0):
        return Use("gpu", gpus if isinstance(gpus, int) and gpus > 0 else 1)
    said = (row.get("threads"), row.get("cpu_cores"), settings.get("threads"), machine.get("threads"))
    for value in (*said, machine.get("cores")):
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return Use("cpu", value)
    return None
