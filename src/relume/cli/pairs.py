r"""The pairs that ``relume eval`` asks for, each made when its turn comes."""

__all__ = ["Make", "add_pairs", "pairs"]

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from relume.cli.console import say
from relume.cli.options import count, from_zero, number
from relume.errors import NoInput, UsageError

if TYPE_CHECKING:
    from relume.tasks.evaluate import Pair

Make = Callable[[], "Pair"]


def add_pairs(parser: argparse.ArgumentParser) -> None:
    """Which pictures, and how they are damaged."""
    parser.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="clean photographs")
    group = parser.add_argument_group("pictures")
    group.add_argument("--clean", type=Path, metavar="DIR", help="clean pictures of pairs")
    group.add_argument("--damaged", type=Path, metavar="DIR", help="their damaged twins, named alike")
    group.add_argument(
        "--masks", type=Path, metavar="DIR", help="where the twins are damaged (white), named alike"
    )
    group.add_argument(
        "--recipe", default="old-photo", metavar="NAME", help="the damage (default: old-photo)"
    )
    group.add_argument("--severity", type=number(0, 3), default=1.0, metavar="0…3", help="default: 1")
    group.add_argument("--seed", type=from_zero, default=0, metavar="N", help="decides all (default: 0)")
    group.add_argument("--side", type=count, metavar="N", help="reduce the longer side to N pixels first")
    group.add_argument("--limit", type=count, metavar="N", help="take the first N pictures only")


def pairs(args: argparse.Namespace) -> dict[str, Make]:
    """Name → the function that makes the pair, so that one pair is in memory at a time.

    Raises:
        UsageError: the options do not say which pictures, or there is no such recipe.
        NoInput: there is no picture.
    """
    from relume.degrade import recipe

    if (args.folder is None) == (args.clean is None) or (args.clean is None) != (args.damaged is None):
        raise UsageError("give a folder of clean photographs, or both --clean DIR and --damaged DIR")
    if args.masks is not None and args.clean is None:
        raise UsageError("--masks goes with --clean and --damaged: a recipe brings its own masks")
    if args.folder is not None:
        recipe(args.recipe)  # a wrong name fails once, not for every picture
        found = {name: _degraded(name, path, args) for name, path in _pictures(args.folder).items()}
    else:
        found = _twins(args)
    names = list(found)[: args.limit]
    if not names:
        raise NoInput("there is no picture to evaluate")
    return {name: found[name] for name in names}


def _twins(args: argparse.Namespace) -> dict[str, Make]:
    clean, damaged = _by_stem(args.clean), _by_stem(args.damaged)
    masks = _by_stem(args.masks) if args.masks is not None else {}
    alone = sorted(clean.keys() ^ damaged.keys())
    if alone:
        say(f"note: {len(alone)} pictures have no twin and are left out, as {alone[0]}")
    return {
        name: _read(name, clean[name], damaged[name], masks.get(name), args)
        for name in sorted(clean.keys() & damaged.keys())
    }


def _by_stem(folder: Path) -> dict[str, Path]:
    return {str(Path(name).with_suffix("")): path for name, path in _pictures(folder).items()}


def _pictures(folder: Path) -> dict[str, Path]:
    from relume.image import is_picture

    if not folder.is_dir():
        raise NoInput(f"{folder} is not a folder: name one that holds pictures")
    paths = sorted(path for path in folder.rglob("*") if is_picture(path) and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): path for path in paths}


def _degraded(name: str, path: Path, args: argparse.Namespace) -> Make:
    def make() -> "Pair":
        from relume.image import read
        from relume.tasks.evaluate import damaged_by, shrunk

        clean = read(path)
        clean = shrunk(clean, args.side) if args.side else clean
        return damaged_by(name, clean, recipe_name=args.recipe, seed=args.seed, severity=args.severity)

    return make


def _read(name: str, clean: Path, damaged: Path, mask: Path | None, args: argparse.Namespace) -> Make:
    def make() -> "Pair":
        from relume.image import Image, read
        from relume.tasks.evaluate import Pair, shrunk
        from relume.tasks.finish import mask_from

        pictures = [read(clean), read(damaged)]
        if mask is not None:
            pictures.append(Image(mask_from(read(mask))[..., None]))
        if args.side:
            pictures = [shrunk(picture, args.side) for picture in pictures]
        where = pictures[2].pixels[..., 0] if mask is not None else None
        return Pair(name, pictures[0], pictures[1], where)

    return make
