r"""``relume bench``: how fast is a model here, by how much of the machine, and beside what?"""

__all__ = ["add", "run"]

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relume.cli.bench_table import profile_table, table
from relume.cli.console import Console, say
from relume.cli.options import Parser, Subparsers, add_talk, count, number
from relume.cli.streams import as_json, write_text
from relume.cli.target import free
from relume.errors import ImageError, MissingExtra, UsageError

if TYPE_CHECKING:
    from relume.bench.report import Profile, Report
    from relume.tasks.speed import Wanted

_PEERS = ("founding", "diffusers", "classical")


def add(subparsers: "Subparsers") -> None:
    """Declares the command."""
    parser = subparsers.add_parser(
        "bench",
        help="measure the speed of a model on this machine",
        description="Times a model on each engine, at each precision, with each number of steps and on each "
        "size of picture: warm-up, then interleaved rounds. Every row's picture is compared with that of "
        "PyTorch at f32 in the same run. Memory and the cold start are those of a process of its own. Energy "
        "that cannot be measured here stays empty.",
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "model", nargs="?", default="photo", metavar="NAME|DIR", help="a model or its folder (default: photo)"
    )
    _add_what(parser)
    how = parser.add_argument_group("how")
    how.add_argument("--rounds", type=count, default=20, metavar="N", help="default: 20")
    how.add_argument(
        "--budget",
        type=number(0, 1e6),
        default=120.0,
        metavar="S",
        help="seconds for all rounds (default: 120)",
    )
    how.add_argument(
        "--energy-window",
        type=number(1, 600),
        default=5.0,
        metavar="S",
        help="a row, where there are counters",
    )
    how.add_argument("--no-cold", action="store_true", help="no process of its own: no memory, no cold start")
    how.add_argument("--threads", type=count, metavar="N", help="CPU threads of every engine (default: all)")
    how.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:1, gpu, …")
    how.add_argument(
        "--force", action="store_true", help="also precisions that did not pass the parity check"
    )
    results = parser.add_argument_group("results")
    results.add_argument("--json", type=Path, metavar="FILE", help="all figures, with the machine described")
    results.add_argument("--plot", type=Path, metavar="FILE", help="a drawing: .svg, .png or .pdf")
    results.add_argument(
        "--profile",
        action="store_true",
        help="also which layers and operations take the time, on each engine",
    )
    results.add_argument("--overwrite", action="store_true", help="replace what is there")
    add_talk(parser)


def _add_what(parser: Parser) -> None:
    what = parser.add_argument_group("what")
    what.add_argument(
        "--engines",
        type=_names,
        default=["all"],
        metavar="NAME,…",
        help="auto, openvino, onnx, … (default: all)",
    )
    what.add_argument(
        "--precisions",
        type=_names,
        default=["all"],
        metavar="NAME,…",
        help="auto, f32, bf16, f16, int8 (default: all that the model passed at)",
    )
    what.add_argument("--steps", type=_counts, default=[1], metavar="N,…", help="evaluations (default: 1)")
    what.add_argument("--sizes", type=_counts, default=[512], metavar="N,…", help="sides (default: 512)")
    what.add_argument("--photo", type=Path, metavar="FILE", help="a photograph in place of drawn patterns")
    what.add_argument(
        "--against",
        type=_peers,
        default=[],
        metavar="NAME,…",
        help="peers in the same run: founding (300 steps of a U-Net, PyTorch eager, f32; one is timed), "
        "diffusers (its schedulers with that net, in --steps), classical",
    )


def run(args: argparse.Namespace) -> int:
    """Measures; 3 when a row could not run or its picture is not that of the reference."""
    _check_outputs(args)
    from relume.tasks.speed import Wanted, benchmark, pattern

    console = Console.of(args)
    wanted = Wanted(
        model=args.model,
        engines=args.engines,
        precisions=args.precisions,
        steps=args.steps,
        device=args.device,
        threads=args.threads,
        force=args.force,
    )
    pictures = [pattern(side, side) for side in args.sizes] if args.photo is None else [_photo(args.photo)]
    report = benchmark(
        wanted,
        pictures,
        against=args.against,
        rounds=args.rounds,
        budget_s=args.budget,
        energy_s=args.energy_window,
        cold=not args.no_cold,
        note=console.note,
    )
    if args.profile:
        report = _profiled(report, wanted, pictures[0], console)
    print(table(report))
    for profile in report.profiles:
        print("\n" + profile_table(profile))
    _write(report, args)
    odd = [row.name for row in report.rows if row.agrees is False]
    for name in odd:
        say(f"{name}: its picture is not that of the reference")
    for name, reason in report.failed.items():
        console.note(f"not measured: {name}: {reason}")
    return ImageError.exit_code if odd else 0


def _photo(path: Path) -> Any:
    from relume import image
    from relume.tasks.finish import three_channels

    return three_channels(image.read(path).srgb())


def _profiled(report: "Report", wanted: "Wanted", picture: Any, console: Console) -> "Report":
    """The report with a profile for each engine and precision that it has a row of."""
    from dataclasses import replace

    from relume.tasks.speed.layers import profiles

    made: list[Profile] = profiles(report, wanted, picture, console.note)
    return replace(report, profiles=made)


def _check_outputs(args: argparse.Namespace) -> None:
    """Before minutes are spent: nothing is there already, and what draws is installed."""
    free(args.json, args.plot, overwrite=args.overwrite)
    if args.plot is not None:
        from relume.bench.plot import SUFFIXES, plot_lacking

        if plot_lacking() is not None:
            raise MissingExtra("--plot", "plot")
        if args.plot.suffix.lower() not in SUFFIXES:
            raise UsageError(f"{args.plot} does not say what to draw: end it in {', '.join(SUFFIXES)}")


def _write(report: "Report", args: argparse.Namespace) -> None:
    from relume.bench.plot import draw
    from relume.bench.report import dump
    from relume.files import placing

    if args.json is not None:
        write_text(as_json(dump(report)), args.json, overwrite=args.overwrite)
    if args.plot is not None:
        with placing(args.plot, overwrite=args.overwrite) as part:
            draw(report, args.plot, part)


def _names(text: str) -> list[str]:
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} names nothing")
    return found


def _counts(text: str) -> list[int]:
    return [count(part) for part in _names(text)]


def _peers(text: str) -> list[str]:
    unknown = [name for name in _names(text) if name not in _PEERS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no peer {unknown[0]!r}; there are {', '.join(_PEERS)}")
    return _names(text)
