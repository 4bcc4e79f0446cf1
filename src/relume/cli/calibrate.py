r"""``relume calibrate``: a model learns how much detail its answers lack."""

__all__ = ["add", "run"]

import argparse
import shutil
from pathlib import Path

from relume.cli.console import Console
from relume.cli.options import Subparsers, add_talk, count, from_zero
from relume.errors import NoInput


def add(subparsers: "Subparsers") -> None:
    """Declares the command."""
    parser = subparsers.add_parser(
        "calibrate",
        help="teach a model how sharp its pictures should be",
        description="Writes a copy of a restoration model whose card says by how much to amplify the fine "
        "detail of its answers at --fidelity below 1. It is learned from photographs, damaged by a recipe: "
        "ones like those that the model was trained on, not those that it is judged on.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("model", metavar="NAME|DIR", help="a model or its folder")
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR", help="undamaged photographs")
    parser.add_argument("--count", type=count, default=200, metavar="N", help="use N of them (default: 200)")
    parser.add_argument("--recipe", default="old-photo", metavar="NAME", help="default: old-photo")
    parser.add_argument("--seed", type=from_zero, default=0, metavar="N", help="of the damage (default: 0)")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="the new model")
    parser.add_argument("--overwrite", action="store_true", help="replace an older model")
    add_talk(parser)


def run(args: argparse.Namespace) -> int:
    """Calibrates and writes the copy."""
    from relume import bundle as bundles
    from relume import image
    from relume.tasks.calibrate import calibrate
    from relume.tasks.restore import Restorer

    console = Console.of(args)
    found = sorted(path for path in args.photos.rglob("*") if image.is_picture(path))
    if not found:
        raise NoInput(f"there is no picture in {args.photos}")
    paths = found[:: -(-len(found) // args.count)]
    given = bundles.find(args.model)
    given.verify()
    with bundles.writing(args.output, overwrite=args.overwrite) as folder:
        detail = calibrate(
            Restorer(given.path),
            [(path.name, image.read(path)) for path in paths],
            recipe_name=args.recipe,
            seed=args.seed,
            progress=lambda done, total: console.note(f"{done} of {total}") if done % 50 == 0 else None,
        )
        for name in given.card["files"]:
            shutil.copyfile(given.path / name, folder / name)
        learned = {
            "weights": [[round(float(value), 6) for value in row] for row in detail.weights],
            "photographs": len(paths),
            "recipe": args.recipe,
            "seed": args.seed,
        }
        bundles.write_card(folder, {**given.card, "detail": learned})
    console.note(f"{args.output}: detail learned from {len(paths)} photographs")
    return 0
