r"""What does the Fourier loss do to the learned background? Its weight × its variant × the seed.

    python benchmarks/xray_study.py --name HERE
    python benchmarks/xray_study.py --weights 0 0.1 --variants complex --seeds 0 --steps 1500

Every run sees the same lights and samples for its seed and differs in the loss alone; the judge stays out.
The same command goes on after an interruption: what is finished is neither trained nor judged again. All nets
are given the same validation sessions. Figures are means over sessions and seeds; differences from no Fourier
loss are paired by session and seed, with 95 % bootstrap intervals; beside them the difference of each seed
alone, which says how far chance in the training moves it. The 51 short runs of the default take about 15
minutes of one core.
"""

__all__ = ["main"]

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from relume import __version__
from relume.background import corrected
from relume.bench.intervals import paired_bootstrap
from relume.bench.machine import machine
from relume.bench.transmission import hallucination, report
from relume.degrade.illumination import VALIDATION, Shot, Simulator
from relume.degrade.illumination.grid import answered, asked, working
from relume.files import place
from relume.train import TRAINABLE, Run, TrainConfig, micrographs, train
from relume.train.checkpoint import averaged
from relume.train.fourier import FOURIER

HERE = Path(__file__).resolve().parent
FIGURES = ("psnr", "ssim", "density_error", "flatness", "loss", "hallucination")
SIDE = 256  # pixels of the images that are judged
NET = {"channels": 4, "widths": (12, 24, 48, 96), "uncertain": True}
Row = dict[str, float]


BATCH, WARMUP, EMA = 8, 50, 0.99  # of short runs


def recipe(weight: float, variant: str, seed: int, steps: int) -> TrainConfig:
    """The recipe xray-coarse with a smaller net and smaller batches, without a judge."""
    settings = {"fourier": weight, "variant": variant}
    short = replace(TRAINABLE["xray-coarse"], batch=BATCH, warmup=WARMUP, ema=EMA)
    return replace(short, config=NET, steps=steps, seed=seed, settings=settings)


def trained(folder: Path, config: TrainConfig) -> Any:
    """The averaged net of a run, trained on from wherever it stands."""
    run = Run(None, folder, device="cpu", workers=0, save_every=100, look_every=config.steps)
    path = folder / "checkpoint.safetensors"
    if not path.is_file() or averaged(path)[2] < config.steps:
        print(folder.name, file=sys.stderr)
        path = train(config, run, report=lambda line: print(f"  {line}", file=sys.stderr))
    return averaged(path)[0].eval()


def background(net: Any, counts: np.ndarray) -> np.ndarray:
    grid = working((SIDE, SIDE), TRAINABLE["xray-coarse"].size, net.config.multiple_of)
    with torch.inference_mode():
        out = net(torch.from_numpy(asked(counts, grid, known=False))).numpy()
    field = answered(out, grid, (SIDE, SIDE))[0]
    return np.exp(field - np.median(field))


@cache
def seen(seed: int) -> tuple[Shot, Shot]:
    """Two samples in one light: painted once, shown to all nets."""
    simulator, index = Simulator(seed, SIDE), seed % 20
    return simulator.shot(index), simulator.shot(index, scene=simulator.scene((index + 7) % 20))


def judged(net: Any, sessions: int) -> list[Row]:
    """The figures of each validation session."""
    rows = []
    for seed in VALIDATION[:sessions]:
        shot, other = seen(seed)
        valid = shot.vignette > 0.97
        one, two = (background(net, each.raw - each.dark) for each in (shot, other))
        found = report(corrected(shot.raw, one, dark=shot.dark), shot.clean, valid)
        row = {figure: getattr(found, figure) for figure in FIGURES[:-1]}
        rows.append(row | {"hallucination": hallucination(one, two, valid)})
    return rows


def answered_for(folder: Path, config: TrainConfig, sessions: int) -> list[Row]:
    """The figures of one run; kept in its folder."""
    path = folder / f"figures-{sessions}.json"
    if not path.is_file():
        place(json.dumps(judged(trained(folder, config), sessions)).encode(), path, overwrite=True)
    found: list[Row] = json.loads(path.read_text())
    return found


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
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--sessions", type=int, default=16)
    parser.add_argument("--runs", type=Path, default=Path("runs/xray-study"))
    parser.add_argument("--name", default="unnamed", help="name of the machine, for the file")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, list[Row]] = {}
    # all runs of a seed see the same lights and samples: they are painted once
    with patch.object(micrographs, "painted", lru_cache(maxsize=4096)(micrographs.painted)):
        for seed in args.seeds:
            for weight, variant in grid(args.weights, args.variants):
                name = f"{variant} {weight:g}" if weight else "none"
                folder = args.runs / f"{name.replace(' ', '-')}-seed{seed}-{args.steps}"
                found = answered_for(folder, recipe(weight, variant, seed, args.steps), args.sessions)
                rows.setdefault(name, []).extend(found)
    print(table(rows, len(args.seeds)))
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
        "batch": BATCH,
        "seeds": args.seeds,
        "sessions": args.sessions,
        "rows": values,
    }


def table(rows: dict[str, list[Row]], seeds: int) -> str:
    """Means, and the difference in PSNR from no Fourier loss: of all pairs, and seed by seed."""
    lines = ["| Fourier loss | " + " | ".join(FIGURES) + " | PSNR against none | seed by seed |"]
    lines.append("|---|" + "---|" * (len(FIGURES) + 2))
    none = [row["psnr"] for row in rows["none"]]
    for name, found in rows.items():
        means = [f"{np.nanmean([row[figure] for row in found]):.3f}" for figure in FIGURES]
        values = [row["psnr"] for row in found]
        against = paired_bootstrap(values, none)
        difference = f"{against.mean:+.2f} ({against.low:+.2f} to {against.high:+.2f})"
        each = np.subtract(values, none).reshape(seeds, -1).mean(1)
        alone = " ".join(f"{value:+.2f}" for value in each)
        lines.append(f"| {name} | " + " | ".join([*means, difference, alone]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
