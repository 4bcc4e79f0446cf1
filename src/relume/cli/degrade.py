r"""``relume degrade``: damage a clean picture, reproducibly."""

__all__ = ["add", "run"]

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from relume.cli.console import Console
from relume.cli.options import Subparsers, add_output, add_talk, from_zero, number
from relume.cli.streams import STREAM, Writing, deliver, read_from
from relume.errors import OutputExists, UsageError

if TYPE_CHECKING:
    from relume.degrade import Recipe

_EPILOG = """\
recipes: old-photo, five-families, structure, surface, tone. Damages: fading, blur, low-contrast, noise,
scratches, cracks, speckle, resample, jpeg, dust, folds, uneven-fading, tears, flaking, scuffs. The same
picture, options and seed give the same bytes.
"""


def add(subparsers: "Subparsers") -> None:
    """Declares the command."""
    parser = subparsers.add_parser(
        "degrade",
        help="damage a clean picture",
        description="Damages a clean picture as time and scanners do.",
        epilog=_EPILOG,
    )
    parser.set_defaults(run=run)
    parser.add_argument("input", metavar="INPUT", help="a picture, or - for stdin")
    parser.add_argument(
        "-o", "--output", metavar="OUT", help="a file, or - for stdout (default: beside, NAME-damaged)"
    )
    parser.add_argument("--recipe", metavar="NAME", help="damages with their chances (default: old-photo)")
    parser.add_argument(
        "--damage",
        action="append",
        metavar="NAME",
        help="one damage, in place of a recipe; may be given again, and they happen in this order",
    )
    parser.add_argument(
        "--severity",
        type=number(0, 3),
        default=1.0,
        metavar="0…3",
        help="0: none, 1: an ordinary old photograph (default), 2: a bad one",
    )
    parser.add_argument("--seed", type=from_zero, default=0, metavar="N", help="decides all (default: 0)")
    parser.add_argument(
        "--save-mask", type=Path, metavar="FILE.png", help="write where it was damaged (white)"
    )
    group = add_output(parser)
    group.add_argument("--overwrite", action="store_true", help="replace what is there")
    add_talk(parser)


def run(args: argparse.Namespace) -> int:
    """Damages."""
    import numpy as np

    from relume import image

    recipe = _recipe(args)
    output = _output(args)
    for path in (output, args.save_mask):
        if path not in (None, STREAM) and Path(path).exists() and not args.overwrite:
            raise OutputExists(f"{path} exists; choose another name, or give --overwrite")
    picture = read_from(args.input)
    damaged = recipe(picture.srgb(), np.random.default_rng(args.seed), severity=args.severity)
    if args.save_mask is not None:
        mask = image.Image(damaged.mask[..., None])
        image.write(mask, args.save_mask, overwrite=args.overwrite)
    deliver(picture.with_srgb(damaged.picture), output, Writing.of(args))
    Console.of(args).note(f"{args.input} → {output}  {recipe.name}, seed {args.seed}")
    return 0


def _output(args: argparse.Namespace) -> str:
    output = str(args.output or STREAM)
    if args.output is None and args.input != STREAM:
        source = Path(args.input)
        ending = f".{args.format.lower()}" if args.format else source.suffix
        output = str(source.with_name(f"{source.stem}-damaged{ending}"))
    inputs = {Path(args.input).resolve()} if args.input != STREAM else set()
    outputs = {Path(path).resolve() for path in (output, args.save_mask) if path not in (None, STREAM)}
    if inputs & outputs:
        raise UsageError(f"{args.input} would be replaced by its damaged self: choose another -o")
    return output


def _recipe(args: argparse.Namespace) -> "Recipe":
    """The recipe of that name, or one in which the single damages happen for certain."""
    from relume.degrade import DEGRADATIONS, Recipe, recipe
    from relume.degrade.recipes import Stage

    if not args.damage:
        return recipe(args.recipe or "old-photo")
    if args.recipe:
        raise UsageError("--recipe and --damage cannot go together: give one of them")
    unknown = [name for name in args.damage if name not in DEGRADATIONS]
    if unknown:
        raise UsageError(f"no damage is called {unknown[0]!r}; there are: {', '.join(DEGRADATIONS)}")
    stages = tuple(Stage(((DEGRADATIONS[name], 1.0),)) for name in args.damage)
    return Recipe(" + ".join(args.damage), stages)
