r"""What is known beforehand: the sheet's constants, machines, grids. Data files with sources."""

__all__ = ["Machine", "Published", "constants", "defaults", "grid", "machine", "machines", "published"]

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from relume.errors import UsageError
from relume.files import one_line
from relume.plan.figures import Figure, Kind

_DATA = files("relume.plan") / "data"


@dataclass(frozen=True)
class Published:
    """A published sheet: its inputs, what its report says elsewhere, and what is to be known about it."""

    title: str
    cpu_cores: int
    gpus: int
    speedup: float
    usd_per_kwh: float
    remarks: tuple[str, ...]
    other: Mapping[str, Any]


@dataclass(frozen=True)
class Machine:
    """A machine at full load and idle; ``idle_w`` is None where nobody says."""

    name: str
    title: str
    cores: int
    gpus: int
    busy_w: float
    boundary: str
    source: str
    idle_w: float | None = None


@cache
def _table(name: str) -> Mapping[str, Any]:
    return tomllib.loads((_DATA / name).read_text(encoding="utf-8"))


def constants(changed: Mapping[str, float] | None = None) -> dict[str, Figure]:
    """The constants of the sheet, some of them changed.

    Raises:
        UsageError: there is no such constant, or the value is not above zero.
    """
    known = {key: _preset(entry) for key, entry in _table("sheet.toml")["constants"].items()}
    for key, value in (changed or {}).items():
        if key not in known:
            raise UsageError(f"{key!r} is no constant of the sheet; these are: {', '.join(known)}")
        if not 0 < value < float("inf"):
            raise UsageError(f"{key} must be a number above zero, not {value:g}")
        known[key] = Figure(value, known[key].unit, Kind.GIVEN, "--set", known[key].digits)
    return known


def published() -> dict[str, Published]:
    """The three published sheets, by name."""
    found = _table("sheet.toml")["published"]
    return {name: Published(**{**entry, "remarks": tuple(entry["remarks"])}) for name, entry in found.items()}


def defaults() -> dict[str, Figure]:
    """What is taken where nothing is said."""
    return {key: _preset(entry) for key, entry in _table("defaults.toml").items()}


def grid(country: str) -> Figure:
    """Grams of CO2 a kilowatt-hour of a country's grid, by ISO 3166 code of three letters or by name.

    Raises:
        UsageError: the table does not have it.
    """
    asked = country.strip().casefold()
    for code, entry in _table("grid.toml").items():
        if asked in (code.casefold(), entry["country"].casefold()):
            when = f"average of {entry['country']}'s grid in {entry['year']}"
            source = f"{when}, Our World in Data, as in CodeCarbon 3.3.2"
            return Figure(entry["co2_g_per_kwh"], "g/kWh", Kind.PRESET, source, 1)
    raise UsageError(
        f"no grid factor for {country!r}: give an ISO code of three letters (TWN, USA, DEU), "
        "or the factor itself as --co2-g-per-kwh"
    )


def machines(file: Path | None = None) -> dict[str, Machine]:
    """The machines of the table, and those of one's own, which go first.

    Raises:
        UsageError: the file cannot be read, is no TOML, or an entry lacks something.
    """
    found = {name: _machine(name, entry, "machines.toml") for name, entry in _table("machines.toml").items()}
    if file is None:
        return found
    try:
        entries = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror or error}") from error
    except ValueError as error:  # no TOML, or no UTF-8
        raise UsageError(f"{file} is no table of machines in TOML: {one_line(error)}") from error
    return {**found, **{name: _machine(name, entry, str(file)) for name, entry in entries.items()}}


def machine(name: str, known: Mapping[str, Machine]) -> Machine:
    """A machine by name.

    Raises:
        UsageError: it is not in the table.
    """
    if name not in known:
        raise UsageError(f"no machine {name!r}: there are {', '.join(known)}; add yours by --machines FILE")
    return known[name]


def _machine(name: str, entry: Any, where: str) -> Machine:
    keys = [field.name for field in fields(Machine) if field.name != "name"]
    if not isinstance(entry, dict):
        raise UsageError(f"{where}: {name} is no table; write [{name}], then {', '.join(keys)}")
    lacking = [key for key in keys if key not in entry and key != "idle_w"]
    unknown = [key for key in entry if key not in keys]
    if lacking or unknown:
        wrong = f"lacks {', '.join(lacking)}" if lacking else f"has unknown keys: {', '.join(unknown)}"
        raise UsageError(f"{where}: machine {name} {wrong}")
    for key in ("cores", "gpus"):
        if not isinstance(entry[key], int) or isinstance(entry[key], bool) or entry[key] < 0:
            raise UsageError(f"{where}: {key} of {name} must be a whole number from 0 on")
    for key in ("busy_w", "idle_w"):
        value = entry.get(key, 0.0 if key == "idle_w" else None)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < float("inf"):
            raise UsageError(f"{where}: {key} of {name} must be a number of watts")
    if not entry["busy_w"] or not entry["cores"] + entry["gpus"]:
        raise UsageError(f"{where}: {name} needs watts at full load, and cores or GPUs")
    return Machine(name=name, **entry)


def _preset(entry: Mapping[str, Any]) -> Figure:
    digits = max(0, -_exponent(entry["value"]))
    return Figure(float(entry["value"]), entry["unit"], Kind.PRESET, entry["source"], digits)


def _exponent(value: float) -> int:
    """Digits behind the point, as they were written: 0.18 → −2."""
    from decimal import Decimal

    exponent = Decimal(repr(value)).normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return exponent
