"""What does running a large decoder backwards cost, with and without gradients: peak memory and time?

An autoencoder of Stable Diffusion's shape (diffusers, 84 M parameters, random weights) or one of relume
train latent-clean. Random weights say nothing about error and all about memory and time. Memory: a process
of its own for each row; the largest resident set, and how far it is above what stood once the weights were
there. Time: one iteration of each kind in turns, in CPU seconds of one thread, which other work on the
machine disturbs less than the clock.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from quality import git
from relume import __version__
from relume.bench.machine import machine
from relume.bench.memory import peak_bytes, resident_bytes
from relume.cli.streams import as_json, write_text
from relume.invert import gradient, invert_decoder

HERE = Path(__file__).resolve().parent
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
METHODS = ("gradient-free", "gradient")
SIDES = (128, 256)
ROUNDS = 3
FORGET_THE_PEAK = Path("/proc/self/clear_refs")


def coder(checkpoint: Path | None) -> tuple[nn.Module, Any, Any]:
    """A net and its two halves: of a checkpoint, or of Stable Diffusion's shape with random weights."""
    torch.manual_seed(0)
    if checkpoint is not None:
        from relume.train.checkpoint import averaged

        own: Any = averaged(checkpoint)[0]
        return own.requires_grad_(False), own.encode, own.decode
    from diffusers import AutoencoderKL

    widths = (128, 256, 512, 512)
    net = AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, block_out_channels=widths, layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    net = net.eval().requires_grad_(False)
    return net, lambda x: net.encode(x).latent_dist.mode(), lambda z: net.decode(z).sample


def picture_of(side: int, dtype: torch.dtype) -> torch.Tensor:
    return (torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1).to(dtype)


def memory(method: str, side: int, precision: str, checkpoint: Path | None) -> dict[str, float]:
    """Two iterations, the start at the encoder's latent included; runs in a process of its own."""
    torch.set_num_threads(1)
    net, encode, decode = coder(checkpoint)
    net.to(DTYPES[precision])
    picture = picture_of(side, DTYPES[precision])
    before = resident_bytes()
    FORGET_THE_PEAK.write_text("5")
    if method == "gradient":
        with torch.no_grad():
            known = encode(picture)
        gradient(decode, picture, known, iterations=2, tolerance=0.0)
    else:
        invert_decoder(encode, decode, picture, iterations=2, tolerance=0.0)
    peak = peak_bytes()
    if before is None or peak is None:
        sys.exit("the peak memory of a process is measured on Linux only")
    weights = sum(value.numel() * value.element_size() for value in net.parameters())
    return {name: round(value / 2**20, 1) for name, value in
            (("weights_mib", weights), ("peak_mib", peak), ("above_mib", peak - before))}  # fmt: skip


def ratios(side: int, precision: str, checkpoint: Path | None) -> dict[str, Any]:
    """How many times the CPU time of an iteration without gradients one with them takes; both in turns."""
    torch.set_num_threads(1)
    net, encode, decode = coder(checkpoint)
    net.to(DTYPES[precision])
    picture = picture_of(side, DTYPES[precision])
    with torch.no_grad():
        z = encode(picture)

    def free() -> None:
        with torch.no_grad():
            encode(decode(z))

    def slope() -> None:
        point = z.detach().requires_grad_()
        torch.autograd.grad((decode(point) - picture).square().sum(), point)

    found = []
    for _ in range(ROUNDS + 1):
        once = _spent(free)
        found.append(round(_spent(slope) / once, 3))
    return {"rounds": found[1:], "gradient_costs_times": float(np.median(found[1:]))}


def _spent(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def apart(*words: object) -> Any:
    """This script in a process of its own; its answer is the last line."""
    command = [sys.executable, __file__, *(str(word) for word in words)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def measured(side: int, precision: str, checkpoint: Path | None, *, timed: bool) -> dict[str, Any]:
    """Both methods at one size and precision."""
    of = ["--side", side, "--precision", precision]
    of += [] if checkpoint is None else ["--checkpoint", checkpoint]
    rows = {method: apart("--one", method, *of) for method in METHODS}
    free, slope = (rows[method] for method in METHODS)
    found = {
        "side": side,
        "precision": precision,
        "weights": "random" if checkpoint is None else "trained",
        **rows,
        "less_above_percent": round(100 * (1 - free["above_mib"] / slope["above_mib"]), 1),
        "less_in_all_percent": round(100 * (1 - free["peak_mib"] / slope["peak_mib"]), 1),
    }
    return {**found, "time": apart("--one", "time", *of)} if timed else found


def main(argv: Sequence[str] | None = None) -> Path | None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--name", default="unnamed", help="name of the machine, for the file")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    parser.add_argument("--sides", type=int, nargs="+", default=SIDES, help="of the picture, in pixels")
    parser.add_argument("--precisions", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--checkpoint", type=Path, help="of a latent-clean run, in place of random weights")
    parser.add_argument("--untimed", action="store_true", help="memory only")
    parser.add_argument("--one", choices=(*METHODS, "time"), help=argparse.SUPPRESS)
    parser.add_argument("--side", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--precision", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.one == "time":
        print(json.dumps(ratios(args.side, args.precision, args.checkpoint)))
        return None
    if args.one:
        print(json.dumps(memory(args.one, args.side, args.precision, args.checkpoint)))
        return None
    target = args.out / f"decoder-shape--{args.name}--cpu.json"
    rows = json.loads(target.read_text())["rows"] if target.exists() else []
    known = {(row["weights"], row["side"], row["precision"]) for row in rows}
    kind = "random" if args.checkpoint is None else "trained"
    args.out.mkdir(parents=True, exist_ok=True)
    for side in args.sides:
        for precision in args.precisions:
            if (kind, side, precision) in known:
                continue
            rows.append(measured(side, precision, args.checkpoint, timed=not args.untimed))
            report = {
                "suite": "decoder-shape",
                "version": __version__,
                "commit": git("rev-parse", "HEAD"),
                "machine": {**machine(), "torch": torch.__version__, "threads": 1},
                "rows": rows,
            }
            write_text(as_json(report), target, overwrite=True)
            print(rows[-1])
    print(target)
    return target


if __name__ == "__main__":
    main()
