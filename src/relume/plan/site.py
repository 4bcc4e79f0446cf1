r"""Where machines stand: what electricity costs and emits there, what cooling adds, what idle power is."""

__all__ = ["Site", "given", "site"]

from dataclasses import dataclass, fields

from relume.errors import UsageError
from relume.plan.figures import Figure, Kind, Row, Table
from relume.plan.presets import defaults, grid

# (least, most, digits shown)
_BOUNDS = {
    "usd_per_kwh": (0.0, 100.0, 3),
    "co2_g_per_kwh": (0.0, 5000.0, 1),
    "pue": (1.0, 10.0, 2),
    "duty": (1e-6, 1.0, 2),
    "idle_share": (0.0, 1.0, 2),
    "utilisation": (1e-6, 0.999, 2),
    "hours_per_day_h": (1e-3, 24.0, 1),
}
_NAMES = {
    "usd_per_kwh": "price of electricity",
    "co2_g_per_kwh": "CO2 of the grid",
    "pue": "PUE: power of the site / power of the machines",
    "duty": "duty: busy share of the year",
    "idle_share": "idle power / full power",
    "utilisation": "busy share of the opening hours, at most",
    "hours_per_day_h": "opening hours a day",
}


@dataclass(frozen=True)
class Site:
    """Each is preset, or given."""

    usd_per_kwh: Figure
    co2_g_per_kwh: Figure
    pue: Figure
    duty: Figure
    idle_share: Figure
    utilisation: Figure
    hours_per_day_h: Figure

    def table(self, *left_out: str) -> Table:
        """All of them but some, for a report."""
        rows = (
            Row(field.name, _NAMES[field.name], (getattr(self, field.name),))
            for field in fields(self)
            if field.name not in left_out
        )
        return Table("site", "Where it runs", ("value",), tuple(rows))


def given(key: str, value: float, unit: str = "", digits: int = 0) -> Figure:
    """A figure by whoever asked."""
    return Figure(float(value), unit, Kind.GIVEN, "", digits)


def site(country: str | None = None, **values: float | None) -> Site:
    """The presets, with what was given instead.

    Args:
        country: whose grid; a factor that is given goes before it.
        values: by the names of :class:`Site`; None leaves the preset.

    Raises:
        UsageError: there is no such country, or a value is out of its bounds.

    >>> site("DEU", pue=1.2).co2_g_per_kwh.shown
    '381.0'
    """
    known = defaults()
    if country is not None:
        known["co2_g_per_kwh"] = grid(country)
    for key, value in values.items():
        if value is None:
            continue
        low, high, digits = _BOUNDS[key]
        if not low <= value <= high:
            raise UsageError(f"{key} must be a number from {low:g} to {high:g}, not {value:g}")
        known[key] = given(key, value, known[key].unit, digits)
    return Site(**known)
