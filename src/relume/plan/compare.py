r"""The sheet beside the same from measured runs.

The speed-up is that of two measured rows. One column is the sheet with its own constants; the other takes
measured watts where there are some, a duty cycle d with idle power, a PUE and the grid of a country:

    P = d · P_busy + (1 − d) · P_idle          of a node, averaged over the year
    E = R · P · PUE · hours                    R, ports and hours as in the sheet

Both fleets do the same work, so both have the same duty. Watts that were measured on a part of a node are
scaled to the whole by cores or GPUs. P_idle is measured, or the busy power times ``idle_share``.
"""

__all__ = ["compare"]

from collections.abc import Mapping
from dataclasses import dataclass, replace

from relume.errors import UsageError
from relume.plan.figures import Figure, Kind, Plan, Row, Table
from relume.plan.presets import constants
from relume.plan.runs import Run, disagreements
from relume.plan.sheet import (
    ASSUMES,
    LINEAR,
    Fleets,
    Line,
    Rates,
    Use,
    break_even,
    charts,
    fleets,
    loss,
    rates,
    yearly,
)
from relume.plan.site import Site

_COLUMNS = ("sheet", "from measured", "ratio")


@dataclass(frozen=True)
class _Node:
    """Watts of a node."""

    busy: Figure
    idle: Figure


def compare(
    runs: Mapping[str, Run],
    before: Run,
    after: Run,
    site: Site,
    *,
    changed: Mapping[str, float] | None = None,
) -> Plan:
    """What one node of ``after`` saves against nodes of ``before``, twice.

    Args:
        runs: all rows of the file, to be shown beside.
        before: the run to be replaced.
        after: the run that replaces it.
        site: price, grid, PUE, duty and idle power.
        changed: constants of the sheet to take instead of its own.

    Raises:
        UsageError: the rows are one, or the file does not say what a run occupied.
    """
    if before == after:
        raise UsageError(f"--baseline and --row are both {before.name!r}: give two rows")
    if not before.comparable(after):
        raise UsageError(
            f"{before.name!r} and {after.name!r} are of images of different sizes: give two of one"
        )
    known = constants(changed)
    old, new = _use(before), _use(after)
    speedup = before.seconds / after.seconds
    plain = fleets(speedup, old, new, known)
    nodes = {run.name: _node(run, use, known, site) for run, use in ((before, old), (after, new))}
    found = _measured(plain, nodes[before.name], nodes[after.name], site)
    per = rates(known, site.usd_per_kwh.value)
    real = Rates(per.hours, per.usd, *(each * _grid(site, per) for each in (per.co2_t, per.cars, per.trees)))
    least = (break_even(old, new, known), found.total_w[1] / (found.total_w[0] / found.replaced))
    cases = zip(_COLUMNS, (plain, found), least, strict=False)
    return Plan(
        f"{before.name} → {after.name}",
        (
            _runs_table(runs, before),
            _inputs(nodes, old, new, before, after),
            site.table("utilisation", "hours_per_day_h"),
            _year(yearly(plain, per), yearly(found, real)),
        ),
        losses=(
            *(loss(name, each, nodes_least) for name, each, nodes_least in cases if each.loses),
            *(
                f"{run.name} is slower than {before.name}: {before.seconds / run.seconds:.3f} times as fast"
                for run in runs.values()
                if run.seconds > before.seconds and run.comparable(before)
            ),
            *disagreements(runs.values()),
        ),
        notes=_notes((before, after)),
        charts=charts(found, per.hours, before.name, after.name),
    )


def _grid(site: Site, per: Rates) -> float:
    """The site's grid over the sheet's; cars and trees follow the CO2."""
    return site.co2_g_per_kwh.value / 1e6 / per.co2_t


def _use(run: Run) -> Use:
    if run.use is None:
        raise UsageError(
            f"{run.source}: the file does not say on how many cores or GPUs; add threads, cores or gpus"
        )
    return run.use


def _node(run: Run, use: Use, known: Mapping[str, Figure], site: Site) -> _Node:
    """What a node of that kind takes, busy and idle."""
    share = site.idle_share.value
    if run.power is None:
        preset = known[f"{use.kind}_node_w"]
        busy = replace(preset, source=f"not measured: {use.kind}_node_w, {preset.source}")
        return _Node(
            busy, replace(busy, value=preset.value * share, source="busy × idle_share", kind=Kind.MODELLED)
        )
    scale = f"({run.power.boundary}) of {use.words}, × {known[use.per_node].shown} / {use.count}"
    busy = Figure(
        run.power.busy_w / use.share(known),
        "W",
        Kind.MODELLED,
        f"{run.power.busy_w:.4g} W measured {scale}",
        0,
    )
    idle = run.power.idle(share)
    how = "assumed, busy × idle_share" if run.power.idle_w is None else "measured"
    return _Node(busy, Figure(idle / use.share(known), "W", Kind.MODELLED, f"{idle:.4g} W {how} {scale}", 0))


def _measured(plain: Fleets, before: _Node, after: _Node, site: Site) -> Fleets:
    """The sheet's fleets with other nodes, part-time, and cooled."""
    duty, pue = site.duty.value, site.pue.value
    mean = [(duty * node.busy.value + (1 - duty) * node.idle.value) * pue for node in (before, after)]
    network = plain.network_w[0] * pue, plain.network_w[1] * pue
    return Fleets(plain.replaced, (plain.replaced * mean[0], mean[1]), network)


def _runs_table(runs: Mapping[str, Run], before: Run) -> Table:
    rows = []
    for run in runs.values():
        kind = Kind.MODELLED if Kind.MODELLED in (run.kind, before.kind) else Kind.MEASURED
        ratio = Figure(before.seconds / run.seconds, "x", kind, f"seconds of {before.name} / its seconds", 3)
        faster = ratio if run.comparable(before) else None
        joules = None
        if run.power is not None:
            source = f"{run.power.busy_w:.4g} W ({run.power.boundary}) × seconds"
            joules = Figure(run.power.busy_w * run.seconds, "J", run.kind, source, 2)
        rows.append(Row(run.name, run.name, (run.figure, faster, joules)))
    return Table("runs", "The runs of the file", ("per image", "speed-up", "energy"), tuple(rows))


def _inputs(nodes: Mapping[str, _Node], old: Use, new: Use, before: Run, after: Run) -> Table:
    used = (
        Figure(float(use.count), use.unit, Kind.MEASURED, run.source, 0)
        for use, run in ((old, before), (new, after))
    )
    rows = (
        Row("used", "what the run occupied", tuple(used)),
        Row("busy_node_w", "a node of these, busy", (nodes[before.name].busy, nodes[after.name].busy)),
        Row("idle_node_w", "a node of these, idle", (nodes[before.name].idle, nodes[after.name].idle)),
    )
    return Table("nodes", "The nodes", ("before", "after"), rows)


def _year(plain: list[Line], real: list[Line]) -> Table:
    rows = []
    for one, two in zip(plain, real, strict=True):
        cells = [
            Figure(line.value, line.unit, Kind.MODELLED, line.formula, line.digits) for line in (one, two)
        ]
        ratio = (
            Figure(two.value / one.value, "x", Kind.MODELLED, "from measured / sheet", 3)
            if one.value
            else None
        )
        rows.append(Row(one.key, one.name, (*cells, ratio)))
    return Table("year", "One node, in a year", _COLUMNS, tuple(rows))


def _notes(runs: tuple[Run, Run]) -> tuple[str, ...]:
    said = []
    for run in runs:
        if run.kind is Kind.MODELLED:
            said.append(
                f"{run.name}: no whole picture was timed; its seconds are evaluations × one evaluation."
            )
        if run.power is None:
            said.append(f"{run.name}: no watts were measured; a node's full power is preset.")
        else:
            said.append(
                f"{run.name}: its watts hold {run.power.boundary} and nothing else. Scaled to a node by "
                "cores or GPUs, they count shared parts more than once."
            )
    held = [run.power.boundary if run.power is not None else "a whole node" for run in runs]
    if held[0] != held[1]:
        said.append(
            f"The watts are not of the same parts ({held[0]}; {held[1]}): what they save is not what whole "
            "machines would. Measure both at the plug, or leave the watts out."
        )
    if runs[0].machine != runs[1].machine:
        said.append(f"The two runs are of different machines: {runs[0].machine}; {runs[1].machine}.")
    said.append(f"Both columns: {LINEAR}")
    return (*said, *(f"Column 'sheet': {line}" for line in ASSUMES if line != LINEAR))
