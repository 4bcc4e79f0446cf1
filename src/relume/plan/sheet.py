r"""The energy-efficiency sheet of the GPU hackathon: what one accelerated node saves in a year.

A job on ``cpu_cores`` cores became ``speedup`` times as fast on ``gpus`` GPUs. One full GPU node, then,
does the work of R CPU nodes,

    R = speedup · (gpus_per_gpu_node / gpus) · (cpu_cores / cores_per_cpu_node),

and saves their power and that of their network ports, every hour of the year:

    P_before = R (cpu_node_w + ports_per_cpu_node n)        n = switch_w / switch_ports
    P_after  = gpu_node_w + ports_per_gpu_node n
    saving   = (P_before − P_after) · hours_per_year / 1000   in kWh

Nothing is rounded before it is shown. A saving below zero is a loss, and is said to be one.
"""

__all__ = [
    "Fleets",
    "Line",
    "Rates",
    "Use",
    "break_even",
    "charts",
    "fleets",
    "loss",
    "rates",
    "sheet",
    "yearly",
]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from relume.errors import UsageError
from relume.plan.figures import Bar, Bars, Figure, Kind, Plan, Row, Table
from relume.plan.presets import Published, constants, published

LINEAR = "R nodes are taken to be R times as fast as one, which nobody measured."
ASSUMES = (
    "The sheet takes both fleets at full power every hour of the year: no idle time, no cooling (PUE 1), "
    "no energy of manufacture.",
    LINEAR,
    "It takes the marginal factor of the US grid for every country, whatever country the price is of.",
)


@dataclass(frozen=True)
class Use:
    """What a run occupies: so many CPU cores, or so many GPUs."""

    kind: Literal["cpu", "gpu"]
    count: int

    def share(self, known: Mapping[str, Figure]) -> float:
        """Of one node."""
        return self.count / known[self.per_node].value

    @property
    def per_node(self) -> str:
        """The constant that says how many a node has."""
        return "cores_per_cpu_node" if self.kind == "cpu" else "gpus_per_gpu_node"

    @property
    def unit(self) -> str:
        """What is counted."""
        return ("core" if self.kind == "cpu" else "GPU") + ("s" if self.count != 1 else "")

    @property
    def words(self) -> str:
        """For people."""
        return f"{self.count} {self.unit}"


@dataclass(frozen=True)
class Fleets:
    """Two fleets of equal throughput, (before, after); after is one node."""

    replaced: float
    compute_w: tuple[float, float]
    network_w: tuple[float, float]

    @property
    def total_w(self) -> tuple[float, float]:
        """Compute and network."""
        return self.compute_w[0] + self.network_w[0], self.compute_w[1] + self.network_w[1]

    @property
    def loses(self) -> bool:
        """Whether the new way takes more power than the old one."""
        return self.total_w[0] < self.total_w[1]


class Line(NamedTuple):
    """One figure of the sheet."""

    key: str
    name: str
    unit: str
    digits: int
    value: float
    formula: str


@dataclass(frozen=True)
class Rates:
    """What a kilowatt-hour stands for."""

    hours: float
    usd: float
    co2_t: float
    cars: float
    trees: float


def fleets(speedup: float, before: Use, after: Use, known: Mapping[str, Figure]) -> Fleets:
    """The fleets by the sheet's own constants."""
    replaced = speedup * before.share(known) / after.share(known)
    port_w = known["switch_w"].value / known["switch_ports"].value
    node_w = [known[f"{use.kind}_node_w"].value for use in (before, after)]
    ports = [known[f"ports_per_{use.kind}_node"].value for use in (before, after)]
    return Fleets(
        replaced, (replaced * node_w[0], node_w[1]), (replaced * ports[0] * port_w, ports[1] * port_w)
    )


def break_even(before: Use, after: Use, known: Mapping[str, Figure]) -> float:
    """The nodes that one has to replace for nothing to be lost.

    >>> round(break_even(Use("cpu", 128), Use("gpu", 1), constants()), 2)
    5.75
    """
    one = fleets(1.0, before, after, known)
    return one.total_w[1] / (one.total_w[0] / one.replaced)


def yearly(found: Fleets, per: Rates) -> list[Line]:
    """Every figure of the sheet, in its order."""
    parts = {"compute": found.compute_w, "network": found.network_w, "total": found.total_w}
    power = [line for part, watts in parts.items() for line in _three(part, "w", "W", watts)]
    scale = per.hours / 1000
    energy = [
        line
        for part, watts in parts.items()
        for line in _three(part, "kwh", "kWh", (watts[0] * scale, watts[1] * scale))
    ]
    saved = energy[-1].value
    ratio = found.total_w[0] / found.total_w[1]
    return [
        Line("nodes_replaced", "nodes that one node replaces", "", 1, found.replaced, "R"),
        *power,
        Line("efficiency", "power before / after", "x", 1, ratio, "total W before / after"),
        *energy,
        Line("saved_usd", "saved a year", "USD", 2, saved * per.usd, "kWh saved × price"),
        Line("saved_3y_usd", "saved in three years", "USD", 2, 3 * saved * per.usd, "3 × saved a year"),
        Line("saved_co2_t", "CO2 saved a year", "t", 0, saved * per.co2_t, "kWh saved × grid factor"),
        Line(
            "saved_cars",
            "as cars off the road for a year",
            "cars",
            0,
            saved * per.cars,
            "kWh saved × cars/kWh",
        ),
        Line(
            "saved_trees",
            "as seedlings grown ten years",
            "trees",
            0,
            saved * per.trees,
            "kWh saved × trees/kWh",
        ),
    ]


def _three(part: str, key: str, unit: str, pair: tuple[float, float]) -> list[Line]:
    what, formula = (
        ("energy a year", "W × hours / 1000") if key == "kwh" else ("power", "nodes × W, ports × W")
    )
    return [
        Line(f"{part}_before_{key}", f"{part} {what}, before", unit, 0, pair[0], formula),
        Line(f"{part}_after_{key}", f"{part} {what}, after", unit, 0, pair[1], formula),
        Line(f"{part}_saved_{key}", f"{part} {what}, saved", unit, 0, pair[0] - pair[1], "before − after"),
    ]


def rates(known: Mapping[str, Figure], usd_per_kwh: float) -> Rates:
    """The sheet's own rates at a price."""
    each = {key: known[key].value for key in ("co2_t_per_kwh", "cars_per_kwh", "trees_per_kwh")}
    return Rates(known["hours_per_year"].value, usd_per_kwh, *each.values())


def sheet(
    *,
    cpu_cores: int,
    gpus: int,
    speedup: float,
    usd_per_kwh: float,
    changed: Mapping[str, float] | None = None,
) -> Plan:
    """The sheet for one job.

    Args:
        cpu_cores: that the CPU run used.
        gpus: that the accelerated run used.
        speedup: the CPU run's time over the accelerated run's.
        usd_per_kwh: the price of electricity.
        changed: constants of the sheet to take instead of its own.

    Raises:
        UsageError: a number is not above zero, or there is no such constant.

    >>> plan = sheet(cpu_cores=128, gpus=1, speedup=85.0, usd_per_kwh=0.18)
    >>> plan.table("year").figure("saved_usd").shown
    '1,218,841.33'
    """
    given = {"cpu_cores": cpu_cores, "gpus": gpus, "speedup": speedup, "usd_per_kwh": usd_per_kwh}
    for key, value in given.items():
        if not 0 < value < float("inf"):
            raise UsageError(f"{key} must be a number above zero, not {value:g}")
    known = constants(changed)
    before, after = Use("cpu", cpu_cores), Use("gpu", gpus)
    as_published = None if changed else _published(given)
    cases = {"as given": speedup}
    if as_published is not None:
        other = as_published.other
        cases = {"as published": speedup, str(other["name"]): other["before_s"] / other["after_s"]}
    found = {name: fleets(value, before, after, known) for name, value in cases.items()}
    per = rates(known, usd_per_kwh)
    figures = {name: yearly(each, per) for name, each in found.items()}
    least = break_even(before, after, known)
    first = next(iter(found.values()))
    return Plan(
        "energy-efficiency sheet" + (f": {as_published.title}" if as_published else ""),
        (_inputs(given, cases), _constants(known), _year(figures)),
        losses=tuple(loss(name, each, least) for name, each in found.items() if each.loses),
        notes=(*(as_published.remarks if as_published else ()), *ASSUMES),
        charts=charts(first, per.hours, "CPU nodes", "GPU node"),
    )


def charts(found: Fleets, hours: float, before: str, after: str) -> tuple[Bars, Bars]:
    """The sheet's two charts: nodes for equal throughput, and annual energy."""
    one = Figure(1.0, "node", Kind.MODELLED, "one node, by definition", 0)
    nodes = Figure(found.replaced, "nodes", Kind.MODELLED, "R", 1)
    kwh = [
        Figure(watts * hours / 1000, "kWh", Kind.MODELLED, "W × hours / 1000", 0) for watts in found.total_w
    ]
    return (
        Bars("Nodes for equal throughput", (Bar(before, nodes), Bar(after, one))),
        Bars("Energy a year", (Bar(before, kwh[0]), Bar(after, kwh[1]))),
    )


def _published(given: Mapping[str, float]) -> Published | None:
    """The published sheet that has these inputs."""
    for each in published().values():
        if all(getattr(each, key) == value for key, value in given.items()):
            return each
    return None


def _inputs(given: Mapping[str, float], cases: Mapping[str, float]) -> Table:
    units = {
        "cpu_cores": ("", 0),
        "gpus": ("", 0),
        "speedup": ("x", 2),
        "usd_per_kwh": ("USD/kWh", 2),
    }
    names = {
        "cpu_cores": "cores of the CPU run",
        "gpus": "GPUs of the accelerated run",
        "speedup": "speed-up",
        "usd_per_kwh": "price of electricity",
    }
    rows = []
    for key, value in given.items():
        values = list(cases.values()) if key == "speedup" else [value] * len(cases)
        cells = (Figure(float(each), units[key][0], Kind.GIVEN, "", units[key][1]) for each in values)
        rows.append(Row(key, names[key], tuple(cells)))
    return Table("inputs", "What was given", tuple(cases), tuple(rows))


def _constants(known: Mapping[str, Figure]) -> Table:
    rows = tuple(Row(key, key, (figure,)) for key, figure in known.items())
    return Table("constants", "Constants (--set KEY=VALUE changes one)", ("value",), rows)


def _year(figures: Mapping[str, list[Line]]) -> Table:
    rows = []
    for lines in zip(*figures.values(), strict=True):
        cells = (Figure(line.value, line.unit, Kind.MODELLED, line.formula, line.digits) for line in lines)
        rows.append(Row(lines[0].key, lines[0].name, tuple(cells)))
    return Table("year", "One node, in a year", tuple(figures), tuple(rows))


def loss(name: str, found: Fleets, least: float) -> str:
    """The line that says so."""
    return (
        f"{name}: the new way takes more power than the old one. One node replaces {found.replaced:.2f}, "
        f"and would have to replace {least:.2f}."
    )
