r"""``relume train``: learn from a folder of photographs."""

__all__ = ["add", "run"]

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relume.cli.console import Console
from relume.cli.export import learned
from relume.cli.extras import need
from relume.cli.options import Subparsers, add_talk, count, from_zero, number
from relume.errors import UsageError

if TYPE_CHECKING:
    from relume.train import TrainConfig

_EPILOG = """\
photo is the local net of the photo restorer, photo-tone what revives its tone and photo-shading what
makes its light even (it may be left out; photo-uneven is a start for its --init); relume export makes a
model of them. ddpm is the conditional 300-step system, generator its unconditional first stage (relume
generate). latent-clean, latent-old and latent-map are the three stages of latent translation, in this
order. xray reads the background off X-ray images and learns from a simulator (xray-coarse, on half of the
grid, is a start for its --init); xray-references is what it becomes with --data REFERENCES, a file or folder
of empty fields: the model xray goes on with your instrument. The same command goes on after an
interruption. On several GPUs: accelerate launch -m relume train ...; in N processes on a CPU, each with a
batch of its own: OMP_NUM_THREADS=1 torchrun --nproc-per-node N -m relume train ...
"""


def add(subparsers: "Subparsers") -> None:
    """Declares the command."""
    parser = subparsers.add_parser(
        "train",
        help="learn from photographs, or from simulated micrographs",
        description="Trains a net on pairs that are made on the fly: photographs and their damage, or X-ray "
        "images and their background.",
        epilog=_EPILOG,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "name",
        metavar="NAME",
        help="photo, photo-tone, photo-uneven, photo-shading, ddpm, generator, xray-coarse, xray or "
        "latent-clean, -old, -map",
    )
    parser.add_argument("--data", type=Path, metavar="PATH", help="photographs; for xray empty fields")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="checkpoint, curves, samples")
    recipe = parser.add_argument_group("recipe (default: the net's own)")
    recipe.add_argument("--steps", type=count, metavar="N", help="how long")
    recipe.add_argument("--batch", type=count, metavar="N", help="pictures a step")
    recipe.add_argument("--size", type=count, metavar="N", help="side of the crops in pixels")
    recipe.add_argument("--lr", type=number(1e-9, 1), metavar="X", help="learning rate")
    recipe.add_argument(
        "--optimizer",
        choices=("adamw", "muon"),
        help="muon: orthogonal steps for kernels, AdamW for the rest",
    )
    recipe.add_argument("--seed", type=from_zero, metavar="N", help="decides all that is random")
    recipe.add_argument(
        "--exclude", nargs="+", metavar="PREFIX", help="leave out files whose names begin like this"
    )
    recipe.add_argument(
        "--setting",
        nargs="+",
        default=[],
        type=_setting,
        metavar="NAME=VALUE",
        help="of the objective: clean=FILE and old=FILE are the two autoencoders of latent-map",
    )
    running = parser.add_argument_group("running")
    running.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu or cuda")
    running.add_argument("--precision", default="auto", metavar="NAME", help="auto, f32 or bf16")
    running.add_argument("--compile", action="store_true", help="use torch.compile")
    running.add_argument(
        "--workers", type=from_zero, default=1, metavar="N", help="processes that make pairs"
    )
    running.add_argument("--save-every", type=count, default=500, metavar="N", help="steps (default: 500)")
    running.add_argument("--look-every", type=count, default=1000, metavar="N", help="steps (default: 1000)")
    running.add_argument(
        "--init", type=Path, metavar="PATH", help="a checkpoint or model to start a fresh run from"
    )
    running.add_argument(
        "--old", type=Path, metavar="DIR", help="genuine old photographs, which latent-old learns from too"
    )
    add_talk(parser)


def run(args: argparse.Namespace) -> int:
    """Trains."""
    need("train", "training")
    from relume.train import Run, train

    config = _config(args)
    console = Console.of(args)
    where = Run(
        data=args.data,
        out=args.out,
        device=args.device,
        precision=args.precision,
        compiled=args.compile,
        workers=args.workers,
        save_every=args.save_every,
        look_every=args.look_every,
        init=_start(args, config),
        old=args.old,
    )
    first = os.environ.get("RANK", "0") == "0"  # of several processes one talks
    if first:
        console.note(f"curves: {args.out / 'log.jsonl'}; samples: {args.out / 'samples-*.png'}")
    checkpoint = train(config, where, report=console.note)
    if first:
        console.note(f"trained: {checkpoint}")
    return 0


def _start(args: argparse.Namespace, config: "TrainConfig") -> Path | None:
    """What a fresh run starts from: as asked; a run on an instrument's references from the model xray."""
    if args.init is not None:
        return learned(args.init)
    if config.source != "references":
        return None
    from relume import bundle

    return bundle.find("xray").path


def _config(args: argparse.Namespace) -> "TrainConfig":
    """The recipe of that name with what the options change."""
    from relume.train import TRAINABLE

    name = "xray-references" if args.name == "xray" and args.data is not None else args.name
    if name not in TRAINABLE:
        raise UsageError(f"nothing to train is called {args.name!r}; there are: {', '.join(TRAINABLE)}")
    config = TRAINABLE[name]
    return replace(
        config,
        steps=args.steps or config.steps,
        batch=args.batch or config.batch,
        size=args.size or config.size,
        lr=args.lr or config.lr,
        optimizer=args.optimizer or config.optimizer,
        seed=config.seed if args.seed is None else args.seed,
        exclude=config.exclude if args.exclude is None else tuple(args.exclude),
        settings={**config.settings, **dict(args.setting)},
    )


def _setting(text: str) -> tuple[str, Any]:
    """``name=value``; a value is JSON where it can be, and text else."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
