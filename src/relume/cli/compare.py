r"""``relume compare``: two pictures, side by side or under a slider."""

__all__ = ["add", "run"]

import argparse
from pathlib import Path

from relume.cli.console import Console
from relume.cli.options import Subparsers, add_talk
from relume.cli.streams import read_from, write_text
from relume.errors import UsageError


def add(subparsers: "Subparsers") -> None:
    """Declares the command."""
    parser = subparsers.add_parser(
        "compare",
        help="show two pictures side by side, or under a slider",
        description="Shows two pictures: side by side in one picture, or on a page of HTML with a slider.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("before", metavar="A", help="the first picture, or - for stdin")
    parser.add_argument("after", metavar="B", help="the second one")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT", help="FILE.png or FILE.html"
    )
    parser.add_argument(
        "--html", action="store_true", help="write the page with the slider, whatever OUT is called"
    )
    parser.add_argument(
        "--labels", nargs=2, default=("before", "after"), metavar=("A", "B"), help="names on the page"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    add_talk(parser)


def run(args: argparse.Namespace) -> int:
    """Compares."""
    from relume import image
    from relume.tasks.compare import side_by_side, slider

    if {args.before, args.after} & {str(args.output)}:
        raise UsageError(f"{args.output} is an input: choose another -o")
    before, after = read_from(args.before), read_from(args.after)
    if args.html or args.output.suffix.lower() in (".html", ".htm"):
        title = f"{args.output.stem}: {args.labels[0]} | {args.labels[1]}"
        page = slider(before, after, title=title, labels=(args.labels[0], args.labels[1]))
        write_text(page, args.output, overwrite=args.overwrite)
    else:
        image.write(side_by_side(before, after), args.output, overwrite=args.overwrite)
    Console.of(args).note(f"{args.before} | {args.after} → {args.output}")
    return 0
