r"""How to restore, and what goes where, as the options of ``relume restore`` say it."""

__all__ = ["add_archive", "add_restoring_here", "settings_of", "shard_of", "told", "wanted_of"]

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relume.archive import Shard
from relume.cli.invented import WHITE
from relume.cli.jobs import FOUND, Wanted
from relume.cli.options import add_restoring, count, memory
from relume.cli.proof import to_stdout
from relume.cli.streams import STREAM
from relume.errors import UsageError

if TYPE_CHECKING:
    from relume.tasks import Settings


def add_restoring_here(parser: argparse.ArgumentParser) -> None:
    """What is done to a picture, and what is made beside it, by the restorer of this machine."""
    group = add_restoring(parser)
    group.add_argument(
        "--mask",
        default="auto",
        metavar="auto|twice|none|FILE|DIR",
        help="where the damage is (white): found by the model; found, and where it is sure "
        "told to it in a second pass (twice the time, blots pale more); not told; a picture, or a folder of "
        "pictures named like the inputs or NAME-mask.png",
    )
    group.add_argument(
        "--save-mask",
        nargs="?",
        const="",
        metavar="FILE|DIR",
        help="write the damage that was found; without a value beside the result (put it after the inputs)",
    )
    group.add_argument(
        "--samples",
        type=count,
        default=1,
        metavar="N",
        help="draw N plausible pictures: the result is their mean, and each gets a file of its own",
    )
    group.add_argument(
        "--uncertainty",
        action="store_true",
        help=f"write the spread over the samples beside the result, 16-bit PNG, white = {WHITE} of the range",
    )
    group.add_argument(
        "--invented",
        action="store_true",
        help="write beside the result how far each pixel is expected to be from the truth, as a map like "
        "that of --uncertainty; the report tells how much is invented (34 evaluations more per tile)",
    )
    group.add_argument(
        "--max-memory", type=memory, metavar="SIZE", help="refuse pictures that need more, such as 2G"
    )


def add_archive(parser: argparse.ArgumentParser) -> None:
    """How many share the work, and where they are."""
    group = parser.add_argument_group(
        "archives", "With either of these a manifest in OUT/.relume says what is done: the same call goes on."
    )
    group.add_argument(
        "--shard", metavar="I/N", help="do the I-th of N parts; N processes anywhere do them all (1/1: one)"
    )
    group.add_argument(
        "--on",
        metavar="ray[://HOST:PORT]",
        help="work on a Ray cluster: that of RAY_ADDRESS or else this machine; or one by its client port",
    )


def shard_of(args: argparse.Namespace) -> Shard | None:
    """The part of an archive that is worked on; None: this is no archive, and there is no manifest.

    Raises:
        UsageError: there is no such part, or an option does not go with it.
    """
    if args.shard is None and args.on is None:
        return None
    shard = Shard.parse(args.shard or "1/1")
    if args.on is not None and args.on != "ray" and not args.on.startswith("ray://"):
        raise UsageError(f"--on {args.on}: give ray, or ray://HOST:PORT")
    if args.output in (None, STREAM) or Path(args.output).is_file():
        raise UsageError("an archive keeps its manifest in the folder of the results: give -o DIR")
    if STREAM in args.inputs:
        raise UsageError("an archive is files: stdin cannot be read again")
    return shard


def wanted_of(args: argparse.Namespace) -> Wanted:
    """Inputs and outputs."""
    shard = shard_of(args)
    return Wanted(
        inputs=args.inputs,
        output=args.output if shard is None else f"{args.output}/",  # a folder, there or not
        recursive=args.recursive,
        suffix=args.suffix,
        format=args.format,
        overwrite=args.overwrite,
        save_mask=args.save_mask,
        uncertainty=args.uncertainty,
        invented=args.invented,
        sidecar=args.sidecar or args.sign is not None or (args.mark is not None and not to_stdout(args)),
        samples=args.samples,
        shard=shard,
    )


def settings_of(args: argparse.Namespace) -> "Settings":
    """The settings of the task.

    Raises:
        UsageError: they contradict each other, or there is no such mask.
    """
    from relume.tasks import Settings

    if args.mask not in FOUND and not Path(args.mask).exists():
        raise UsageError(f"--mask {args.mask}: there is no such file or folder")
    return Settings(
        steps=args.steps,
        seed=args.seed,
        fidelity=args.fidelity,
        mask=args.mask if args.mask in FOUND else "auto",
        preserve=args.preserve,
        tone=args.tone,
        shading=args.shading,
        strength=args.strength,
        samples=args.samples,
        uncertainty=args.uncertainty,
        tile=args.tile,
        max_memory=args.max_memory,
    )


def told(args: argparse.Namespace) -> dict[str, Any]:
    """The options, as a report keeps them."""
    left_out = {"run", "command", "inputs", "report", "quiet", "verbose"}
    told = {key: value for key, value in sorted(vars(args).items()) if key not in left_out}
    # The key of a mark is a secret, and a report is not.
    return told | {"mark": args.mark is not None, "sign": args.sign is not None}
