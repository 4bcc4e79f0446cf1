"""What does latent translation buy, beside the bundle that works on pixels?

Synthetic: held-out clean photographs with the damage of the recipe "structure"; the tone is kept by all rows.
Genuine: old photographs that no run has seen. As they have no truth, they are measured twice: damaged further
by the same recipe (what comes back where something was painted over them), and as they are, by figures that
need no truth. Alignment: how well are latents of genuine and of synthetic pictures told apart?
"""

import argparse
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PilImage

from relume import Restorer, Settings, __version__, image
from relume.bench.machine import machine
from relume.bench.quality import psnr, ssim, tone_aligned_psnr
from relume.bench.spectrum import gradient_energy
from relume.image import Image
from relume.nets import Autoencoder
from relume.tasks.evaluate import Pair, damaged_by
from relume.tasks.finish import three_channels
from relume.train.checkpoint import averaged
from relume.train.objectives import Restore, Translate

HERE = Path(__file__).resolve().parent
KEPT = Settings(tone="keep")
GRID = 8  # sides are padded to multiples of it
# What the sheet does not show.
LEFT_OUT = ("the truth, through the clean autoencoder", "pixel bundle, true mask", "latent, true mask")
SIDE = 150  # of a picture in the sheet

Array = Any


def tensor(picture: Array) -> torch.Tensor:
    """H×W×3 → 1×3×H'×W', mirrored up to a multiple of the grid."""
    h, w = picture.shape[:2]
    padded = np.pad(picture, ((0, -h % GRID), (0, -w % GRID), (0, 0)), mode="reflect")
    return torch.from_numpy(np.ascontiguousarray(padded.transpose(2, 0, 1)))[None].float()


def picture(made: torch.Tensor, like: Array) -> Array:
    h, w = like.shape[:2]
    return made[0].clamp(0, 1).permute(1, 2, 0).numpy()[:h, :w]


@dataclass
class Models:
    """The bundle, the three nets of the translation, and what else was trained on as few samples."""

    restorer: Restorer
    aim: Translate
    net: torch.nn.Module
    small: tuple[torch.nn.Module, Restore] | None

    @cached_property
    def coder(self) -> Autoencoder:
        coder = averaged(Path(self.aim.clean))[0]
        assert isinstance(coder, Autoencoder)
        return coder

    def rows(self, pair: Pair) -> Iterator[tuple[str, Array]]:
        """Each row's answer to a damaged picture; the detected mask is the bundle's own."""
        given = three_channels(pair.damaged.srgb())
        done = self.restorer.restore(pair.damaged, KEPT)
        x = tensor(given)
        yield "damaged", given
        yield "pixel bundle", three_channels(done.image.srgb())
        if self.small is not None:
            net, aim = self.small
            yield "pixel net, few samples", picture(aim.answer(net, _to(x, 16)), given)
        yield "latent, no mask", picture(self.aim.answer(self.net, x), given)
        found = (done.mask > 0.5).astype(np.float32)
        yield "latent, detected mask", picture(self.aim.answer(self.net, x, _mask(found)), given)
        if pair.mask.any():
            told = self.restorer.restore(pair.damaged, KEPT, mask=pair.mask)
            yield "pixel bundle, true mask", three_channels(told.image.srgb())
            yield "latent, true mask", picture(self.aim.answer(self.net, x, _mask(pair.mask)), given)
        truth = three_channels(pair.clean.srgb())
        yield "the truth, through the clean autoencoder", picture(self.coder(tensor(truth)), truth)


def _to(x: torch.Tensor, multiple: int) -> torch.Tensor:
    h, w = x.shape[2:]
    return torch.nn.functional.pad(x, (0, -w % multiple, 0, -h % multiple), mode="replicate")


def _mask(mask: Array) -> torch.Tensor:
    return tensor(np.repeat(mask[:, :, None].astype(np.float32), 3, axis=2))[:, :1]


def measured(
    models: Models, files: list[Path], *, seed: int, severity: float
) -> tuple[dict[str, Any], list[list[Array]]]:
    """Means over photographs damaged by the recipe, row by row, and the pictures of some of them."""
    strips: list[list[Array]] = []
    found: dict[str, dict[str, list[float]]] = {}
    for number, path in enumerate(files):
        pair = damaged_by(path.name, image.read(path), recipe_name="structure", seed=seed, severity=severity)
        truth, hole = three_channels(pair.clean.srgb()), pair.mask > 0.2
        answers = dict(models.rows(pair))
        if number % 5 == 0 and hole.any():
            strips.append([made for name, made in answers.items() if name not in LEFT_OUT])
        for name, made in answers.items():
            figures = {
                "psnr": min(psnr(made, truth), 60.0),
                "tone_aligned_psnr": min(tone_aligned_psnr(made, truth), 60.0),
                "ssim": ssim(made, truth),
                "gradient_energy": gradient_energy(made, truth),
            }
            if hole.any():
                error = np.square(made - truth)[hole].mean()
                figures["psnr_in_mask"] = min(60.0, float(-10 * np.log10(error + 1e-6)))
            for key, value in figures.items():
                found.setdefault(name, {}).setdefault(key, []).append(float(value))
    return {"count": len(files), "rows": _means(found), "pictures": found}, strips


def _means(found: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, float]]:
    return {row: {key: float(np.mean(each)) for key, each in values.items()} for row, values in found.items()}


def grain(made: Array) -> float:
    """Standard deviation of noise in levels of 255, by the median of diagonal Haar differences of luma."""
    luma = made.mean(2)
    h, w = (size // 2 * 2 for size in luma.shape)
    cells = luma[:h, :w].reshape(h // 2, 2, w // 2, 2)
    diagonal = (cells[:, 0, :, 0] - cells[:, 0, :, 1] - cells[:, 1, :, 0] + cells[:, 1, :, 1]) / 2
    return float(255 * np.median(np.abs(diagonal)) / 0.6745)


def untouched(models: Models, files: list[Path]) -> tuple[dict[str, Any], list[list[Array]]]:
    """Genuine photographs as they are: what becomes of grain, detail and the damage that the bundle sees."""
    found: dict[str, dict[str, list[float]]] = {}
    strips = []
    for path in files:
        given = Image(three_channels(image.read(path).srgb()))
        before = given.pixels
        pair = Pair(path.name, given, given, np.zeros(before.shape[:2], np.float32))
        strip = []
        for name, made in models.rows(pair):
            figures = {
                "grain": grain(made),
                "gradient_energy": gradient_energy(made, before),
                "damage_seen": float((models.restorer.restore(Image(made), KEPT).mask > 0.5).mean()),
                "psnr_to_given": min(60.0, psnr(made, before)),
            }
            for key, value in figures.items():
                found.setdefault(name, {}).setdefault(key, []).append(float(value))
            if name not in LEFT_OUT:
                strip.append(made)
        strips.append(strip)
    return {"count": len(files), "rows": _means(found), "pictures": found}, strips


def crops(files: list[Path], change: Callable[[Path, Array], Array], *, side: int = 64) -> torch.Tensor:
    """The middle of each photograph at two thirds of its size or more, changed, without colour."""
    made = []
    for path in files:
        pixels = change(path, three_channels(image.read(path).srgb()))
        top, left = ((size - side) // 2 for size in pixels.shape[:2])
        made.append(np.repeat(pixels[top : top + side, left : left + side].mean(2, keepdims=True), 3, axis=2))
    return torch.from_numpy(np.stack(made).transpose(0, 3, 1, 2).copy()).float()


def kinds(genuine: list[Path], clean: list[Path], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Crops of synthetic and of genuine old photographs."""

    def damage(path: Path, pixels: Array) -> Array:
        return damaged_by(path.name, Image(pixels), recipe_name="structure", seed=seed).damaged.pixels

    return crops(clean, damage), crops(genuine, lambda _, pixels: pixels)


def alignment(checkpoint: Path | None, made: torch.Tensor, real: torch.Tensor) -> dict[str, float]:
    """How far apart are latents of genuine and of synthetic old photographs, both held out?

    ``frechet``: between Gaussians fitted to the latents' differences of neighbours, over the variance of the
    synthetic ones; ``probe``: accuracy of a classifier on moments of those differences, over pictures that it
    has not seen (five parts, each in its turn). Without a checkpoint the latent is the picture itself, the 16
    pixels of a cell as channels.
    """
    if checkpoint is None:
        cells = [torch.nn.functional.pixel_unshuffle(x[:, :1], 4).double() for x in (made, real)]
        return {"frechet": frechet(*cells), "probe": probe(*cells)}
    coder, facts, step = averaged(checkpoint)
    assert isinstance(coder, Autoencoder)
    with torch.inference_mode():
        latents = [coder.encode(x).double() for x in (made, real)]
        back = [float(-10 * (coder(x) - x).square().mean().log10()) for x in (made, real)]
    return {
        "step": step,
        "adversarial": facts["settings"].get("adversarial", 0.0),
        "latent_rms": float(latents[0].square().mean().sqrt()),
        "psnr_synthetic": back[0],
        "psnr_genuine": back[1],
        "frechet": frechet(*latents),
        "probe": probe(*latents),
    }


def frechet(made: torch.Tensor, real: torch.Tensor) -> float:
    a, b = (z.diff(dim=3).movedim(1, 3).flatten(0, 2) for z in (made, real))
    one, two = torch.cov(a.T), torch.cov(b.T)
    mixed = torch.linalg.eigvals(one @ two).real.clamp(min=0).sqrt().sum()
    distance = (a.mean(0) - b.mean(0)).square().sum() + one.trace() + two.trace() - 2 * mixed
    return float(distance / one.trace())


def probe(made: torch.Tensor, real: torch.Tensor, *, parts: int = 5) -> float:
    """Ridge regression on the log-variance and the kurtosis of each channel's differences."""

    def moments(z: torch.Tensor) -> torch.Tensor:
        d = z.diff(dim=3).flatten(2)
        second, fourth = d.square().mean(2), d.pow(4).mean(2)
        return torch.cat([second.log(), (fourth / second.square()).log()], dim=1)

    features = torch.cat([moments(made), moments(real)])
    label = torch.cat([-torch.ones(len(made)), torch.ones(len(real))]).double()
    weight = torch.where(label > 0, 1 / len(real), 1 / len(made))
    order = torch.randperm(len(label), generator=torch.Generator().manual_seed(0))
    right = torch.zeros(len(label), dtype=torch.bool)
    for part in range(parts):
        test = order[part::parts]
        train = torch.ones(len(label), dtype=torch.bool)
        train[test] = False
        mean, spread = features[train].mean(0), features[train].std(0)
        x = torch.cat([(features - mean) / spread, torch.ones(len(label), 1)], dim=1).double()
        root = weight[train].sqrt()[:, None]
        a = root * x[train]
        ridge = 1e-2 * torch.eye(x.shape[1], dtype=torch.float64)
        solved = torch.linalg.solve(a.T @ a + ridge, a.T @ (root[:, 0] * label[train]))
        right[test] = (x[test] @ solved > 0) == (label[test] > 0)
    hits = right.double()
    return float((hits[label < 0].mean() + hits[label > 0].mean()) / 2)


def sheet(strips: list[list[Array]], out: Path) -> None:
    """Columns as the rows of the table, one photograph a line, on white."""
    gap = 4
    size = (max(map(len, strips)) * (SIDE + gap) - gap, len(strips) * (SIDE + gap) - gap)
    page = PilImage.new("RGB", size, "white")
    for line, strip in enumerate(strips):
        for column, made in enumerate(strip):
            levels = PilImage.fromarray(np.round(made * 255).astype(np.uint8))
            h, w = made.shape[:2]
            side = min(h, w)
            box = ((w - side) // 2, (h - side) // 2, (w + side) // 2, (h + side) // 2)
            small = levels.crop(box).resize((SIDE, SIDE), PilImage.Resampling.LANCZOS)
            page.paste(small, (column * (SIDE + gap), line * (SIDE + gap)))
    page.save(out, quality=85, optimize=True)


def spread(files: list[Path], count: int | None) -> list[Path]:
    chosen = np.linspace(0, len(files) - 1, min(count or len(files), len(files)))
    return [files[i] for i in np.round(chosen).astype(int)]


def show(part: dict[str, Any]) -> None:
    keys = list(dict.fromkeys(key for row in part["rows"].values() for key in row))
    print(f"{'':42}" + "".join(f"{key:>18}" for key in keys) + f"   ({part['count']})")
    for name, row in part["rows"].items():
        print(f"{name:42}" + "".join(f"{row.get(key, float('nan')):18.4f}" for key in keys))


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--map", type=Path, required=True, help="checkpoint of a latent-map run")
    parser.add_argument("--unaligned", type=Path, nargs="*", default=[], help="other latent-old checkpoints")
    parser.add_argument("--small", type=Path, help="checkpoint of a photo run of as few samples")
    parser.add_argument("--photos", type=Path, required=True, help="folder of clean photographs, held out")
    parser.add_argument("--old", nargs="+", default=[], help="prefixes of the genuine old ones among them")
    parser.add_argument("--worn", type=Path, help="folder of genuine, damaged photographs to show")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--severity", type=float, default=1.0)
    parser.add_argument("--count", type=int, help="so many of each kind, evenly spread (default: all)")
    parser.add_argument("--name", default="unnamed", help="name of the machine, for the file")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    parser.add_argument("--sheet", type=Path, help="where to draw those of --worn and some of the others")
    return parser.parse_args()


def main() -> None:
    args = options()
    net, facts, step = averaged(args.map)
    small = None
    if args.small:
        other, its, _ = averaged(args.small)
        small = other, Restore(**its.get("settings", {}))
    models = Models(Restorer(), Translate(**facts["settings"]), net, small)
    files = sorted(path for path in args.photos.iterdir() if image.is_picture(path))
    genuine = [path for path in files if path.name.startswith(tuple(args.old))] if args.old else []
    clean = [path for path in files if path not in genuine]
    coders = [None, Path(models.aim.old), *args.unaligned, Path(models.aim.clean)]
    report: dict[str, Any] = {
        "suite": "latent",
        "version": __version__,
        "commit": subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=HERE
        ).stdout.strip(),
        "machine": machine(),
        "model": {"name": models.restorer.bundle.name, "hash": models.restorer.bundle.hash},
        "steps": {"map": step},
    }
    if genuine:
        both = kinds(genuine, clean, args.seed)
        report["alignment"] = [alignment(coder, *both) for coder in coders]
        print(*report["alignment"], sep="\n")
    damage = {"seed": args.seed, "severity": args.severity}
    strips: list[list[Array]] = []
    with torch.inference_mode():
        for name, kind in (("synthetic", clean), ("genuine, damaged further", genuine)):
            if kind:
                report[name], shown = measured(models, spread(kind, args.count), **damage)
                strips = shown[-4:] if kind is genuine else strips
                print(name)
                show(report[name])
        if args.worn:
            worn = sorted(path for path in args.worn.iterdir() if image.is_picture(path))
            report["genuine"], shown = untouched(models, worn)
            strips = shown + strips
            show(report["genuine"])
        if args.sheet:
            sheet(strips, args.sheet)
    args.out.mkdir(parents=True, exist_ok=True)
    target = args.out / f"latent--{args.name}--cpu.json"
    target.write_text(json.dumps(report, indent=1) + "\n")
    print(target)


if __name__ == "__main__":
    main()
