"""How long does a restoration take on each engine?

One tile and one photograph, interleaved rounds over the engines, next to one evaluation of the U-Net of the
original 300-step system in PyTorch eager float32 (its 300 steps are that time multiplied, and labelled so).
"""

import argparse
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

from relume import Restorer, __version__, image
from relume.bench.machine import machine
from relume.errors import EngineUnavailable

HERE = Path(__file__).resolve().parent
ENGINES = [("openvino", "auto"), ("openvino", "f32"), ("onnx", "f32"), ("pytorch", "f32")]


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
    parser.add_argument("--model", default="photo")
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
        "speed": speed(args.model, args.rounds),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    target = args.out / f"restore--{args.name}--cpu.json"
    target.write_text(json.dumps(report, indent=1) + "\n")
    for name, row in report["speed"].items():
        for key in ("tile_s", "photo_s"):
            if row.get(key):
                low, mid, high = np.percentile(row[key], [25, 50, 75])
                print(f"{name:55} {key}: median {mid * 1e3:.1f} ms ({low * 1e3:.1f} to {high * 1e3:.1f})")
    print(target)


if __name__ == "__main__":
    main()
