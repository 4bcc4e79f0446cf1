r"""``relume mask``: where a picture is damaged."""

__all__ = ["add", "run"]

import argparse

from relume.cli.console import Console
from relume.cli.options import Subparsers, add_model, add_talk, count, number
from relume.cli.streams import Writing, deliver, read_from
from relume.cli.target import target_of


def add(subparsers: "Subparsers") -> None:
    """Declares the command."""
    parser = subparsers.add_parser(
        "mask",
        help="find the damage in a picture",
        description="Finds the damage in a picture: a gray picture, white where it is damaged. It can be "
        "painted over and handed to relume restore --mask.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("input", metavar="INPUT", help="a picture, or - for stdin")
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help="a file, a folder, or - for stdout (default: beside, NAME-mask.png)",
    )
    parser.add_argument(
        "--threshold",
        type=number(0, 1),
        metavar="0…1",
        help="black and white: white above this probability (default: the probability itself, in gray)",
    )
    parser.add_argument("--tile", type=count, metavar="N", help="side of the tiles (default: the model's)")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    add_model(parser)
    add_talk(parser)


def run(args: argparse.Namespace) -> int:
    """Finds the damage."""
    import numpy as np

    from relume.cli.running import load
    from relume.image import Image

    output = target_of(args.input, args.output, "-mask", suffix=".png", overwrite=args.overwrite)
    console = Console.of(args)
    picture = read_from(args.input)
    found = load(args, console).detect(picture, tile=args.tile)
    if args.threshold is not None:
        found = (found > args.threshold).astype(np.float32)
    deliver(Image(found[..., None]), output, Writing(overwrite=args.overwrite))
    console.note(f"{args.input} → {output}  {float((found > 0.5).mean()):.1%} damaged")
    return 0
