"""Trains and exports the net whose sampler inversion_photographs.py runs backwards.

A small U-Net that sees a 64×64 photograph mixed with noise beside its damaged copy and predicts the
velocity; on 12 % of the pictures that condition is dropped, so that it can be guided. One thread; the same
command goes on after an interruption. --export makes a bundle of the checkpoint, as far as it has come.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from relume import __version__, engines
from relume.bundle import Bundle
from relume.diffusion import gaussian_noise
from relume.nets import build
from relume.train import TRAINABLE, Run, train
from relume.train.checkpoint import averaged
from relume.train.export import plain, write_bundle
from relume.train.objectives.noise import STEPS
from relume.train.parity import compared

HERE = Path(__file__).resolve().parent
BUNDLE = HERE / "models" / "noise"
GRAPH = "noise"
RECIPE = replace(
    TRAINABLE["ddpm"],
    config={"base": 8, "multipliers": [1, 2, 4, 8], "groups": 4},
    settings={"drop": 0.12, "predicts": "v"},
    batch=8,
    steps=6000,
    lr=1e-3,
    warmup=100,
    ema=0.998,
    exclude=("vvrec_", "vvbio_"),
)


def card(net: Any, facts: dict[str, Any], step: int, data: str, history: str) -> dict[str, Any]:
    picture = ["batch", 3, "height", "width"]
    return {
        "name": "noise",
        "version": __version__,
        "task": "generate",
        "title": "Noise in small photographs",
        "description": (
            "Sees a 64×64 photograph in [-1,1] mixed with noise beside its damaged copy, and predicts the "
            "velocity on the schedule linear(300); a condition of zeros is none. Too small and too briefly "
            "trained to restore with: it is there to have its sampler run backwards."
        ),
        "licence": "Apache-2.0",
        "graphs": {
            GRAPH: {
                "file": "graph.onnx",
                "net": {"kind": facts["net"], "config": plain(net)},
                "prefix": f"{GRAPH}.",
                "inputs": [
                    {"name": "x", "shape": picture},
                    {"name": "t", "shape": ["batch"]},
                    {"name": "condition", "shape": picture},
                ],
                "outputs": [{"name": "velocity", "shape": picture}],
            }
        },
        "multiple_of": net.config.multiple_of,
        "schedule": {"name": "linear", "levels": STEPS, "predicts": facts["settings"]["predicts"]},
        "training": {
            "data": data,
            "history": history,
            "licence": "CC0, public domain, Unsplash/Pexels/Pixabay, MIT, CC BY 4.0; nothing non-commercial "
            "or research-only",
            GRAPH: {"recipe": facts, "step": step, "samples": step * facts["batch"]},
        },
    }


def agree(bundle: Bundle, side: int) -> dict[str, dict[str, float]]:
    """The engines on pure noise, half noise and next to none."""
    draw = gaussian_noise(0, (1, 3, side, side))
    cases = [(draw(i), np.full(1, t, np.float32), draw(9 + i) / 2) for i, t in enumerate((1.0, 0.5, 0.01))]

    def answers(engine: str, precision: str) -> list[Any]:
        net = engines.load(bundle, GRAPH, engine=engine, precision=precision, build=build, force=True)
        return [net(*case) for case in cases]

    return compared(answers)


def export(checkpoint: Path, out: Path, *, data: str, history: str, overwrite: bool = False) -> Bundle:
    """The averaged net of a checkpoint as a bundle, if the engines agree on it."""
    net, facts, step = averaged(checkpoint)
    side = facts["size"]
    pictures = torch.randn(2, 2, 3, side, 2 * side)
    return write_bundle(
        out,
        card(net, facts, step, data, history),
        {GRAPH: net},
        {GRAPH: (pictures[0], torch.rand(2), pictures[1])},
        measure=lambda written: agree(written, side),
        overwrite=overwrite,
    )


def main(argv: Sequence[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of photographs to learn from: trains")
    parser.add_argument("--out", type=Path, default=Path("runs/noise"), help="folder of the checkpoint")
    parser.add_argument("--steps", type=int, default=RECIPE.steps)
    parser.add_argument(
        "--export", metavar="TEXT", help="makes the bundle; what it learned from, for the card"
    )
    parser.add_argument("--history", default="", metavar="TEXT", help="how it was trained, for the card")
    parser.add_argument("--bundle", type=Path, default=BUNDLE)
    parser.add_argument("--overwrite", action="store_true")
    args = parser.parse_args(argv)
    if args.data is None and args.export is None:
        parser.error("nothing to do: give --data, --export or both")
    torch.set_num_threads(1)
    if args.data is not None:
        where = Run(data=args.data, out=args.out, device="cpu", precision="f32", workers=0, save_every=250)
        train(replace(RECIPE, steps=args.steps), where)
    if args.export is not None:
        facts = {"data": args.export, "history": args.history, "overwrite": args.overwrite}
        export(args.out / "checkpoint.safetensors", args.bundle, **facts)
    return args.bundle


if __name__ == "__main__":
    main()
