r"""``relume xray eval``: methods side by side, on simulated sessions, a mosaic, or a measured file."""

__all__ = ["add", "run"]

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relume._version import __version__
from relume.cli.console import Console, Progress, say
from relume.cli.extras import need
from relume.cli.options import Subparsers, add_talk, count, from_zero
from relume.cli.streams import as_json, write_text
from relume.cli.xray.inputs import add_measured, add_net, check_output, dark_of, opened
from relume.errors import RelumeError, UsageError

if TYPE_CHECKING:
    from relume.tasks.background import Method

_EPILOG = """\
Sessions are those kept for tests: no model has seen them. psnr … loss are of a mixed sample after one factor
is fitted; full-field: PSNR where the sample leaves no pixel empty; empty: slow error where there is no
sample; slope: of optical density on a wedge; hallucination: how far the background changes with the sample;
coverage: of 90 % intervals. pix2pix, series and mosaics take the expected glare and outliers off, as they do
for any image; the classical methods do not. A series is the image and 16 others. With RAW nobody does, and
what its own --reference gives stands for the truth.
"""
_FIRST = 200_000


def add(subparsers: "Subparsers") -> None:
    """Declares the command."""
    parser = subparsers.add_parser(
        "eval",
        help="methods side by side",
        description="Measures methods on simulated sessions with their truth, the mosaic solver with "
        "--mosaic, or methods on a measured file that has a reference.",
        epilog=_EPILOG,
    )
    parser.set_defaults(run=run)
    parser.add_argument("input", nargs="?", type=Path, metavar="RAW", help="a measured file instead")
    add_measured(parser)
    parser.add_argument(
        "--method", action="append", metavar="NAME", help="may be given again (default: all there are)"
    )
    add_net(parser)
    parser.add_argument("--sessions", type=count, default=10, metavar="N", help="default: 10")
    parser.add_argument("--size", type=count, default=512, metavar="N", help="side in pixels (default: 512)")
    parser.add_argument(
        "--mosaic", type=count, metavar="K", help="K×K tiles, a mosaic a session, by every field"
    )
    parser.add_argument("--first", type=from_zero, default=_FIRST, metavar="SEED", help=f"default: {_FIRST}")
    parser.add_argument("--report", "--json", type=Path, metavar="FILE", help="write all figures as JSON")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    add_talk(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluates."""
    need("xray", "relume xray eval")
    if args.report is not None:
        check_output(args.report, overwrite=args.overwrite)
    console = Console.of(args)
    if args.input is not None:
        rows = _measured(args)
    elif args.mosaic:
        rows = _mosaics(args, console)
    else:
        rows = _sessions(args, console)
    means = {name: _mean(found) for name, found in rows.items()}
    print(_table(means))
    if args.report is not None:
        told = {
            "relume": __version__,
            "sessions": args.sessions,
            "first": args.first,
            "size": args.size,
            "mosaic": args.mosaic,
            "input": None if args.input is None else args.input.name,
            "means": means,
            "each": rows,
        }
        write_text(as_json(_finite(told)), args.report, overwrite=args.overwrite)
    return 0


def _methods(args: argparse.Namespace) -> "list[Method]":
    """Those asked for, or all that run here."""
    from relume.tasks.background import METHODS, find_method

    if args.method:
        return [find_method(name, model=args.model, engine=args.engine) for name in args.method]
    found = []
    for name in METHODS:
        if name == "basic":  # minutes a session: only when it is asked for
            continue
        try:
            found.append(find_method(name, model=args.model, engine=args.engine))
        except RelumeError as error:
            say(f"note: without {name}: {error}")
    return found


Rows = dict[str, list[dict[str, float]]]


def _sessions(args: argparse.Namespace, console: Console) -> Rows:
    from relume.tasks.xray_eval import compare, situations

    rows: Rows = {}
    methods = _methods(args)
    progress = Progress(args.sessions, console)
    for found in situations(range(args.first, args.first + args.sessions), args.size):
        progress.begin("sessions")
        for name, figures in compare(methods, found).items():
            rows.setdefault(name, []).append(figures)
        progress.end()
    progress.close()
    return rows


def _mosaics(args: argparse.Namespace, console: Console) -> Rows:
    from relume.degrade.illumination import Mosaic
    from relume.mosaic import Prior, Settings
    from relume.tasks.mosaic_field import FIELDS
    from relume.tasks.xray_eval import evaluate_mosaic

    rows: Rows = {}
    fields = args.method or [name for name in FIELDS if name != "hash-grid"]
    progress = Progress(args.sessions * len(fields), console)
    for seed in range(args.first, args.first + args.sessions):
        mosaic = Mosaic(seed, args.mosaic, args.size)
        spread = 0.15 if mosaic.optics.zernike else 0.02
        for field in fields:
            progress.begin(f"{seed}, {field}")
            settings = Settings(field, prior=Prior(gain=spread))
            rows.setdefault(field, []).append(
                evaluate_mosaic(mosaic, settings, model=args.model, engine=args.engine)
            )
            progress.end()
    progress.close()
    return rows


def _measured(args: argparse.Namespace) -> Rows:
    from dataclasses import replace

    import numpy as np

    from relume.scan.scan import memory
    from relume.tasks.xray_eval import against_reference

    scan = opened(args.input, args, needs_flats=True)
    dark = dark_of(scan, args.dark)
    if np.any(dark):
        scan = replace(scan, darks=memory(np.broadcast_to(np.asarray(dark, np.float32), scan.frames.size)))
    methods = [each for each in _methods(args) if each.needs == "nothing"]
    if not methods:
        raise UsageError(
            "methods are measured against the reference: name one that reads the image alone, such as "
            "--method polynomial"
        )
    return {name: [figures] for name, figures in against_reference(scan, methods).items()}


def _mean(found: list[dict[str, float]]) -> dict[str, float]:
    import numpy as np

    columns = {name: [each[name] for each in found if np.isfinite(each[name])] for name in found[0]}
    return {name: float(np.mean(values)) if values else float("nan") for name, values in columns.items()}


def _table(means: dict[str, dict[str, float]]) -> str:
    """As Markdown, a method a line."""
    names = list(next(iter(means.values())))
    head = "| method | " + " | ".join(names) + " |\n" + "|---" * (len(names) + 1) + "|"
    lines = [
        f"| {method} | "
        + " | ".join(
            f"{row[name]:.2f}" if "psnr" in name or name == "full-field" else f"{row[name]:.4f}"
            for name in names
        )
        + " |"
        for method, row in means.items()
    ]
    return "\n".join([head, *lines])


def _finite(value: Any) -> Any:
    """nan has no place in JSON."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and value != value else value
