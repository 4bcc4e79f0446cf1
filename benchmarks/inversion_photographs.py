"""How exactly is a trained sampler run backwards on photographs, by which method, at how many evaluations?

The net is the bundle of inversion_net.py, which learned with and without its condition. Held-out
photographs are reduced to 64×64 and damaged by the recipe; the sampler makes a picture of known noise with
the damaged copy as condition, and is run backwards from that picture. The noise is compared with the true
one, and the picture that is made of it once more with the first. Every run is kept and none is made twice:
the same command goes on. --page writes the table between the marks of docs/inversion.md.

--sheet draws them: the damaged photograph, the picture, and what is made of the noise that each method
found.
"""

import argparse
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from inversion import METHODS, decibels, spread
from inversion_net import BUNDLE, GRAPH
from pages import placed
from quality import chosen, git
from relume import __version__, bundle, engines, image
from relume.bench.machine import machine
from relume.cli.streams import as_json, write_text
from relume.diffusion import NOISE_SAMPLERS, begin, denoiser, gaussian_noise, guided, linear, sample
from relume.invert.inversion import rms
from relume.tasks.compare import resized
from relume.tasks.evaluate import damaged_by

HERE = Path(__file__).resolve().parent
SCHEDULE = linear(300)
SIDE, RECIPE, SEED = 64, "old-photo", 0
TOLERANCE = 1e-4  # -80 dB; float32 and the end of the schedule leave about 1e-5
SAMPLERS = ("ddim", "dpm++2m")
STEPS = (10, 20, 50)
SCALES = (1.0, 3.0, 7.5)
SHOWN = {
    "naive": "naive",
    "published": "published: forward step, no sweeps",
    "ours": "as shipped: and again where that fails",
}
Net = tuple[Any, str]  # an engine, and what it predicts
Key = tuple[str, str, int, float, str]


@dataclass(frozen=True)
class Chain:
    """A sampler with its net: everything that makes a picture of noise."""

    engine: Any
    predicts: Any
    sampler: str
    steps: int
    scale: float
    condition: Any

    @property
    def table(self) -> Any:
        return NOISE_SAMPLERS[self.sampler](SCHEDULE, self.steps)

    @property
    def denoise(self) -> Any:
        def net(x: Any, t: float, condition: Any) -> Any:
            return np.array(self.engine(np.ascontiguousarray(x), np.full(len(x), t, np.float32), condition))

        exact = denoiser(net, SCHEDULE, predicts=self.predicts)
        return guided(exact, self.scale, unconditional=np.zeros_like(self.condition))

    def made(self, noise: Any) -> Any:
        return sample(self.table, self.denoise, noise, condition=self.condition)

    def inverted(self, method: str, picture: Any) -> Any:
        run = partial(METHODS[SHOWN[method]], tolerance=TOLERANCE, condition=self.condition)
        return run(self.table, SCHEDULE, self.denoise, picture)


def condition_of(path: Path) -> Any:
    """The damaged copy of a photograph's middle, 1×3×64×64 in [-1,1]."""
    clean = image.read(path).srgb()
    height, width = clean.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    small = image.Image(resized(clean[top : top + side, left : left + side], SIDE, SIDE))
    damaged = damaged_by(path.name, small, recipe_name=RECIPE, seed=SEED).damaged.srgb()
    return np.ascontiguousarray(2 * damaged.transpose(2, 0, 1)[None] - 1, np.float32)


def noise_of(path: Path, chain: Chain) -> Any:
    """A photograph's own noise, the same in every cell."""
    seed = zlib.crc32(path.name.encode())
    return begin(chain.table, noise=gaussian_noise(seed, chain.condition.shape))


def runs(
    net: Net, files: Sequence[Path], args: argparse.Namespace, known: set[Key]
) -> Iterator[dict[str, Any]]:
    """One inversion after another, photograph by photograph, without those that are known."""
    for path in files:
        condition = condition_of(path)
        for sampler, steps, scale in product(args.samplers, args.steps, args.scales):
            lacking = [m for m in SHOWN if (path.name, sampler, steps, scale, m) not in known]
            if not lacking:
                continue
            chain = Chain(*net, sampler, steps, scale, condition)
            noise = noise_of(path, chain)
            picture = chain.made(noise)
            for method in lacking:
                found = chain.inverted(method, picture)
                yield {
                    "photograph": path.name,
                    "sampler": sampler,
                    "steps": steps,
                    "guidance": scale,
                    "method": method,
                    "noise_nmse_db": round(decibels(found.x, noise), 2),
                    "picture_nmse_db": round(decibels(chain.made(found.x), picture), 2),
                    "converged": found.converged,
                    "sweeps": found.sweeps,
                    "evaluations": found.iterations,
                    "picture_rms": round(rms(picture), 3),
                }


def key(row: dict[str, Any]) -> Key:
    return row["photograph"], row["sampler"], row["steps"], row["guidance"], row["method"]


def cells(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Medians over the photographs."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(key(row)[1:], []).append(row)
    return [
        {
            **dict(zip(("sampler", "steps", "guidance", "method"), group, strict=True)),
            "converged": f"{sum(row['converged'] for row in found)}/{len(found)}",
            **{name: spread([row[name] for row in found]) for name in ("noise_nmse_db", "picture_nmse_db")},
            "evaluations": float(np.median([row["evaluations"] for row in found])),
        }
        for group, found in sorted(
            groups.items(), key=lambda each: (*each[0][:3], list(SHOWN).index(each[0][3]))
        )
    ]


def table(found: Sequence[dict[str, Any]]) -> str:
    """The table of docs/inversion.md: NMSE of noise and picture in dB, how many converged, evaluations."""
    shown: dict[tuple[Any, ...], dict[str, str]] = {}
    for cell in found:
        noise, picture = (cell[name]["median"] for name in ("noise_nmse_db", "picture_nmse_db"))
        text = f"{noise:.0f}, {picture:.0f} · {cell['converged']}".replace("-", "−")
        if cell["method"] != "naive":
            text += f" · {cell['evaluations']:.0f}"
        shown.setdefault((cell["sampler"], cell["steps"], cell["guidance"]), {})[cell["method"]] = text
    lines = ["| sampler | steps | w | " + " | ".join(SHOWN) + " |", "|---" * (3 + len(SHOWN)) + "|"]
    for (sampler, steps, scale), columns in shown.items():
        cells = " | ".join(columns.get(method, "") for method in SHOWN)
        lines.append(f"| {sampler} | {steps} | {scale:g} | {cells} |")
    return "\n".join(lines)


def sheet(net: Net, files: Sequence[Path], out: Path, *, sampler: str, steps: int, scale: float) -> None:
    """Rows of: damaged, the picture, and what naive, published and our inversion make of it again."""
    strips = []
    for path in files:
        chain = Chain(*net, sampler, steps, scale, condition_of(path))
        picture = chain.made(noise_of(path, chain))
        again = [chain.made(chain.inverted(method, picture).x) for method in SHOWN]
        strips.append(np.concatenate([chain.condition, picture, *again], axis=3)[0])
    levels = ((np.concatenate(strips, axis=1).transpose(1, 2, 0) + 1) * 127.5).clip(0, 255).round()
    drawn = Image.fromarray(levels.astype(np.uint8))
    drawn.resize((2 * drawn.width, 2 * drawn.height), Image.Resampling.NEAREST).save(out, quality=88)


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, help="folder of photographs, held out")
    parser.add_argument("--count", type=int, default=6, help="of them, evenly spread")
    parser.add_argument("--model", default=BUNDLE, help="bundle of inversion_net.py")
    parser.add_argument("--engine", default="onnx", help="which computes the net, in float32")
    parser.add_argument("--samplers", nargs="+", default=SAMPLERS, choices=list(NOISE_SAMPLERS))
    parser.add_argument("--steps", nargs="+", type=int, default=STEPS)
    parser.add_argument("--scales", nargs="+", type=float, default=SCALES)
    parser.add_argument("--most", type=int, help="stop after so many runs")
    parser.add_argument(
        "--sheet", type=Path, help="draw pictures instead, by the first sampler, steps and scale"
    )
    parser.add_argument("--page", type=Path, help="write the table between the marks of this page, too")
    parser.add_argument("--name", default="unnamed", help="name of the machine, for the file")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> Path:
    args = options(argv)
    model = bundle.find(args.model)
    from relume.nets import build

    engine = engines.load(model, GRAPH, engine=args.engine, precision="f32", threads=1, build=build)
    net = engine, model.card["schedule"]["predicts"]
    files = chosen(args.photos, args.count)
    if args.sheet:
        sheet(net, files, args.sheet, sampler=args.samplers[0], steps=args.steps[0], scale=args.scales[0])
        return Path(args.sheet)
    target = args.out / f"inversion-photographs--{args.name}--cpu.json"
    before = json.loads(target.read_text()) if target.exists() else {}
    rows = before.get("runs", []) if before.get("model", {}).get("hash") == model.hash else []
    args.out.mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(runs(net, files, args, {key(row) for row in rows}), start=1):
        rows.append(row)
        report = {
            "suite": "inversion-photographs",
            "version": __version__,
            "commit": git("rev-parse", "HEAD"),
            "machine": machine(),
            "model": {"name": model.name, "hash": model.hash},
            "engine": args.engine,
            "tolerance": TOLERANCE,
            "damage": {"recipe": RECIPE, "seed": SEED, "side": SIDE},
            "cells": cells(rows),
            "runs": rows,
        }
        write_text(as_json(report), target, overwrite=True)
        if number == args.most:
            break
    text = table(cells(rows))
    if args.page is not None:
        placed(args.page, "photographs", text)
    print(text, target, sep="\n")
    return target


if __name__ == "__main__":
    main()
