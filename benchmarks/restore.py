"""How much better is a damaged photograph afterwards, and how long does it take on each engine?

Quality: held-out photographs, damaged by the recipe `old-photo` with fixed seeds. Speed: one tile and one
photograph, interleaved rounds over the engines, next to one evaluation of the U-Net of the original
300-step system in PyTorch eager float32 (its 300 steps are that time multiplied, and labelled so).
"""

import argparse
import json
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageFilter

from relume import Restorer, Settings, __version__, image
from relume.bench.quality import psnr, ssim, tone_aligned
from relume.degrade import recipe
from relume.errors import EngineUnavailable

Array = NDArray[np.float32]
HERE = Path(__file__).resolve().parent
ENGINES = [("openvino", "auto"), ("openvino", "f32"), ("onnx", "f32"), ("pytorch", "f32")]


def machine() -> dict[str, Any]:
    cpu = "unknown"
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    import os

    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def median_filter(picture: Array) -> Array:
    levels = PilImage.fromarray((picture * 255).round().astype(np.uint8))
    return np.asarray(levels.filter(ImageFilter.MedianFilter(3)), dtype=np.float32) / np.float32(255)


def scores(picture: Array, truth: Array) -> dict[str, float]:
    return {
        "psnr_db": min(psnr(picture, truth), 60.0),
        "ssim": ssim(picture, truth),
        "tone_aligned_psnr_db": min(psnr(tone_aligned(picture, truth), truth), 60.0),
    }


def quality(restorer: Restorer, photos: Path, count: int) -> dict[str, Any]:
    files = sorted(photos.glob("*"))
    files = [files[i] for i in np.linspace(0, len(files) - 1, min(count, len(files))).astype(int)]
    rows: dict[str, list[dict[str, float]]] = {}
    clean_rows = []
    for number, path in enumerate(files):
        clean = image.read(path).pixels
        clean = clean if clean.shape[2] == 3 else clean.repeat(3, axis=2)
        damaged = recipe("old-photo")(clean, np.random.default_rng(1000 + number)).picture
        damaged = np.round(damaged * 255).astype(np.float32) / np.float32(255)
        candidates = {"damaged": damaged, "median 3×3": median_filter(damaged)}
        for name, settings in {
            "restored, 1 step": Settings(),
            "restored, 4 steps": Settings(steps=4),
            "restored, 1 step, tone kept": Settings(tone="keep"),
        }.items():
            candidates[name] = restorer.restore(image.from_array(damaged), settings).image.pixels
        for name, picture in candidates.items():
            rows.setdefault(name, []).append(scores(picture, clean))
        untouched = restorer.restore(image.from_array(clean)).image.pixels
        clean_rows.append(min(psnr(untouched, clean), 60.0))
    table = {
        name: {key: float(np.mean([row[key] for row in values])) for key in values[0]}
        for name, values in rows.items()
    }
    return {
        "photographs": len(files),
        "recipe": "old-photo, seed 1000 + index, severity 1",
        "table": table,
        "clean_psnr_db": {
            "mean": float(np.mean(clean_rows)),
            "median": float(np.median(clean_rows)),
            "least": float(np.min(clean_rows)),
        },
    }


def speed(model: str, rounds: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    photo = image.from_array(rng.integers(0, 256, (600, 480, 3), dtype=np.uint8))
    tile = rng.random((1, 3, 512, 512), dtype=np.float32)
    inputs = (tile, np.concatenate([tile, tile[:, :1] * 0], axis=1), np.ones(1, np.float32))
    loaded: dict[str, Restorer] = {}
    results: dict[str, dict[str, Any]] = {}
    for engine, precision in ENGINES:
        began = time.perf_counter()
        try:
            restorer = Restorer(model, engine=engine, precision=precision)
        except EngineUnavailable as error:
            results[f"{engine} {precision}"] = {"unavailable": str(error)}
            continue
        load = time.perf_counter() - began
        began = time.perf_counter()
        restorer.engine(*inputs)
        name = f"{restorer.engine.name} {restorer.engine.precision}"
        if name in loaded:
            continue
        loaded[name] = restorer
        results[name] = {
            "load_s": load,
            "first_tile_s": time.perf_counter() - began,
            "tile_s": [],
            "photo_s": [],
        }
        restorer.restore(photo)
    for _ in range(rounds):
        for name, restorer in loaded.items():
            began = time.perf_counter()
            restorer.engine(*inputs)
            results[name]["tile_s"].append(time.perf_counter() - began)
            began = time.perf_counter()
            restorer.restore(photo)
            results[name]["photo_s"].append(time.perf_counter() - began)
    results["original: U-Net, PyTorch eager f32, one of 300 steps"] = unet_step(rounds)
    return results


def unet_step(rounds: int) -> dict[str, Any]:
    import torch

    from relume.nets import build

    net = build("unet", {}).eval()
    x, t = torch.rand(1, 3, 512, 512), torch.ones(1)
    times = []
    with torch.inference_mode():
        net(x, t, x)
        for _ in range(max(3, rounds // 3)):
            began = time.perf_counter()
            net(x, t, x)
            times.append(time.perf_counter() - began)
    return {"tile_s": times, "parameters": sum(p.numel() for p in net.parameters())}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, help="folder of clean photographs, held out")
    parser.add_argument("--model", default="photo")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--name", default="unnamed", help="name of the machine, for the file")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    args = parser.parse_args()
    restorer = Restorer(args.model)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=HERE
    ).stdout.strip()
    report = {
        "suite": "restore",
        "version": __version__,
        "commit": commit,
        "model": {"name": restorer.bundle.name, "hash": restorer.bundle.hash},
        "machine": machine(),
        "engine": f"{restorer.engine.name} {restorer.engine.version} {restorer.engine.precision}",
        "quality": quality(restorer, args.photos, args.count),
        "speed": speed(args.model, args.rounds),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    target = args.out / f"restore--{args.name}--cpu.json"
    target.write_text(json.dumps(report, indent=1) + "\n")
    for name, row in report["quality"]["table"].items():
        print(f"{name:42}", *(f"{key} {value:7.3f}" for key, value in row.items()))
    print("clean photographs:", {k: round(v, 2) for k, v in report["quality"]["clean_psnr_db"].items()})
    for name, row in report["speed"].items():
        for key in ("tile_s", "photo_s"):
            if row.get(key):
                low, mid, high = np.percentile(row[key], [25, 50, 75])
                print(f"{name:55} {key}: median {mid * 1e3:.1f} ms ({low * 1e3:.1f} to {high * 1e3:.1f})")
    print(target)


if __name__ == "__main__":
    main()
