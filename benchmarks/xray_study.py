r"""What does the Fourier loss do to the learned background? Its weight × its variant × the seed.

    python benchmarks/xray_study.py --steps 1500 --runs runs/xray-study --name HERE
    python benchmarks/xray_study.py --weights 0 0.1 --variants complex --seeds 0 --steps 300

Every run sees the same lights and samples for its seed and differs in the loss alone; the judge stays out.
The same command goes on after an interruption: what is finished is not trained again. All nets are then given
the same validation sessions. Figures are means over sessions and seeds; differences from no Fourier loss are
paired by session and seed, with 95 % bootstrap intervals.
"""

__all__ = ["main"]

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from relume import __version__
from relume.background import corrected
from relume.bench.intervals import paired_bootstrap
from relume.bench.machine import machine
from relume.bench.transmission import hallucination, report
from relume.degrade.illumination import VALIDATION, Simulator
from relume.degrade.illumination.grid import answered, asked, working
from relume.train import TRAINABLE, Run, TrainConfig, train
from relume.train.checkpoint import averaged
from relume.train.fourier import FOURIER

HERE = Path(__file__).resolve().parent
FIGURES = ("psnr", "ssim", "density_error", "flatness", "loss", "hallucination")
SIDE = 256  # pixels of the images that are judged
NET = {"channels": 4, "widths": (12, 24, 48, 96), "uncertain": True}
Row = dict[str, float]


def recipe(weight: float, variant: str, seed: int, steps: int) -> TrainConfig:
    """The recipe of the model xray with a smaller net, without a judge."""
    settings = {"fourier": weight, "variant": variant}
    return replace(TRAINABLE["xray"], config=NET, steps=steps, seed=seed, settings=settings)


def trained(folder: Path, config: TrainConfig) -> Any:
    """The averaged net of a run, trained on from wherever it stands."""
    run = Run(None, folder, device="cpu", workers=0, save_every=100, look_every=config.steps)
    path = folder / "checkpoint.safetensors"
    if not path.is_file() or averaged(path)[2] < config.steps:
        print(folder.name, file=sys.stderr)
        path = train(config, run, report=lambda line: print(f"  {line}", file=sys.stderr))
    return averaged(path)[0].eval()


def background(net: Any, counts: np.ndarray) -> np.ndarray:
    grid = working((SIDE, SIDE), TRAINABLE["xray"].size, net.config.multiple_of)
    with torch.inference_mode():
        out = net(torch.from_numpy(asked(counts, grid, known=False))).numpy()
    field = answered(out, grid, (SIDE, SIDE))[0]
    return np.exp(field - np.median(field))


def judged(net: Any, sessions: int) -> list[Row]:
    """The figures of each validation session."""
    rows = []
    for seed in VALIDATION[:sessions]:
        simulator, index = Simulator(seed, SIDE), seed % 20
        shot = simulator.shot(index)
        other = simulator.shot(index, scene=simulator.scene((index + 7) % 20))
        valid = shot.vignette > 0.97
        one, two = (background(net, each.raw - each.dark) for each in (shot, other))
        found = report(corrected(shot.raw, one, dark=shot.dark), shot.clean, valid)
        row = {figure: getattr(found, figure) for figure in FIGURES[:-1]}
        rows.append(row | {"hallucination": hallucination(one, two, valid)})
    return rows


def grid(weights: Sequence[float], variants: Sequence[str]) -> list[tuple[float, str]]:
    """Without a weight all variants are one."""
    cells = [(weight, variant) for weight in weights if weight for variant in variants]
    return [(0.0, variants[0]), *cells]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=float, nargs="+", default=[0, 0.01, 0.1, 1, 10])
    parser.add_argument("--variants", nargs="+", default=list(FOURIER), choices=list(FOURIER))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--sessions", type=int, default=48)
    parser.add_argument("--runs", type=Path, default=Path("runs/xray-study"))
    parser.add_argument("--name", default="unnamed", help="name of the machine, for the file")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, list[Row]] = {}
    for weight, variant in grid(args.weights, args.variants):
        name = f"{variant} {weight:g}" if weight else "none"
        rows[name] = []
        for seed in args.seeds:
            folder = args.runs / f"{name.replace(' ', '-')}-seed{seed}-{args.steps}"
            net = trained(folder, recipe(weight, variant, seed, args.steps))
            rows[name] += judged(net, args.sessions)
    print(table(rows))
    target = args.out / f"xray-study--{args.name}--cpu.json"
    args.out.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(facts(args, rows), indent=1) + "\n")
    print(target)


def facts(args: argparse.Namespace, rows: dict[str, list[Row]]) -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=HERE
    ).stdout.strip()
    values = {
        name: {
            figure: [round(row[figure], 5) if np.isfinite(row[figure]) else None for row in found]
            for figure in FIGURES
        }
        for name, found in rows.items()
    }
    return {
        "suite": "xray-study",
        "version": __version__,
        "commit": commit,
        "machine": machine() | {"threads": 1},
        "steps": args.steps,
        "seeds": args.seeds,
        "sessions": args.sessions,
        "rows": values,
    }


def table(rows: dict[str, list[Row]]) -> str:
    """Means, and the difference in PSNR from no Fourier loss."""
    lines = ["| Fourier loss | " + " | ".join(FIGURES) + " | PSNR against none |"]
    lines.append("|---|" + "---|" * (len(FIGURES) + 1))
    for name, found in rows.items():
        means = [f"{np.nanmean([row[figure] for row in found]):.3f}" for figure in FIGURES]
        against = paired_bootstrap([row["psnr"] for row in found], [row["psnr"] for row in rows["none"]])
        difference = f"{against.mean:+.2f} ({against.low:+.2f} to {against.high:+.2f})"
        lines.append(f"| {name} | " + " | ".join([*means, difference]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
