"""Does a mark survive what happens to pictures, how often is one seen where none is, and what does it cost?

noise: a tree ring in the restorer's starting noise, looked for by inversion (the damaged picture is known).
attacks: the lattice in restored photographs, damaged by the recipe first; p after each attack, PSNR and SSIM.
unmarked: p of the lattice in 10,000 pictures without it, crops of photographs and synthetic ones.

Each run goes on where the last one stopped, and stops after --minutes.
"""

import argparse
import io
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PilImage

from inversion import ATTACKS as NOISE_ATTACKS
from inversion import Restorer as Chain
from quality import chosen, git
from relume import Restorer, Settings, __version__, image
from relume.bench import psnr, ssim
from relume.bench.machine import machine
from relume.cli.streams import as_json, write_text
from relume.diffusion import RESIDUAL_SAMPLERS, begin, gaussian_noise, sample
from relume.invert import invert_sampler, naive_inversion
from relume.marks import Lattice, TreeRing
from relume.tasks.evaluate import damaged_by
from relume.tasks.finish import three_channels
from relume.tasks.provenance import THRESHOLD

HERE = Path(__file__).resolve().parent
KEY, OTHER = "benchmark", "another key"
UNMARKED, KEYS = 10_000, 10
LEVELS = (1e-2, 1e-4, 1e-6, 1e-9)
Rows = dict[str, Any]


def levels(picture: Any) -> Any:
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def jpeg(quality: int) -> Callable[[Any], Any]:
    def attack(picture: Any) -> Any:
        file = io.BytesIO()
        PilImage.fromarray(levels(picture)).save(file, "JPEG", quality=quality)
        return np.asarray(PilImage.open(file), np.float32) / np.float32(255)

    return attack


def resize(scale: float, filter: Any = PilImage.Resampling.LANCZOS) -> Callable[[Any], Any]:
    def attack(picture: Any) -> Any:
        drawn = PilImage.fromarray(levels(picture))
        size = (round(drawn.width * scale), round(drawn.height * scale))
        return np.asarray(drawn.resize(size, filter), np.float32) / np.float32(255)

    return attack


def crop(share: float) -> Callable[[Any], Any]:
    """Of each side so much stays, from an odd place on."""

    def attack(picture: Any) -> Any:
        height, width = (round(side * share) for side in picture.shape[:2])
        top, left = (picture.shape[0] - height) // 3, 2 * (picture.shape[1] - width) // 3
        return picture[top : top + height, left : left + width]

    return attack


def noise(sigma: float) -> Callable[[Any], Any]:
    return lambda picture: picture + sigma / 255 * gaussian_noise(7, picture.shape)(0)


def after(*attacks: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def attack(picture: Any) -> Any:
        for each in attacks:
            picture = each(picture)
        return picture

    return attack


ATTACKS: dict[str, Callable[[Any], Any]] = {
    "8 bit": lambda picture: picture,
    "JPEG 95": jpeg(95),
    "JPEG 85": jpeg(85),
    "JPEG 75": jpeg(75),
    "JPEG 50": jpeg(50),
    "half size, JPEG 85": after(resize(0.5), jpeg(85)),
    "3/4 size, JPEG 85": after(resize(0.75), jpeg(85)),
    "3/2 size, JPEG 85": after(resize(1.5), jpeg(85)),
    "crop to 3/4, JPEG 85": after(crop(0.75), jpeg(85)),
    "crop to 1/2, JPEG 85": after(crop(0.5), jpeg(85)),
    "brightness 0.7": lambda picture: 0.7 * picture,
    "brightness 1.3": lambda picture: 1.3 * picture,
    "noise 5/255": noise(5),
    "noise 15/255": noise(15),
    "screenshot": after(crop(0.95), resize(1.37, PilImage.Resampling.BILINEAR), jpeg(75)),
    "screenshot, smaller": after(crop(0.95), resize(0.8, PilImage.Resampling.BILINEAR), jpeg(75)),
    "turned by 2°": lambda picture: (
        np.asarray(PilImage.fromarray(levels(picture)).rotate(2, PilImage.Resampling.BICUBIC), np.float32)
        / np.float32(255)
    ),
}


def starting_noise(rows: Rows, args: argparse.Namespace) -> Iterator[None]:
    """For each crop and number of steps: p by exact and by naive inversion after each attack."""
    own = TreeRing(KEY)
    for seed, (top, left) in enumerate(((100, 100), (20, 60), (150, 170))):
        for steps in (1, 2, 4):
            name = f"crop {seed}, {steps} steps"
            if name in rows:
                continue
            model = Chain(top, left)
            y, given = model.y, {"condition": model.condition, "y": model.y}
            plain = gaussian_noise(seed, y.shape[1:])(0)
            table = RESIDUAL_SAMPLERS["residual-shift-deterministic"](model.schedule, steps)

            def make(start_noise: Any) -> Any:
                start = begin(table, y=y, noise=[start_noise[None]])  # noqa: B023
                return sample(table, model.denoise, start, **given)  # noqa: B023

            picture, unmarked = make(own.embed(plain)), make(plain)
            found: dict[str, Any] = {}
            for attack in ("none", "8 bit", "JPEG 95", "JPEG 75"):
                run = (table, model.schedule, model.denoise, NOISE_ATTACKS[attack](picture))
                exact = invert_sampler(*run, **given, tolerance=1e-4, iterations=30).x - y
                naive = naive_inversion(*run, **given).x - y
                found[attack] = [own.detect(each[0]).p_value for each in (exact, naive)]
            away = psnr(*(each[0].transpose(1, 2, 0) for each in (picture, unmarked)))
            rows[name] = {"p_exact_naive": found, "psnr_marked_to_unmarked": away}
            yield


def attacks(rows: Rows, args: argparse.Namespace) -> Iterator[None]:
    """For each photograph, restored: p with its key after each attack, p with another key, quality."""
    restorer: Restorer | None = None
    mark, other = Lattice(KEY), Lattice(OTHER)
    for path in chosen(args.photos / "val", args.count) + chosen(args.photos / "old", None):
        if path.name in rows:
            continue
        restorer = restorer or Restorer(threads=1)
        clean, old = image.read(path), path.parent.name == "old"
        damaged = clean if old else damaged_by(path.name, clean, recipe_name="old-photo", seed=0).damaged
        plain = three_channels(restorer.restore(damaged, Settings()).image.srgb())
        marked = mark.embed(plain)
        row: Rows = {"set": "old" if old else "val", "size": f"{clean.width}×{clean.height}"}
        row["p"] = {
            name: mark.detect(levels(attack(marked)).astype(np.float32) / np.float32(255)).p_value
            for name, attack in ATTACKS.items()
        }
        row["p_other_key"] = other.detect(marked).p_value
        row["psnr"], row["ssim"] = psnr(marked, plain), ssim(marked, plain)
        if not old:
            truth = three_channels(clean.srgb())
            for figure in (psnr, ssim):
                row[f"{figure.__name__}_to_truth"] = [figure(each, truth) for each in (plain, marked)]
        rows[path.name] = row
        yield


def unmarked(rows: Rows, args: argparse.Namespace) -> Iterator[None]:
    """p in pictures without a mark, as lists by kind; ten keys take turns."""
    files = chosen(args.photos / "val", None)
    kinds = ["photograph"] * 4 + ["noise", "periodic", "fractal", "stripes"]
    marks = [Lattice(f"key {i}") for i in range(KEYS)]
    while (done := sum(len(values) for values in rows.values())) < UNMARKED:
        rng = np.random.default_rng([5, done])
        kind = kinds[done % len(kinds)]
        picture = _photograph(files, rng) if kind == "photograph" else _synthetic(kind, rng)
        p = marks[done // len(kinds) % KEYS].detect(picture).p_value
        rows.setdefault(kind, []).append(float(f"{p:.3g}"))
        if done % 50 == 49:
            yield


def _photograph(files: list[Path], rng: np.random.Generator) -> Any:
    pixels = three_channels(image.read(files[rng.integers(len(files))]).srgb())
    side = int(rng.integers(96, 161))
    top, left = rng.integers(0, 256 - side, 2)
    return pixels[top : top + side, left : left + side]


def _synthetic(kind: str, rng: np.random.Generator) -> Any:
    side = int(rng.integers(96, 161))
    if kind == "noise":
        plane = 0.5 + 0.2 * rng.standard_normal((side, side))
    elif kind == "periodic":  # with the period of the lattice: as near to a mark as can be without a key
        tile = rng.standard_normal((64, 64))
        plane = 0.5 + 0.1 * np.tile(tile, (3, 3))[:side, :side]
    elif kind == "fractal":
        cycles = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side), indexing="ij"))
        spectrum = np.fft.fft2(rng.standard_normal((side, side))) / np.maximum(cycles, 1 / side)
        plane = np.fft.ifft2(spectrum).real
        plane = 0.5 + 0.2 * plane / plane.std()
    else:
        turn, period = rng.uniform(0, np.pi), rng.uniform(3, 30)
        row, column = np.indices((side, side))
        wave = np.sin(2 * np.pi / period * (row * np.cos(turn) + column * np.sin(turn)))
        plane = 0.5 + 0.4 * np.sign(wave)
    return (levels(plane) / np.float32(255)).astype(np.float32)[..., None]


PARTS: dict[str, Callable[[Rows, argparse.Namespace], Iterator[None]]] = {
    "noise": starting_noise,
    "attacks": attacks,
    "unmarked": unmarked,
}


def summary(report: Rows) -> Rows:
    made: Rows = {}
    for group in ("val", "old"):
        rows = [row for row in report.get("attacks", {}).values() if row["set"] == group]
        if rows:
            made[group] = _rates(rows)
    values = np.array([p for each in report.get("unmarked", {}).values() for p in each])
    if len(values):
        alarms = {f"{level:g}": float((values < level).mean()) for level in (0.1, 0.01, 0.001, THRESHOLD)}
        made["unmarked"] = {"pictures": len(values), "alarms_at": alarms, "least_p": float(values.min())}
    return made


def _rates(rows: list[Rows]) -> Rows:
    table = {}
    for name in ATTACKS:
        p = np.array([row["p"][name] for row in rows])
        found = {f"{level:g}": float((p < level).mean()) for level in LEVELS}
        table[name] = {"found_below": found, "median_p": float(np.median(p)), "worst_p": float(p.max())}
    made: Rows = {"photographs": len(rows), "attacks": table}
    made["least_p_other_key"] = min(row["p_other_key"] for row in rows)
    made["psnr"] = float(np.mean([row["psnr"] for row in rows]))
    made["worst_psnr"] = min(row["psnr"] for row in rows)
    made["ssim"] = float(np.mean([row["ssim"] for row in rows]))
    for key in ("psnr_to_truth", "ssim_to_truth"):
        if key in rows[0]:  # medians: one photograph that comes back as it was would be the whole mean
            pairs = np.array([row[key] for row in rows])
            made[key] = {
                "unmarked": float(np.median(pairs[:, 0])),
                "marked": float(np.median(pairs[:, 1])),
                "median_loss": float(np.median(pairs[:, 0] - pairs[:, 1])),
            }
    return made


def resumable(
    target: Path, parts: Sequence[str], made: dict[str, Any], args: argparse.Namespace, facts: Rows
) -> Rows:
    """Runs the parts, saving after each step, until all is done or the time is up."""
    report = json.loads(target.read_text(encoding="utf-8")) if target.exists() else dict(facts)
    end = time.monotonic() + 60 * args.minutes
    target.parent.mkdir(parents=True, exist_ok=True)
    saved = time.monotonic()
    for part in parts:
        report.setdefault("commits", {}).setdefault(part, facts["commit"])
        for _ in made[part](report.setdefault(part, {}), args):
            over = time.monotonic() > end
            if over or time.monotonic() - saved > 20:
                write_text(as_json(report), target, overwrite=True)
                saved = time.monotonic()
            if over:
                print(f"time is up in part {part}; the same command goes on")
                return dict(report)
    return dict(report)


def main(argv: Sequence[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, help="folder with val/ and old/")
    parser.add_argument("--count", type=int, default=50, help="held-out photographs, evenly spread")
    parser.add_argument("--quick", action="store_true", help="two photographs, no starting noise")
    parser.add_argument("--minutes", type=float, default=3.5)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--name", default="unnamed", help="name of the machine, for the file")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    args = parser.parse_args(argv)
    if args.quick:
        args.count, args.parts = 2, ["attacks"]
    target = args.out / f"provenance--{args.name}--cpu.json"
    facts = {"suite": "provenance", "version": __version__, "commit": git("rev-parse", "HEAD")}
    report = resumable(target, args.parts, PARTS, args, facts | {"machine": machine()})
    report["summary"] = summary(report)
    write_text(as_json(report), target, overwrite=True)
    print(as_json(report["summary"]), target)
    return target


if __name__ == "__main__":
    main()
