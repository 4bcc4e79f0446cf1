r"""The inverse: so many photographs a day → machines, energy, money, CO2.

A machine works on ``slots`` photographs at once, each in t seconds; N arrive a day, spread over H hours:

    machines = ⌈N t / (3600 H · slots · utilisation)⌉        ρ = N t / (3600 H · slots · machines)
    kWh a year = machines · (idle + ρ (busy − idle)) · PUE · H · 365 / 1000     watts, in these H hours

The wait before a photograph's turn is that of M/D/c (:mod:`relume.plan.queueing`). Machines are as fast
together as one by one; that is not measured.
"""

__all__ = ["Load", "capacity"]

import math
from collections.abc import Mapping
from dataclasses import dataclass

from relume.errors import UsageError
from relume.plan.figures import Bar, Bars, Figure, Kind, Plan, Row, Table
from relume.plan.presets import Machine, constants
from relume.plan.queueing import mean_wait
from relume.plan.runs import Run, disagreements
from relume.plan.site import Site, given

_DAYS = 365
_COUNTS = (1, 2, 4, 8, 16, 32)
_MOST = 1_000_000


@dataclass(frozen=True)
class Load:
    """What one machine can, by one run."""

    run: Run
    slots: int
    busy_w: Figure
    idle_w: float


@dataclass(frozen=True)
class _Need:
    """What N photographs a day take."""

    machines: int
    utilisation: float
    wait_s: float
    kwh: float


def capacity(
    photos_per_day: float,
    runs: Mapping[str, Run],
    site: Site,
    *,
    machine: Machine | None = None,
    usd_per_machine_hour: float = 0.0,
) -> Plan:
    """What a load takes, by each of the runs.

    Args:
        photos_per_day: on average.
        runs: by name.
        site: price, grid, PUE, idle power, hours and the utilisation to stay under.
        machine: to run on; None: one as in the measurement, of which a run occupies the whole.
        usd_per_machine_hour: rent, for the opening hours.

    Raises:
        UsageError: no photographs, or a run that does not fit the machine.
    """
    if not 0 < photos_per_day <= 1e12:
        raise UsageError(
            f"--photos-per-day must be a number above zero and up to 1e12, not {photos_per_day:g}"
        )
    if not 0 <= usd_per_machine_hour <= 1e6:
        raise UsageError(f"--machine-price must be a number from 0 to 1e6, not {usd_per_machine_hour:g}")
    loads = [_load(run, machine, site) for run in runs.values()]
    needs = [_need(photos_per_day, load, site) for load in loads]
    asked = (
        Row("photos_per_day", "photographs a day", (given("", photos_per_day, "", 0),)),
        Row("usd_per_machine_hour", "rent of a machine", (given("", usd_per_machine_hour, "USD/h", 3),)),
    )
    pairs = list(zip(loads, needs, strict=True))
    rows = [_row(load, need, photos_per_day, site, usd_per_machine_hour) for load, need in pairs]
    return Plan(
        f"{photos_per_day:,.0f} photographs a day" + (f" on {machine.title}" if machine else ""),
        (
            Table("asked", "What was asked", ("value",), asked),
            site.table("duty"),
            Table("needs", "What it takes", _COLUMNS, tuple(rows)),
            *(_held(load, site) for load in loads[:1] if len(loads) == 1),
        ),
        losses=_losses(pairs),
        notes=_notes(machine, loads),
        charts=_charts(pairs),
    )


_COLUMNS = (
    "per image",
    "machines",
    "busy",
    "wait",
    "power, busy",
    "energy a year",
    "cost a year",
    "CO2 a year",
)


def _load(run: Run, machine: Machine | None, site: Site) -> Load:
    share = site.idle_share.value
    if machine is None:
        busy = _as_measured(run)
        return Load(run, 1, busy, busy.value * share if run.power is None else run.power.idle(share))
    if run.use is None:
        raise UsageError(
            f"{run.source}: the file does not say on how many cores or GPUs, so it fits no --machine"
        )
    there = machine.cores if run.use.kind == "cpu" else machine.gpus
    slots = there // run.use.count
    if not slots:
        unit = "cores" if run.use.kind == "cpu" else "GPUs"
        raise UsageError(
            f"{run.name} occupied {run.use.words}; {machine.name} has {there} {unit}: choose another"
        )
    source = f"{machine.name}: {machine.boundary}; {machine.source}"
    idle = machine.busy_w * share if machine.idle_w is None else machine.idle_w
    return Load(run, slots, Figure(machine.busy_w, "W", Kind.PRESET, source, 0), idle)


def _as_measured(run: Run) -> Figure:
    """The power of what the run occupied."""
    if run.power is not None:
        return Figure(run.power.busy_w, "W", Kind.MEASURED, f"{run.source}: {run.power.boundary}", 1)
    if run.use is None:
        raise UsageError(
            f"{run.source}: neither watts nor cores are known; give --machine, or add them to the file"
        )
    known = constants()
    node = known[f"{run.use.kind}_node_w"]
    source = (
        f"not measured: {run.use.words} of a node's {known[run.use.per_node].shown}, {node.shown} W in all"
    )
    return Figure(node.value * run.use.share(known), "W", Kind.PRESET, source, 1)


def _need(photos: float, load: Load, site: Site) -> _Need:
    hours = site.hours_per_day_h.value
    slots = photos * load.run.seconds / (3600 * hours)  # busy at once, on average
    machines = max(1, math.ceil(slots / (load.slots * site.utilisation.value) - 1e-9))
    if machines * load.slots > _MOST:
        raise UsageError(
            f"{load.run.name}: {machines:,} machines; are the photographs and the seconds right?"
        )
    busy = slots / (machines * load.slots)
    watts = load.idle_w + busy * (load.busy_w.value - load.idle_w)
    kwh = machines * watts * site.pue.value * hours * _DAYS / 1000
    return _Need(machines, busy, mean_wait(machines * load.slots, busy, load.run.seconds), kwh)


def _row(load: Load, need: _Need, photos: float, site: Site, rent: float) -> Row:
    def made(value: float, unit: str, digits: int, formula: str) -> Figure:
        return Figure(value, unit, Kind.MODELLED, formula, digits)

    power = need.kwh * site.usd_per_kwh.value
    rented = need.machines * site.hours_per_day_h.value * _DAYS * rent
    cells = (
        load.run.figure,
        made(need.machines, "", 0, f"⌈N t / (3600 H · {load.slots} at once · utilisation)⌉"),
        made(100 * need.utilisation, "%", 1, "ρ = N t / (3600 H · slots · machines)"),
        made(need.wait_s, "s", 3, "mean wait of M/D/c at ρ"),
        load.busy_w,
        made(need.kwh, "kWh", 1, "machines · (idle + ρ (busy − idle)) · PUE · H · 365"),
        made(power + rented, "USD", 2, "kWh × price + rent"),
        made(need.kwh * site.co2_g_per_kwh.value / 1000, "kg", 1, "kWh × grid factor"),
    )
    return Row(load.run.name, load.run.name, cells)


def _held(load: Load, site: Site) -> Table:
    """What n machines hold: one is measured, the others are that, multiplied."""
    rate = 3600 * site.hours_per_day_h.value * load.slots / load.run.seconds
    rows = []
    for count in _COUNTS:
        kind = load.run.kind if count == 1 and load.slots == 1 else Kind.MODELLED
        room = site.utilisation.value
        wait = mean_wait(count * load.slots, room, load.run.seconds)
        cells = (
            Figure(count * rate, "a day", kind, "n × 3600 H × slots / seconds per image", 0),
            Figure(count * rate * room, "a day", Kind.MODELLED, "that × utilisation", 0),
            Figure(wait, "s", Kind.MODELLED, "mean wait of M/D/c at this utilisation", 3),
        )
        rows.append(Row(f"{count}_machines", f"{count} machine" + "s" * (count > 1), cells))
    return Table("held", "What machines hold", ("at most", "with room for peaks", "wait"), tuple(rows))


def _losses(pairs: list[tuple[Load, _Need]]) -> tuple[str, ...]:
    """Runs that are quicker than another, and take more energy all the same."""
    said = []
    for load, need in pairs:
        better = [
            other.run.name
            for other, less in pairs
            if other.run.seconds > load.run.seconds and less.kwh < need.kwh and other.run.comparable(load.run)
        ]
        if better:
            said.append(f"{load.run.name} takes more energy than {', '.join(better)}, which is slower")
    return (*said, *disagreements(load.run for load, _ in pairs))


def _notes(machine: Machine | None, loads: list[Load]) -> tuple[str, ...]:
    said = [
        "Arrivals are taken to be random over the opening hours; outside them the machines are off.",
        "Many machines are taken to be as fast as one, and so are many photographs at once on one machine.",
    ]
    if machine is None:
        said.append(
            "A machine is what the run occupied when it was measured; --machine takes one of the table."
        )
    if any(load.busy_w.kind is Kind.PRESET for load in loads):
        said.append("Where no watts were measured, power is preset; its boundary is said with it.")
    if any(not load.run.comparable(loads[0].run) for load in loads):
        said.append("The runs are of images of different sizes: compare those of one (--row).")
    return tuple(said)


def _charts(pairs: list[tuple[Load, _Need]]) -> tuple[Bars, Bars]:
    machines = (
        Bar(load.run.name, Figure(need.machines, "", Kind.MODELLED, "see machines", 0))
        for load, need in pairs
    )
    energy = (
        Bar(load.run.name, Figure(need.kwh, "kWh", Kind.MODELLED, "see energy", 1)) for load, need in pairs
    )
    return Bars("Machines", tuple(machines)), Bars("Energy a year", tuple(energy))
