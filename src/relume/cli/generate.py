r"""``relume generate``: the original 300-step system, from pure noise.

Its first stage draws pictures from noise alone; its conditional net is given a damaged picture to restore.
"""

__all__ = ["add", "run", "trained"]

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relume.cli.console import Console, Progress
from relume.cli.export import checkpoint
from relume.cli.extras import need
from relume.cli.options import Subparsers, add_talk, count, from_zero
from relume.cli.target import free
from relume.errors import BundleCorrupt, EngineUnavailable, TrainingError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from relume.diffusion.parametrize import Predicts


def add(subparsers: "Subparsers") -> None:
    """Declares the command."""
    parser = subparsers.add_parser(
        "generate",
        help="draw pictures from pure noise",
        description="Draws pictures from pure noise with a checkpoint of relume train generator, or restores "
        "a picture with one of relume train ddpm, the 300-step baseline.",
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="FILE", help="the checkpoint, or its folder"
    )
    parser.add_argument("--condition", metavar="PICTURE", help="the damaged picture, for a conditional net")
    parser.add_argument(
        "--sampler",
        default="ddpm",
        metavar="NAME",
        help="ddpm (default), ddim, dpm++1, dpm++2s, dpm++2m, dpm++3m, dpm++sde1, dpm++sde2m or unipc",
    )
    parser.add_argument(
        "--steps", type=count, metavar="N", help="evaluations of the net (default: 300, as trained)"
    )
    parser.add_argument("--seed", type=from_zero, default=0, metavar="N", help="of the first (default: 0)")
    parser.add_argument("-n", "--number", type=count, default=1, metavar="N", help="pictures (default: 1)")
    parser.add_argument("--size", type=count, metavar="N", help="side in pixels (default: as trained)")
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu (default), cuda or cuda:N")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT.png", help="one sheet of all"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    add_talk(parser)


def run(args: argparse.Namespace) -> int:
    """Generates."""
    need("train", "generating")
    from relume import image
    from relume.tasks.generate import TRAINED_STEPS, drawn, table

    steps = args.steps or TRAINED_STEPS
    chain = table(args.sampler, steps)
    free(args.output, overwrite=args.overwrite)
    path = checkpoint(args.checkpoint)
    net, size, predicts = trained(path, args.size, conditional=args.condition is not None, device=args.device)
    console = Console.of(args)
    condition = None if args.condition is None else image.read(args.condition).srgb()
    height, width = (size, size) if condition is None else condition.shape[:2]
    progress = Progress(1, console)
    progress.begin("sampling")
    seeds = range(args.seed, args.seed + args.number)
    pictures = drawn(
        net,
        chain,
        (height, width),
        seeds,
        damaged=condition,
        predicts=predicts,
        device=args.device,
        progress=progress.tiles,
    )
    progress.close()
    image.write(image.Image(_sheet(pictures)), args.output, overwrite=args.overwrite)
    console.note(f"{args.number} × {width}×{height}, {args.sampler}, {steps} steps → {args.output}")
    return 0


def trained(path: Path, side: int | None, *, conditional: bool, device: str) -> "tuple[Any, int, Predicts]":
    """The averaged net of a checkpoint on its device, the side of its pictures, and what it predicts.

    Raises:
        BundleCorrupt: the file is no whole checkpoint.
        UsageError: the net is of another kind, or the side does not fit it.
        EngineUnavailable: there is no such device.
    """
    import torch
    from safetensors import SafetensorError

    from relume.train.checkpoint import averaged

    try:
        net, facts, _ = averaged(path)
    except (TrainingError, SafetensorError, RuntimeError) as error:
        raise BundleCorrupt(f"{path} is no whole checkpoint of relume train ({error})") from error
    if facts["net"] != "unet":
        raise UsageError(f"{path} is of another net: what is wanted is one of relume train generator or ddpm")
    if net.config.conditional != conditional:
        way = "needs --condition PICTURE" if net.config.conditional else "takes no --condition"
        raise UsageError(f"{path} is a net that {way}")
    size = side or int(facts["size"])
    if size % net.config.multiple_of:
        raise UsageError(f"--size {size} does not fit this net: give a multiple of {net.config.multiple_of}")
    try:
        return net.to(torch.device(device)), size, facts["settings"].get("predicts", "eps")
    except (RuntimeError, AssertionError) as error:
        raise EngineUnavailable(f"torch has no device {device} here; use --device cpu") from error


def _sheet(pictures: "NDArray[np.float32]") -> "NDArray[np.float32]":
    """All pictures on one nearly square sheet, row by row; places that stay free are white."""
    import numpy as np

    count, height, width, channels = pictures.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = np.ones((rows * columns, height, width, channels), np.float32)
    sheet[:count] = pictures
    return np.ascontiguousarray(
        sheet.reshape(rows, columns, height, width, channels)
        .transpose(0, 2, 1, 3, 4)
        .reshape(rows * height, columns * width, channels)
    )
