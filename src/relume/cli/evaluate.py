r"""``relume eval``: measure a model on photographs, beside controls that cost nothing."""

__all__ = ["add", "run"]

import argparse
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relume._version import __version__
from relume.cli.console import Console, Progress, say
from relume.cli.options import Subparsers, add_model, add_talk, count, from_zero, number
from relume.cli.running import load
from relume.cli.streams import as_json, write_text
from relume.errors import ImageError, NoInput, OutputExists, RelumeError, UsageError

if TYPE_CHECKING:
    from relume.tasks import Restorer
    from relume.tasks.evaluate import Pair, Score

Make = Callable[[], "Pair"]


def add(subparsers: "Subparsers") -> None:
    """Declares the command."""
    parser = subparsers.add_parser(
        "eval",
        help="measure a model on photographs",
        description="Damages clean photographs by a recipe (or takes pairs from two folders), restores them, "
        "and prints PSNR, SSIM and PSNR after the best gain and offset, beside the damaged pictures "
        "themselves and a median filter.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="clean photographs")
    parser.add_argument("--clean", type=Path, metavar="DIR", help="clean pictures of pairs")
    parser.add_argument("--damaged", type=Path, metavar="DIR", help="their damaged twins, named alike")
    parser.add_argument(
        "--recipe", default="old-photo", metavar="NAME", help="the damage (default: old-photo)"
    )
    parser.add_argument("--severity", type=number(0, 3), default=1.0, metavar="0…3", help="default: 1")
    parser.add_argument("--seed", type=from_zero, default=0, metavar="N", help="decides all (default: 0)")
    parser.add_argument("--side", type=count, metavar="N", help="reduce the longer side to N pixels first")
    parser.add_argument("--limit", type=count, metavar="N", help="take the first N pictures only")
    parser.add_argument("--steps", type=count, metavar="N", help="evaluations per tile")
    parser.add_argument("-w", "--fidelity", type=number(0, 1), default=1.0, metavar="0…1", help="default: 1")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    add_model(parser)
    add_talk(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluates; a picture that fails is named and left out."""
    if args.json is not None and args.json.exists() and not args.overwrite:
        raise OutputExists(f"{args.json} exists; choose another name, or give --overwrite")
    makes = _pairs(args)
    console = Console.of(args)
    restorer = load(args, console)
    scores, failed = _scores(makes, restorer, args, console)
    if not scores:
        raise NoInput("none of the pictures could be evaluated")
    print(_table(scores, count=len(makes) - len(failed)))
    if args.json is not None:
        facts = _facts(scores, failed, restorer, args)
        write_text(as_json(facts), args.json, overwrite=args.overwrite)
    return ImageError.exit_code if failed else 0


def _pairs(args: argparse.Namespace) -> dict[str, Make]:
    """Name → the function that makes the pair, so that one pair is in memory at a time."""
    if (args.folder is None) == (args.clean is None) or (args.clean is None) != (args.damaged is None):
        raise UsageError("give a folder of clean photographs, or both --clean DIR and --damaged DIR")
    if args.folder is not None:
        found = {name: _degraded(name, path, args) for name, path in _pictures(args.folder).items()}
    else:
        clean, damaged = (
            {str(Path(name).with_suffix("")): path for name, path in _pictures(folder).items()}
            for folder in (args.clean, args.damaged)
        )
        alone = sorted(clean.keys() ^ damaged.keys())
        if alone:
            say(f"note: {len(alone)} pictures have no twin and are left out, as {alone[0]}")
        found = {
            name: _read(name, clean[name], damaged[name], args)
            for name in sorted(clean.keys() & damaged.keys())
        }
    names = list(found)[: args.limit]
    if not names:
        raise NoInput("there is no picture to evaluate")
    return {name: found[name] for name in names}


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


def _read(name: str, clean: Path, damaged: Path, args: argparse.Namespace) -> Make:
    def make() -> "Pair":
        from relume.image import read
        from relume.tasks.evaluate import Pair, shrunk

        pictures = [read(path) for path in (clean, damaged)]
        if args.side:
            pictures = [shrunk(picture, args.side) for picture in pictures]
        return Pair(name, *pictures)

    return make


def _scores(
    makes: dict[str, Make], restorer: "Restorer", args: argparse.Namespace, console: Console
) -> tuple[list["Score"], dict[str, str]]:
    from relume.degrade import recipe
    from relume.tasks import Settings
    from relume.tasks.evaluate import CONTROLS, score

    recipe(args.recipe)  # a wrong name fails once, not for every picture
    settings = Settings(steps=args.steps, seed=args.seed, fidelity=args.fidelity)
    methods = {**CONTROLS, restorer.bundle.name: lambda image: restorer.restore(image, settings).image}
    scores: list[Score] = []
    failed: dict[str, str] = {}
    progress = Progress(len(makes), console)
    try:
        for name, make in makes.items():
            progress.begin(name)
            try:
                found = score(make(), methods)
            except RelumeError as error:
                failed[name] = str(error)
                found = []
            progress.end()
            if name in failed:
                say(failed[name] if name in failed[name] else f"{name}: {failed[name]}")
            if not console.quiet:
                for each in found:
                    print(_row(each.method, each.psnr, each.ssim, each.tone_aligned_psnr, each.seconds, name))
            scores += found
    finally:
        progress.close()
    return scores, failed


def _row(method: str, psnr: float, ssim: float, aligned: float, seconds: float, name: str = "") -> str:
    return f"{method:<14} {psnr:>8.2f} {ssim:>8.4f} {aligned:>14.2f} {seconds:>9.3f}  {name}".rstrip()


def _table(scores: "list[Score]", *, count: int) -> str:
    from relume.tasks.evaluate import means

    head = f"{'method':<14} {'PSNR dB':>8} {'SSIM':>8} {'tone-aligned':>14} {'seconds':>9}"
    rows = [
        _row(method, mean["psnr"], mean["ssim"], mean["tone_aligned_psnr"], mean["seconds"])
        for method, mean in means(scores).items()
    ]
    return "\n".join([f"mean of {count} pictures", head, *rows])


def _facts(
    scores: "list[Score]", failed: dict[str, str], restorer: "Restorer", args: argparse.Namespace
) -> dict[str, Any]:
    from relume.tasks.evaluate import CAP_DB, means

    engine, bundle = restorer.engine, restorer.bundle
    pairs = args.clean is not None
    return {
        "relume": __version__,
        "model": {"name": bundle.name, "version": bundle.card["version"], "hash": bundle.hash},
        "engine": {"name": engine.name, "device": engine.device, "precision": engine.precision},
        "damage": None if pairs else {"recipe": args.recipe, "severity": args.severity, "seed": args.seed},
        "side": args.side,
        "steps": args.steps,
        "fidelity": args.fidelity,
        "cap_db": CAP_DB,
        "means": means(scores),
        "pictures": [asdict(each) for each in scores],
        "failed": failed,
    }
