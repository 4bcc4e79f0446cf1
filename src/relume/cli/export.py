r"""``relume export``: checkpoints become a model."""

__all__ = ["add", "checkpoint", "learned", "run"]

import argparse
import json
from pathlib import Path
from typing import Any

from relume.cli.console import Console
from relume.cli.extras import need
from relume.cli.options import Subparsers, add_talk
from relume.errors import UsageError

CHECKPOINT = "checkpoint.safetensors"


def add(subparsers: "Subparsers") -> None:
    """Declares the command."""
    parser = subparsers.add_parser(
        "export",
        help="make a model of trained checkpoints",
        description="Makes a model of the checkpoints of relume train photo, photo-tone and, if wanted, "
        "photo-shading, or of the one of relume train xray. It is written only if the engines agree on it. "
        "In place of a checkpoint of a photo net, a photo model may be named, whose net is taken over.",
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "local", type=Path, metavar="LOCAL", help="the checkpoint of photo or xray, or its folder"
    )
    parser.add_argument(
        "tone", type=Path, nargs="?", metavar="TONE", help="with photo: the checkpoint of photo-tone"
    )
    parser.add_argument(
        "--shading", type=Path, metavar="SHADING", help="with photo: the checkpoint of photo-shading, if any"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="the model's folder")
    parser.add_argument("--name", help="the model's name (default: photo or xray)")
    parser.add_argument(
        "--training", type=Path, metavar="FILE.json", help="facts for the card: data, licence, commit, …"
    )
    parser.add_argument(
        "--quality", type=Path, metavar="FILE.json", help="figures for the card (relume eval)"
    )
    parser.add_argument("--photos", type=Path, metavar="DIR", help="photographs to compare the engines on")
    parser.add_argument("--overwrite", action="store_true", help="replace an older model")
    add_talk(parser)


def run(args: argparse.Namespace) -> int:
    """Exports."""
    need("train", "export")
    console = Console.of(args)
    options = {
        "training": _facts(args.training),
        "quality": _facts(args.quality),
        "overwrite": args.overwrite,
        "report": console.note,
    }
    if args.tone is None and args.shading is not None:
        raise UsageError("--shading goes with the checkpoints of photo and of photo-tone")
    if args.tone is None:
        from relume.train.export_xray import export_xray

        bundle = export_xray(checkpoint(args.local), args.output, name=args.name or "xray", **options)
    else:
        from relume.train.export import export_photo

        bundle = export_photo(
            learned(args.local),
            learned(args.tone),
            args.output,
            shading_checkpoint=None if args.shading is None else learned(args.shading),
            name=args.name or "photo",
            parity_photos=args.photos,
            **options,
        )
    console.note(f"model {bundle.name} ({bundle.hash[:12]}): {bundle.path}")
    return 0


def learned(path: Path) -> Path:
    """A checkpoint, or the folder of a model, which may be told by its name where no file is called so.

    Raises:
        UsageError: there is neither.
    """
    from relume.bundle import CARD, find, installed  # NumPy would slow the start of every command

    if path.is_dir() and (path / CARD).is_file():
        return path
    if not path.exists() and str(path) in {bundle.name for bundle in installed()}:
        return find(str(path)).path
    return checkpoint(path)


def checkpoint(path: Path) -> Path:
    """A checkpoint, given as a file or as the folder of its run.

    Raises:
        UsageError: there is none.
    """
    found = path / CHECKPOINT if path.is_dir() else path
    if not found.is_file():
        raise UsageError(f"{found} is not there: name a checkpoint of relume train, or the folder of its run")
    return found


def _facts(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is no readable JSON: {error}") from error
    if not isinstance(facts, dict):
        raise UsageError(f"{path} holds no JSON object")
    return facts
