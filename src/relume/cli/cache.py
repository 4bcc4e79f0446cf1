r"""``relume cache``: the compiled models that are kept on disk, and their removal."""

__all__ = ["add", "run"]

import argparse

from relume.cli.options import Subparsers, add_talk
from relume.cli.streams import as_json


def add(subparsers: "Subparsers") -> None:
    """Declares the command."""
    parser = subparsers.add_parser(
        "cache",
        help="show or clear the compiled models",
        description="Models are kept as they were compiled for this machine, so that the next start is "
        "quick; RELUME_CACHE=off does without. What is removed is made again when it is needed.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    info = actions.add_parser("info", help="where they are, and how many")
    info.add_argument("--json", action="store_true", help="for programs")
    clear = actions.add_parser("clear", help="remove them all")
    for action, name in ((info, "info"), (clear, "clear")):
        action.set_defaults(run=run, action=name)
        add_talk(action)


def run(args: argparse.Namespace) -> int:
    """Shows, or clears."""
    from relume.engines import compiled

    if args.action == "clear":
        gone = compiled.clear()
        print(f"{gone.files} compiled models removed, {gone.bytes / 1e6:.1f} MB, from {gone.folder}")
        return 0
    there = compiled.usage()
    if args.json:
        print(as_json({"folder": str(there.folder), "files": there.files, "bytes": there.bytes}), end="")
    else:
        print(f"{there.files} compiled models, {there.bytes / 1e6:.1f} MB, in {there.folder}")
    return 0
