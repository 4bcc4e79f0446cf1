"""How near does each method bring a decoder's latent, in how many iterations and seconds?

Toy: x = tanh(0.6 W z) behind a linear encoder that is 15 % too strong, float64. Codec: a small
convolutional autoencoder, trained here for 200 steps on crops of the bundled examples (plainly, and with a
penalty on |E(D(z)) - z| at perturbed latents). With --checkpoint and --photos, also an autoencoder that
relume train latent-clean made, on crops of photographs it has not seen. What a large decoder costs:
decoder_shape.py.
"""

import argparse
import json
import math
import os
import subprocess
import time
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from relume import __version__, image
from relume.bench.machine import machine
from relume.invert import (
    adam,
    anderson,
    fixed_point,
    forward_step,
    gradient,
    invert_decoder,
    krasnoselskii_mann,
)
from relume.invert.inversion import relative

HERE = Path(__file__).resolve().parent
LENGTHS = (20, 50, 100)


def decibels(found: Any, truth: Any) -> float:
    return max(-320.0, 20 * math.log10(relative(found - truth, truth) + 1e-300))


class Codec(nn.Module):
    """Twelve channels at a quarter of the side; convolutions and SiLU."""

    def __init__(self) -> None:
        super().__init__()

        def convolution(a: int, b: int) -> nn.Module:
            return nn.Conv2d(a, b, 3, padding=1)

        self.encode = nn.Sequential(
            nn.PixelUnshuffle(4),
            convolution(48, 64),
            nn.SiLU(),
            convolution(64, 64),
            nn.SiLU(),
            convolution(64, 12),
        )
        self.decode = nn.Sequential(
            convolution(12, 64),
            nn.SiLU(),
            convolution(64, 64),
            nn.SiLU(),
            convolution(64, 48),
            nn.PixelShuffle(4),
        )


@lru_cache(maxsize=1)
def photographs() -> list[Any]:
    """The bundled examples, in [-1,1]."""
    made = []
    for name in ("house-clean.png", "old-photograph.jpg"):
        pixels = image.read(HERE.parent / "examples" / name).pixels
        made.append((pixels if pixels.shape[2] == 3 else pixels.repeat(3, axis=2)) * 2 - 1)
    return made


def crops(count: int, side: int, seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        pixels = photographs()[rng.integers(2)]
        top, left = (int(rng.integers(size - side)) for size in pixels.shape[:2])
        made.append(pixels[top : top + side, left : left + side])
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).contiguous()


def train(penalty: float, steps: int) -> tuple[Codec, dict[str, float]]:
    torch.manual_seed(0)
    net = Codec()
    rule = torch.optim.AdamW(net.parameters(), lr=2e-3)
    for step in range(steps):
        x = crops(16, 32, step)
        z = net.encode(x)
        loss = (net.decode(z) - x).square().mean() + 1e-4 * z.square().mean()
        if penalty > 0.0:
            moved = z.detach() + 0.1 * torch.randn_like(z)
            loss = loss + penalty * (net.encode(net.decode(moved)) - moved).square().mean()
        rule.zero_grad()
        loss.backward()
        rule.step()
    return net.requires_grad_(False), {"penalty": penalty, "steps": steps, "loss": loss.item()}


def rows(
    encode: Any, decode: Any, z: Any, batch: int, lengths: tuple[int, ...], halves: bool
) -> list[dict[str, Any]]:
    """Every method on every latent: NMSE of z, of the picture, seconds; medians over the latents."""
    free: dict[str, Any] = {
        "forward step, rho 0.5": partial(fixed_point, step=0.5),
        "forward step, safeguarded": forward_step,
        "inertial KM, beta 1": krasnoselskii_mann,
        "Adam, scheduled, 0.01": adam,
        "Anderson": anderson,
    }
    by_gradient = {f"gradient, rate {rate:g}": partial(gradient, rate=rate) for rate in (0.1, 0.01)}
    made: dict[tuple[str, int], list[list[float]]] = {}

    def note(name: str, length: int, began: float, found: Any, truth: Any, picture: Any) -> None:
        seconds = time.perf_counter() - began
        residual = decibels(decode(found), picture)
        made.setdefault((name, length), []).append([decibels(found, truth), residual, seconds])

    for start in range(0, len(z), batch):
        truth = z[start : start + batch]
        picture = decode(truth)
        began = time.perf_counter()
        known = encode(picture)
        note("encoder alone", 0, began, known, truth, picture)
        for length in lengths:
            run = partial(invert_decoder, encode, decode, picture, tolerance=0.0)
            for name, solver in free.items():
                began = time.perf_counter()
                note(name, length, began, run(solver=solver, iterations=length).x, truth, picture)
            if not halves:
                continue
            began = time.perf_counter()
            both = run(solver=anderson, iterations=length // 2, gradient_steps=length // 4)
            note("hybrid: Anderson, then gradient", length, began, both.x, truth, picture)
            for name, solver in by_gradient.items():
                began = time.perf_counter()
                found = solver(decode, picture, encode(picture), iterations=length, tolerance=0.0)
                note(name, length, began, found.x, truth, picture)
    return [
        {
            "method": name,
            "iterations": length,
            "runs": values,
            **dict(
                zip(
                    ("nmse_db", "picture_nmse_db", "seconds"), np.median(values, axis=0).tolist(), strict=True
                )
            ),
        }
        for (name, length), values in made.items()
    ]


def toy() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    weight = 0.6 * rng.standard_normal((64, 16)) / 8
    inverse = 1.15 * np.linalg.pinv(weight)
    z = rng.standard_normal((8, 16))

    def encode(x: Any) -> Any:
        return x @ inverse.T

    def decode(z: Any) -> Any:
        return np.tanh(z @ weight.T)

    logged = invert_decoder(encode, decode, decode(z), solver=partial(fixed_point, step=0.5), log=True)
    return {"rows": rows(encode, decode, z, 1, LENGTHS, False), "cocoercivity": logged.cocoercivity}


def codec(penalty: float, steps: int) -> dict[str, Any]:
    net, facts = train(penalty, steps)
    with torch.no_grad():
        z = net.encode(crops(3, 32, 10_000_000))
    least = []
    for each in z:
        run = invert_decoder(
            net.encode,
            net.decode,
            net.decode(each[None]),
            solver=adam,
            iterations=100,
            tolerance=0.0,
            log=True,
        )
        least.append(run.cocoercivity)
    return {
        "training": facts,
        "rows": rows(net.encode, net.decode, z, 1, LENGTHS, True),
        "cocoercivity": {
            "median": float(np.median(least)),
            "positive": f"{sum(c > 0 for c in least)}/{len(least)}",
        },
    }


def trained(checkpoint: Path, photos: Path) -> dict[str, Any]:
    """Every method on the decoder of a checkpoint: one crop of each of six photographs, evenly spread."""
    from relume.train.checkpoint import averaged

    net, facts, step = averaged(checkpoint)
    net.requires_grad_(False)
    files = sorted(path for path in photos.iterdir() if image.is_picture(path))
    made = []
    for number in np.linspace(0, len(files) - 1, 6).astype(int):
        pixels = image.read(files[number]).pixels[:64, :64]
        made.append(torch.from_numpy(np.broadcast_to(pixels, (*pixels.shape[:2], 3)).copy()))
    z = net.encode(torch.stack(made).permute(0, 3, 1, 2).float())
    moved = z + 0.1 * torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
    least = [
        invert_decoder(
            net.encode,
            net.decode,
            net.decode(each[None]),
            iterations=100,
            tolerance=0.0,
            solver=adam,
            log=True,
        ).cocoercivity
        for each in z
    ]
    return {
        "training": {
            "step": step,
            "settings": facts.get("settings", {}),
            "latent_rms": float(z.square().mean()) ** 0.5,
        },
        "cycle_nmse_db": decibels(net.encode(net.decode(moved)), moved),
        "rows": rows(net.encode, net.decode, z, 1, LENGTHS, True),
        "cocoercivity": {
            "median": float(np.median(least)),
            "positive": f"{sum(c > 0 for c in least)}/{len(least)}",
        },
    }


def show(report: dict[str, Any]) -> None:
    for name in ("toy", "codec", "codec with the penalty", "trained"):
        part = report.get(name)
        if part is None:
            continue
        print(name, part.get("training", ""), "cocoercivity", part["cocoercivity"])
        for row in sorted(part["rows"], key=lambda row: (row["iterations"], row["nmse_db"])):
            print(
                f"  {row['method']:40} {row['iterations']:4}  z {row['nmse_db']:8.2f} dB  "
                f"picture {row['picture_nmse_db']:8.2f} dB  {row['seconds'] * 1e3:8.1f} ms"
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--name", default="unnamed", help="name of the machine, for the file")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    parser.add_argument("--steps", type=int, default=200, help="training steps of each codec")
    parser.add_argument("--checkpoint", type=Path, help="of a latent-clean run: measure its decoder too")
    parser.add_argument("--photos", type=Path, help="photographs that it has not seen")
    parser.add_argument("--alone", action="store_true", help="measure the decoder of --checkpoint only")
    args = parser.parse_args()
    if (args.checkpoint is None) != (args.photos is None) or (args.alone and not args.checkpoint):
        parser.error("--checkpoint and --photos come together, and --alone needs them")
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=HERE
    ).stdout.strip()
    report = {
        "suite": "decoder",
        "version": __version__,
        "commit": commit,
        "machine": {**machine(), "threads": torch.get_num_threads(), "load": os.getloadavg()[0]},
    }
    if not args.alone:
        report |= {
            "toy": toy(),
            "codec": codec(0.0, args.steps),
            "codec with the penalty": codec(1.0, args.steps),
        }
    if args.checkpoint is not None:
        report["trained"] = trained(args.checkpoint, args.photos)
    args.out.mkdir(parents=True, exist_ok=True)
    target = args.out / f"decoder--{args.name}--cpu.json"
    target.write_text(json.dumps(report, indent=1) + "\n")
    show(report)
    print(target)


if __name__ == "__main__":
    main()
