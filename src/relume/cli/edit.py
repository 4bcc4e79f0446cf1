r"""``relume edit``: one region made anew, the rest exactly as it was."""

__all__ = ["add", "run"]

import argparse
from pathlib import Path

from relume.cli.console import Console
from relume.cli.options import Subparsers, add_model, add_output, add_talk, count, from_zero, number
from relume.cli.streams import Writing, deliver, read_from
from relume.cli.target import target_of

_EPILOG = """\
The region forgets what it showed and carries its surroundings on, or takes over what --condition shows.
The model's chain is inverted for that and run again, free inside of the region; outside, every pixel keeps
its value. What the inversion itself missed there is told. For files without loss, write PNG or TIFF.
"""


def add(subparsers: "Subparsers") -> None:
    """Declares the command."""
    parser = subparsers.add_parser(
        "edit",
        help="make one region of a picture anew",
        description="Makes one region of a picture anew; outside of it nothing changes.",
        epilog=_EPILOG,
    )
    parser.set_defaults(run=run)
    parser.add_argument("input", metavar="PICTURE", help="a picture, or - for stdin")
    parser.add_argument(
        "--mask", type=Path, required=True, metavar="FILE", help="the region, white, as large as the picture"
    )
    parser.add_argument(
        "--condition",
        type=Path,
        metavar="OTHER",
        help="what the region shall show: the same picture, retouched (default: its surroundings go on)",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help="a file, a folder, or - for stdout (default: beside, NAME-edited)",
    )
    group = parser.add_argument_group("editing")
    group.add_argument(
        "--seed", type=from_zero, default=0, metavar="N", help="decides all noise (default: 0)"
    )
    group.add_argument(
        "-w",
        "--fidelity",
        type=number(0, 1),
        default=0.0,
        metavar="0…1",
        help="0: the region starts with noise, and the seed decides (default); 1: without",
    )
    group.add_argument("--steps", type=count, default=4, metavar="N", help="of the chain (default: 4)")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    add_output(parser)
    add_model(parser)
    add_talk(parser)


def run(args: argparse.Namespace) -> int:
    """Edits."""
    from relume import image
    from relume.cli.running import load
    from relume.tasks.edit import edit
    from relume.tasks.finish import mask_from

    output = target_of(
        args.input,
        args.output,
        "-edited",
        overwrite=args.overwrite,
        format=args.format,
        inputs=(args.mask, args.condition),
    )
    console = Console.of(args)
    picture = read_from(args.input)
    mask = mask_from(image.read(args.mask))
    other = None if args.condition is None else image.read(args.condition)
    if args.precision == "auto":
        args.precision = "f32"  # rounding would be taken for a part of the picture
    edited = edit(
        load(args, console),
        picture,
        mask,
        instead=other,
        seed=args.seed,
        fidelity=args.fidelity,
        steps=args.steps,
    )
    deliver(edited.image, output, Writing.of(args))
    console.note(f"{args.input} → {output}  {float((mask > 0).mean()):.1%} made anew")
    console.note(
        f"  outside: unchanged (the inversion alone would have missed it by {255 * edited.background:.2f} of "
        "255 levels at most)"
    )
    console.detail(f"  residual of the inversion: {edited.residual:.1e}; evaluations: {edited.evaluations}")
    return 0
