r"""``relume generate``: the original 300-step system, from pure noise.

Its first stage draws pictures from noise alone; its conditional net is given a damaged picture to restore.
"""

__all__ = ["add", "run"]

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relume.cli.console import Console, Progress
from relume.cli.export import checkpoint
from relume.cli.extras import need
from relume.cli.options import Subparsers, add_talk, count, from_zero
from relume.errors import BundleCorrupt, EngineUnavailable, OutputExists, TrainingError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TRAINED_STEPS = 300


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
        "--steps", type=count, default=TRAINED_STEPS, metavar="N", help=f"default: {TRAINED_STEPS}"
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
    from relume.diffusion import NOISE_SAMPLERS, linear

    if args.sampler not in NOISE_SAMPLERS:
        raise UsageError(f"no sampler is called {args.sampler!r}; there are: {', '.join(NOISE_SAMPLERS)}")
    if args.output.exists() and not args.overwrite:
        raise OutputExists(f"{args.output} exists; choose another name, or give --overwrite")
    table = NOISE_SAMPLERS[args.sampler](linear(TRAINED_STEPS), args.steps)
    net, size = _net(checkpoint(args.checkpoint), args)
    console = Console.of(args)
    condition = None if args.condition is None else image.read(args.condition).srgb()
    height, width = (size, size) if condition is None else condition.shape[:2]
    pictures = _sample(net, table, (height, width), condition, args, console)
    image.write(image.Image(_sheet(pictures)), args.output, overwrite=args.overwrite)
    console.note(f"{args.number} × {width}×{height}, {args.sampler}, {args.steps} steps → {args.output}")
    return 0


def _net(path: Path, args: argparse.Namespace) -> tuple[Any, int]:
    """The averaged net of a checkpoint on its device, and the side of the pictures it was trained on."""
    import torch
    from safetensors import SafetensorError

    from relume.train.export import averaged

    try:
        net, facts, _ = averaged(path)
    except (TrainingError, SafetensorError, RuntimeError) as error:
        raise BundleCorrupt(f"{path} is no whole checkpoint of relume train ({error})") from error
    if facts["net"] != "unet":
        raise UsageError(
            f"{path} is of another net: relume generate takes one of relume train generator or ddpm"
        )
    if net.config.conditional != (args.condition is not None):
        way = "needs --condition PICTURE" if net.config.conditional else "takes no --condition"
        raise UsageError(f"{path} is a net that {way}")
    size = args.size or int(facts["size"])
    if size % net.config.multiple_of:
        raise UsageError(f"--size {size} does not fit this net: give a multiple of {net.config.multiple_of}")
    try:
        return net.to(torch.device(args.device)), size
    except (RuntimeError, AssertionError) as error:
        raise EngineUnavailable(f"torch has no device {args.device} here; use --device cpu") from error


def _conditioned(condition: "NDArray[np.float32]", net: Any, args: argparse.Namespace) -> Any:
    """The damaged picture N×3×H'×W' in [-1,1], mirrored to the size that the net can take."""
    import numpy as np
    import torch

    multiple = net.config.multiple_of
    height, width, channels = condition.shape
    if channels == 1:
        condition = np.repeat(condition, 3, axis=2)
    padding = ((0, -height % multiple), (0, -width % multiple), (0, 0))
    padded = np.pad(condition, padding, mode="symmetric")
    batch = torch.from_numpy(2 * padded.transpose(2, 0, 1)[None] - 1).float().to(args.device)
    return batch.repeat(args.number, 1, 1, 1)


def _sample(
    net: Any,
    table: Any,
    size: tuple[int, int],
    damaged: "NDArray[np.float32] | None",
    args: argparse.Namespace,
    console: Console,
) -> "NDArray[np.float32]":
    """N×H×W×3 in [0,1]; the seed of each picture is its own, so that it does not know its neighbours."""
    import numpy as np
    import torch

    from relume.diffusion import begin, denoiser, gaussian_noise, linear, sample

    seeds = range(args.seed, args.seed + args.number)
    condition = None if damaged is None else _conditioned(damaged, net, args)
    shape = size if condition is None else tuple(condition.shape[2:])
    draw = gaussian_noise(seeds, (net.config.channels, *shape))
    progress = Progress(1, console)

    def noise(step: int) -> Any:
        return torch.from_numpy(draw(step)).to(args.device)

    def predict(x: Any, t: float, condition: Any) -> Any:
        return net(x, torch.full((len(x),), t, device=x.device), condition)

    progress.begin("sampling")
    with torch.inference_mode():
        x = sample(
            table,
            denoiser(predict, linear(TRAINED_STEPS), predicts="eps", clip=1.0),
            begin(table, noise=noise),
            condition=condition,
            noise=noise,
            callback=lambda step, *_: progress.tiles(step, table.evaluations),
        )
    progress.close()
    pictures = ((x.float() + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    return np.ascontiguousarray(pictures[:, : size[0], : size[1]], dtype=np.float32)


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
