r"""A benchmark's results as data: what was measured, on what, with the unit in every name.

``None`` means "not measured here"; it is never written as 0. :func:`load` refuses what it does not know, so
that another program may rely on what it accepts.
"""

__all__ = ["FORMAT", "Cold", "Operation", "Profile", "Rate", "Report", "Row", "dump", "load"]

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from relume.bench.clock import Latency
from relume.bench.energy import Energy
from relume.bench.roofline import Place
from relume.errors import UsageError

FORMAT = 1


@dataclass(frozen=True)
class Rate:
    """A measured peak, and the library that reached it."""

    flop_per_s: float
    library: str


@dataclass(frozen=True)
class Cold:
    """A process of its own that does this row's work and nothing else.

    ``start_s`` runs until the interpreter has imported what comes before any engine, ``load_s`` until the
    engine has its model, ``first_s`` is the first picture, ``steady_s`` the median of the next three; where a
    picture is modelled, both are of one evaluation.
    ``peak_bytes`` is the most memory that the process held, ``before_bytes`` what it held before it loaded.
    """

    start_s: float
    load_s: float
    first_s: float
    steady_s: float
    peak_bytes: int | None
    before_bytes: int | None


@dataclass(frozen=True)
class Row:
    """One thing that was measured.

    ``evaluation`` is one evaluation of the net on one tile, ``picture`` a whole picture; where that would
    take too long, ``modelled_picture_s`` stands instead: evaluations × the median of one. The work is that of
    one evaluation; ``place`` sets it against the peaks of the row's own precision.
    """

    name: str
    kind: str
    engine: str | None
    version: str | None
    device: str | None
    precision: str | None
    steps: int | None
    evaluations: int | None
    height: int
    width: int
    evaluation: Latency | None = None
    picture: Latency | None = None
    modelled_picture_s: float | None = None
    images_per_s: float | None = None
    megapixels_per_s: float | None = None
    work_flop: float | None = None
    work_bytes: float | None = None
    place: Place | None = None
    energy: Energy = field(default_factory=Energy)
    parity_db: float | None = None
    parity_least_db: float | None = None
    warm_up_s: list[float] = field(default_factory=list)
    cold: Cold | None = None

    @property
    def picture_s(self) -> float | None:
        """Seconds of a picture, measured or modelled."""
        return self.picture.median_s if self.picture is not None else self.modelled_picture_s

    @property
    def agrees(self) -> bool | None:
        """Whether its picture is that of the reference, as its precision allows; ``None``: not compared."""
        if self.parity_db is None or self.parity_least_db is None:
            return None
        return self.parity_db >= self.parity_least_db


@dataclass(frozen=True)
class Operation:
    """What one operation of a graph took in one evaluation; ``layer`` is the module's path in the net."""

    layer: str
    operation: str
    kernel: str
    seconds: float


@dataclass(frozen=True)
class Profile:
    """The operations of one engine, as its own profiler tells them; ``evaluations`` were averaged."""

    engine: str
    precision: str
    device: str
    height: int
    width: int
    evaluations: int
    operations: list[Operation]


@dataclass(frozen=True)
class Report:
    """A whole run. ``lacking`` says what was not measured, and why; ``failed`` which rows could not run."""

    relume: str
    machine: dict[str, Any]
    model: dict[str, Any] | None
    settings: dict[str, Any]
    peaks: dict[str, Rate]
    copy_bytes_per_s: float | None
    reference: str | None
    rows: list[Row]
    lacking: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    profiles: list[Profile] = field(default_factory=list)
    suite: Literal["bench"] = "bench"
    format: int = FORMAT


def dump(report: Report) -> dict[str, Any]:
    """The report as JSON has it."""
    return asdict(report)


def load(facts: object) -> Report:
    """The report that :func:`dump` made.

    Raises
    ------
    UsageError
        If it is none: another format, a name too many or too few, a value of another kind, a number that is
        none.
    """
    if not isinstance(facts, Mapping) or facts.get("suite") != "bench" or facts.get("format") != FORMAT:
        raise UsageError(f"this is no result of relume bench in format {FORMAT}: measure anew, with --json")
    made = _read(Report, facts, "report")
    assert isinstance(made, Report)
    return made


def _read(kind: Any, value: Any, where: str) -> Any:
    """A value of that type out of JSON."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        if value is None and type(None) in arguments:
            return None
        (kind,) = [each for each in arguments if each is not type(None)]
        return _read(kind, value, where)
    if hasattr(kind, "__dataclass_fields__"):
        return _made(kind, value, where)
    if origin is list and isinstance(value, list):
        return [_read(arguments[0], each, f"{where}[{i}]") for i, each in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        return {key: _read(arguments[1], each, f"{where}.{key}") for key, each in value.items()}
    if kind is Any or (origin is Literal and value in arguments):
        return value
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if math.isfinite(value):
            return float(value)
    elif isinstance(kind, type) and isinstance(value, kind) and not (kind is int and value is True):
        return value
    raise UsageError(f"{where} is {value!r:.60}, which is no {getattr(kind, '__name__', kind)}: measure anew")


def _made(kind: Any, value: Any, where: str) -> Any:
    names = {each.name for each in fields(kind)}
    if not isinstance(value, dict) or set(value) != names:
        odd = sorted(set(value) ^ names) if isinstance(value, dict) else [type(value).__name__]
        raise UsageError(f"{where} is no {kind.__name__} ({', '.join(odd)}): measure anew")
    hints = get_type_hints(kind)
    return kind(**{name: _read(hints[name], each, f"{where}.{name}") for name, each in value.items()})
