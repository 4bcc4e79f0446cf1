r"""``relume degrade``: damage a clean picture, reproducibly."""

__all__ = ["add", "run"]

import argparse
from typing import TYPE_CHECKING

from relume.cli.console import Console
from relume.cli.options import Subparsers, add_output, add_talk, from_zero, number
from relume.cli.streams import Writing, deliver, read_from
from relume.cli.target import target_of
from relume.errors import UsageError

if TYPE_CHECKING:
    from relume.degrade import Recipe

_EPILOG = """\
recipes: old-photo, five-families, structure, surface, tone. Damages: fading, levels, blur, low-contrast,
noise, scratches, cracks, speckle, resample, sharpen, jpeg, dust, folds, uneven-fading, shading, tears,
flaking, scuffs. The same picture, options and seed give the same bytes.
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
        "-o",
        "--output",
        metavar="OUT",
        help="a file, a folder, or - for stdout (default: beside, NAME-damaged)",
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
    parser.add_argument("--save-mask", metavar="FILE.png", help="write where it was damaged (white)")
    group = add_output(parser)
    group.add_argument("--overwrite", action="store_true", help="replace what is there")
    add_talk(parser)


def run(args: argparse.Namespace) -> int:
    """Damages."""
    import numpy as np

    from relume.image import Image

    recipe = _recipe(args)
    mask = args.save_mask
    if mask is not None:
        mask = target_of(args.input, mask, "-mask", suffix=".png", overwrite=args.overwrite)
    output = target_of(
        args.input,
        args.output,
        "-damaged",
        overwrite=args.overwrite,
        format=args.format,
        inputs=(mask,),
    )
    picture = read_from(args.input)
    damaged = recipe(picture.srgb(), np.random.default_rng(args.seed), severity=args.severity)
    if mask is not None:
        deliver(Image(damaged.mask[..., None]), mask, Writing(overwrite=args.overwrite))
    deliver(picture.with_srgb(damaged.picture), output, Writing.of(args))
    Console.of(args).note(f"{args.input} → {output}  {recipe.name}, seed {args.seed}")
    return 0


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
