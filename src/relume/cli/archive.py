r"""``relume archive``: what became of an archive, from its manifests."""

__all__ = ["add", "run"]

import argparse
from dataclasses import asdict
from pathlib import Path

from relume.archive import FOLDER, Summary, summarise
from relume.cli.console import say
from relume.cli.options import Subparsers, add_talk
from relume.cli.report import SOME_FAILED
from relume.cli.streams import as_json
from relume.errors import NoInput

SHOWN = 10  # names of a kind


def add(subparsers: "Subparsers") -> None:
    """Declares the command."""
    parser = subparsers.add_parser(
        "archive",
        help="say what is done of an archive",
        description="Says what relume restore --shard has done, failed and begun in a folder of results. "
        "Ends with 0 where nothing failed, is missing or was left unfinished, else with 3.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder that was given to -o")
    parser.add_argument("--check", action="store_true", help="read every result and compare its SHA-256")
    parser.add_argument("--json", action="store_true", help="all of it, for programs")
    add_talk(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the summary."""
    if not (args.out / FOLDER).is_dir():
        raise NoInput(f"{args.out} holds no manifest: relume restore … -o {args.out} --shard 1/1 writes one")
    summary = summarise(args.out, check=args.check)
    print(as_json(asdict(summary)) if args.json else "\n".join(_text(summary)), end="" if args.json else "\n")
    for kind, names in (
        ("failed", list(summary.errors.values())),
        ("begun, not ended", summary.unfinished),
        ("not what was written" if args.check else "missing, or of another size", summary.bad),
    ):
        for name in names[: None if args.verbose else SHOWN] if not args.quiet else ():
            say(f"{kind}: {name}")
        if not args.quiet and not args.verbose and len(names) > SHOWN:
            say(f"{kind}: {len(names) - SHOWN} more; -v names them")
    return SOME_FAILED if summary.failed or summary.begun or summary.bad else 0


def _text(summary: Summary) -> list[str]:
    rate = f"{summary.seconds / summary.done:.3f} s a picture" if summary.done else "none yet"
    how = "SHA-256" if summary.checked else "size"
    joules = "not measurable" if summary.joules is None else f"{summary.joules:,.0f} J"
    lines = [
        f"done       {summary.done:>9,}   {rate}, {summary.bytes / 2**20:,.1f} MiB",
        f"failed     {summary.failed:>9,}",
        f"begun      {summary.begun:>9,}   at work now, or killed",
        f"bad        {len(summary.bad):>9,}   missing, or not what was written, by their {how}",
        f"twice      {summary.again:>9,}   done again without need",
        f"energy     {joules:>9}",
    ]
    if summary.options > 1 or summary.models > 1:
        lines.append(f"mixed: results of {summary.options} sets of options and {summary.models} models")
    if summary.damaged:
        lines.append(f"{summary.damaged} half-written lines were passed over")
    return lines
