r"""``relume plan``: what a speed-up saves in a year, and what a load takes."""

__all__ = ["add", "run"]

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relume.cli.console import Console
from relume.cli.options import Parser, Subparsers, add_talk, count, number
from relume.cli.plan_text import text
from relume.cli.streams import as_json, write_text
from relume.cli.target import free
from relume.errors import UsageError

if TYPE_CHECKING:
    from relume.plan import Plan
    from relume.plan.runs import Run
    from relume.plan.site import Site

_MOST = 1e12
_SHEET = ("cpu_cores", "gpus", "speedup", "price")
_SITE = ("country", "co2_g_per_kwh", "pue", "duty", "idle_share")
_MEASURED = ("baseline", "row", *_SITE)


def add(subparsers: "Subparsers") -> None:
    """Declares the command."""
    parser = subparsers.add_parser(
        "plan",
        help="what a speed-up saves in a year, and what a load takes",
        description="Energy, money and CO2, from presets or from measured runs. Every figure is measured, "
        "modelled, preset or given, and says where it comes from. relume plan sheet --help and relume plan "
        "capacity --help tell the options.",
    )
    parser.set_defaults(run=run)
    plans = parser.add_subparsers(dest="plan", required=True, metavar="PLAN")
    _add_sheet(plans)
    _add_capacity(plans)


def run(args: argparse.Namespace) -> int:
    """Computes and shows."""
    free(args.chart, overwrite=args.overwrite)
    made: Plan = args.make(args)
    if args.chart is not None:
        from relume.plan import draw

        write_text(draw(made.charts), args.chart, overwrite=args.overwrite)
    print(as_json(made.facts()) if args.json else text(made), end="")
    if args.chart is not None:
        Console.of(args).note(f"{args.chart}")
    return 0


def _add_sheet(plans: "argparse._SubParsersAction[Parser]") -> None:
    parser = plans.add_parser(
        "sheet",
        help="what one accelerated node saves in a year",
        description="The energy-efficiency sheet of the GPU hackathon, and beside it the same from measured "
        "runs, with a duty cycle, a PUE and a country's grid.",
    )
    parser.set_defaults(make=_sheet)
    job = parser.add_argument_group("the job (without --measured)")
    job.add_argument("--published", metavar="NAME", help="restoration, without-fft or with-fft")
    job.add_argument("--cpu-cores", type=count, metavar="N", help="cores of the CPU run")
    job.add_argument("--gpus", type=count, metavar="N", help="GPUs of the accelerated run")
    job.add_argument("--speedup", type=number(1e-9, _MOST), metavar="X", help="CPU time / accelerated time")
    parser.add_argument("--price", type=number(1e-9, 100), metavar="USD", help="of a kilowatt-hour")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another value for a constant of the sheet, which lists them all (repeat for more)",
    )
    measured = parser.add_argument_group("measured runs")
    measured.add_argument("--measured", type=Path, metavar="FILE", help="JSON of a benchmark")
    measured.add_argument(
        "--baseline", metavar="ROW", help="the run to be replaced; a part of its name will do"
    )
    measured.add_argument("--row", metavar="ROW", help="the run that replaces it")
    measured.add_argument("--duty", type=float, metavar="0…1", help="busy share of the year (default: 1)")
    _add_site(measured)
    _add_results(parser)


def _add_capacity(plans: "argparse._SubParsersAction[Parser]") -> None:
    parser = plans.add_parser(
        "capacity",
        help="photographs a day → machines, energy, money, CO2",
        description="What a load takes, by each measured run, or by seconds a photograph that you give.",
    )
    parser.set_defaults(make=_capacity)
    load = parser.add_argument_group("load")
    load.add_argument("--photos-per-day", type=number(1e-9, _MOST), required=True, metavar="N")
    load.add_argument(
        "--hours-per-day", type=float, metavar="H", help="in which they come; off otherwise (default: 24)"
    )
    load.add_argument(
        "--utilisation", type=float, metavar="0…1", help="busy share to stay under (default: 0.7)"
    )
    speed = parser.add_argument_group("speed")
    speed.add_argument("--measured", type=Path, metavar="FILE", help="JSON of a benchmark")
    speed.add_argument(
        "--row", metavar="ROW", help="one run of it; a part of its name will do (default: all)"
    )
    speed.add_argument("--seconds-per-photo", type=number(1e-9, _MOST), metavar="S", help="instead of a file")
    speed.add_argument("--cpu-cores", type=count, metavar="N", help="that these seconds take (default: 1)")
    speed.add_argument("--gpus", type=count, metavar="N", help="that they take instead")
    place = parser.add_argument_group("machines and site")
    place.add_argument("--machine", metavar="NAME", help="of the table (default: as in the measurement)")
    place.add_argument("--machines", type=Path, metavar="FILE", help="TOML with machines of your own")
    place.add_argument(
        "--machine-price", type=number(0, 1e6), default=0.0, metavar="USD", help="rent an hour"
    )
    place.add_argument("--price", type=number(0, 100), metavar="USD", help="of a kilowatt-hour")
    _add_site(place)
    _add_results(parser)


def _add_site(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--country", metavar="CODE", help="whose grid: TWN, USA, … (default: world average)")
    group.add_argument("--co2-g-per-kwh", type=float, metavar="G", help="the grid's factor itself")
    group.add_argument("--pue", type=float, metavar="X", help="power of the site / of the machines")
    group.add_argument("--idle-share", type=float, metavar="0…1", help="idle power / full power")


def _add_results(parser: Parser) -> None:
    group = parser.add_argument_group("results")
    group.add_argument("--json", action="store_true", help="all figures with their sources, as JSON")
    group.add_argument("--chart", type=Path, metavar="FILE.svg", help="draw the two charts")
    group.add_argument("--overwrite", action="store_true", help="replace a chart that is there")
    add_talk(parser)


def _sheet(args: argparse.Namespace) -> "Plan":
    from relume.plan import sheet

    changed = _changed(args.set)
    if args.measured is not None:
        _refuse(args, ("published", "cpu_cores", "gpus", "speedup"), "with --measured: the file says that")
        return _compare(args, changed)
    _refuse(args, _MEASURED, "without --measured: the sheet knows nothing of it")
    asked: dict[str, Any] = {key: getattr(args, key) for key in _SHEET}
    asked["usd_per_kwh"] = asked.pop("price")
    if args.published is not None:
        _refuse(args, _SHEET, "with --published: that sheet has its own")
        asked = _published(args.published)
    lacking = [key for key, value in asked.items() if value is None]
    if lacking:
        names = ", ".join("--price" if key == "usd_per_kwh" else _option(key) for key in lacking)
        raise UsageError(f"the sheet needs {names} (or --published NAME, or --measured FILE)")
    return sheet(**asked, changed=changed)


def _published(name: str) -> dict[str, Any]:
    from relume.plan.presets import published

    found = published()
    if name not in found:
        raise UsageError(f"--published {name!r} is none of {', '.join(found)}")
    return {key: getattr(found[name], key) for key in ("cpu_cores", "gpus", "speedup", "usd_per_kwh")}


def _compare(args: argparse.Namespace, changed: dict[str, float]) -> "Plan":
    from relume.plan import compare
    from relume.plan.runs import pick, read

    runs = read(args.measured)
    before, after = pick(runs, args.baseline, "--baseline"), pick(runs, args.row, "--row")
    return compare(runs, before, after, _site(args, duty=args.duty), changed=changed)


def _capacity(args: argparse.Namespace) -> "Plan":
    from relume.plan import capacity
    from relume.plan.presets import machine, machines

    known = machines(args.machines)
    chosen = machine(args.machine, known) if args.machine is not None else None
    return capacity(
        args.photos_per_day,
        _runs(args),
        _site(args, utilisation=args.utilisation, hours_per_day_h=args.hours_per_day),
        machine=chosen,
        usd_per_machine_hour=args.machine_price,
    )


def _runs(args: argparse.Namespace) -> "dict[str, Run]":
    from relume.plan.runs import pick, read, stated

    if (args.measured is None) == (args.seconds_per_photo is None):
        raise UsageError("give --measured FILE or --seconds-per-photo S, one of them")
    if args.measured is not None:
        _refuse(args, ("cpu_cores", "gpus"), "with --measured: the file says that")
        runs = read(args.measured)
        if args.row is None:
            return runs
        found = pick(runs, args.row, "--row")
        return {found.name: found}
    _refuse(args, ("row",), "without --measured")
    if args.cpu_cores is not None and args.gpus is not None:
        raise UsageError("give --cpu-cores or --gpus, one of them")
    found = stated(args.seconds_per_photo, args.cpu_cores, args.gpus)
    return {found.name: found}


def _site(args: argparse.Namespace, **more: float | None) -> "Site":
    from relume.plan.site import site

    return site(
        args.country,
        usd_per_kwh=args.price,
        co2_g_per_kwh=args.co2_g_per_kwh,
        pue=args.pue,
        idle_share=args.idle_share,
        **more,
    )


def _changed(pairs: list[str]) -> dict[str, float]:
    changed = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        try:
            changed[key.strip()] = float(value)
        except ValueError:
            raise UsageError(f"--set {pair!r} is no KEY=VALUE with a number") from None
    return changed


def _refuse(args: argparse.Namespace, names: tuple[str, ...], why: str) -> None:
    """Options that would be ignored are errors."""
    said = [_option(name) for name in names if getattr(args, name) is not None]
    if said:
        raise UsageError(f"{', '.join(said)} cannot be given {why}")


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
