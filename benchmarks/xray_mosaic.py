r"""A mosaic of 31×31 tiles of 512², killed in the middle: seconds, memory, and whether the tiles show.

    python benchmarks/xray_mosaic.py --name HERE
    python benchmarks/xray_mosaic.py --quick

Tiles are simulated into a folder (kept between runs), with a gain that depends on what a tile holds. Then
``relume xray mosaic`` is killed (SIGKILL) when half of the overlaps are registered, and again when half of
the bands are fused, and started again each time. Memory is the largest resident set of these processes.
The grid is the power at the tiles' pitch over its neighbourhood, along both axes: in the result, in the raw
tiles, and in the truth, which has no tiles; seams are what neighbours differ by where they overlap, as they
are fused. The whole takes 5 GB of disk.
"""

__all__ = ["main"]

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from quality import git
from relume import __version__
from relume.background import Artefacts
from relume.bench.machine import machine
from relume.bench.stitching import profile_peak, seams
from relume.mosaic import Solution, fuse
from relume.mosaic.balance import Balance, Gauge
from relume.mosaic.looks import Looks
from relume.scan import open_scan

HERE = Path(__file__).resolve().parent
RELUME = [sys.executable, "-m", "relume", "xray"]
Profiles = tuple[np.ndarray, np.ndarray]


def simulated(folder: Path, args: argparse.Namespace) -> float:
    """Seconds to simulate the tiles, 0 where they are there."""
    if (folder / "TileConfiguration.txt").is_file():
        return 0.0
    began = time.perf_counter()
    shape = ["--mosaic", args.side, "--size", args.size, "--seed", args.seed, "--overlap", args.overlap]
    sample = ["--kind", args.kind, "--mode", args.mode]
    command = [*RELUME, "simulate", "-o", folder, *shape, *sample, "-q", "--overwrite"]
    subprocess.run([str(part) for part in command], check=True)
    return time.perf_counter() - began


def watched(command: list[str], stop: Callable[[], bool]) -> tuple[float, int, bool]:
    """Runs it until ``stop``: seconds, the largest resident set in bytes, and whether it was killed."""
    began, peak = time.perf_counter(), 0
    process = subprocess.Popen(command)
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        if stop():
            process.send_signal(signal.SIGKILL)
            process.wait()
            return time.perf_counter() - began, peak, True
        if found := re.search(r"VmHWM:\s+(\d+)", status.read_text()):
            peak = int(found[1]) * 1024
        time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return time.perf_counter() - began, peak, False


def stitched(folder: Path, out: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """The runs that it took: two that are killed, and the one that ends."""
    work = out.with_name(f".{out.name}.relume")
    pairs = 2 * args.side * (args.side - 1)
    bands = int(2 * args.side * (1 - args.overlap))

    def registering() -> bool:
        path = work / "links.jsonl"
        return path.is_file() and len(path.read_bytes().splitlines()) >= pairs / 2

    def fusing() -> bool:
        return len(list(work.glob("band-*.npz"))) >= bands / 2

    command = [*RELUME, "mosaic", str(folder), "-o", str(out), "--dark", str(folder / "dark.tif")]
    command += ["--mode", args.mode, "--overwrite"]
    out.unlink(missing_ok=True)
    shutil.rmtree(work, ignore_errors=True)  # of a benchmark that was stopped itself
    runs = []
    for stop in (registering, fusing, lambda: False):
        seconds, peak, killed = watched(command, stop)
        runs.append({"seconds": round(seconds, 1), "peak_bytes": peak, "killed": killed})
        print(runs[-1], flush=True)
        if not killed:
            break
    return runs


def profiles(out: Path) -> Profiles:
    """Means of ln T of the result along both axes, read in bands."""
    import h5py

    with h5py.File(out) as file:
        data = file["exchange/data"]
        h, w = data.shape[-2:]
        sums, counts = [np.zeros(h), np.zeros(w)], [np.zeros(h), np.zeros(w)]
        for top in range(0, h, 256):
            part = np.asarray(data[..., top : top + 256, :], np.float64).reshape(-1, w)
            level = np.log(np.maximum(part, 1e-6))
            for axis, area in ((0, slice(top, top + len(part))), (1, slice(None))):
                sums[axis][area] += np.nansum(level, axis=1 - axis)
                counts[axis][area] += np.isfinite(level).sum(1 - axis)
    return full(sums, counts)


def full(sums: list[np.ndarray], counts: list[np.ndarray]) -> Profiles:
    """Means of the lines that tiles fill by half or more: a turned stage leaves the borders ragged."""
    rows, columns = (s[c >= c.max() / 2] / c[c >= c.max() / 2] for s, c in zip(sums, counts, strict=True))
    return rows, columns


def agreement(folder: Path, out: Path) -> dict[str, float]:
    """How tiles agree where they overlap, by the places, gains and light that the result tells.

    ``rms`` of their log ratio after a blur; of its absolute median in each overlap the ``median``, and what
    99 of 100 overlaps do not exceed.
    """
    import h5py

    with h5py.File(out) as file:
        told = {
            name: file[f"exchange/{name}"][:] for name in ("background", "positions", "gains", "slow_modes")
        }
    n = len(told["gains"])
    held = Balance(told["gains"], told["slow_modes"], np.zeros(14), np.zeros(n), Gauge(0, [], [], {}))
    field = np.log(np.maximum(told["background"].astype(np.float64), 1e-9))
    found = Solution(told["positions"], [], field, held, (1.0, 1.0))
    dark = float(np.median(open_scan(folder / "dark.tif").frames[0]))
    looks = Looks(open_scan(folder).frames, dark, artefacts=Artefacts())
    each = seams([fuse.laid(looks, found, i) for i in range(n)], np.floor(found.places))
    levels = np.abs([one.median for one in each])
    return {
        "rms": round(float(np.sqrt(np.mean([one.rms**2 for one in each]))), 4),
        "median": round(float(np.median(levels)), 4),
        "99_of_100": round(float(np.percentile(levels, 99)), 4),
        "overlaps": len(each),
    }


def laid(folder: Path, name: str) -> Profiles:
    """The same of the tiles ``name`` of the simulation, each laid where it really is."""
    import h5py

    with h5py.File(folder / "truth.h5") as file:
        corners = np.rint(file["exchange/positions"][:]).astype(int)
        truth = file[f"exchange/{'data' if name == 'truth' else 'background'}"]
        raw = open_scan(folder).frames
        dark = float(np.median(open_scan(folder / "dark.tif").frames[0]))
        n = truth.shape[-1]
        corners -= corners.min(0)
        sums = [np.zeros(side + n) for side in corners.max(0)]
        counts = [np.zeros(side + n) for side in corners.max(0)]
        for i, corner in enumerate(corners):
            tile = np.asarray(truth[i] if name == "truth" else raw[i] - dark, np.float64)
            level = np.log(np.maximum(tile, 1e-6 if name == "truth" else 1))
            for axis in (0, 1):
                area = slice(corner[axis], corner[axis] + n)
                sums[axis][area] += level.sum(1 - axis)
                counts[axis][area] += n
    return full(sums, counts)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=31, help="tiles along a side")
    parser.add_argument("--size", type=int, default=512, help="pixels along a side of a tile")
    parser.add_argument("--overlap", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=200_001)
    parser.add_argument("--kind", default="particles")
    parser.add_argument("--mode", default="zernike", choices=("zernike", "absorption"))
    parser.add_argument("--quick", action="store_true", help="8×8 tiles of 128²; nothing is kept")
    parser.add_argument("--data", type=Path, default=Path("runs/xray-mosaic"))
    parser.add_argument("--name", default="unnamed", help="name of the machine, for the file")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    args = parser.parse_args()
    if args.quick:
        args.side, args.size = 8, 128
    what = f"{args.side}x{args.size}-{args.seed}-{args.kind}-{args.mode}"
    folder = args.data / what
    folder.mkdir(parents=True, exist_ok=True)
    painting = simulated(folder, args)
    runs = stitched(folder, args.data / f"{what}.h5", args)
    step = args.size * (1 - args.overlap)
    found = {
        "result": profiles(args.data / f"{what}.h5"),
        "raw": laid(folder, "raw"),
        "truth": laid(folder, "truth"),
    }
    pitch = {name: [round(profile_peak(line, step), 3) for line in both] for name, both in found.items()}
    facts = {
        "suite": "xray-mosaic",
        "version": __version__,
        "commit": git("rev-parse", "HEAD"),
        "machine": machine() | {"threads": os.environ.get("OMP_NUM_THREADS", "all")},
        **{name: getattr(args, name) for name in ("side", "size", "overlap", "seed", "kind", "mode")},
        "simulation_seconds": round(painting, 1),
        "runs": runs,
        "seconds": round(sum(run["seconds"] for run in runs), 1),
        "peak_bytes": max(run["peak_bytes"] for run in runs),
        "pitch": pitch,
        "seams": agreement(folder, args.data / f"{what}.h5"),
    }
    print(json.dumps(facts, indent=1))
    if not args.quick:
        args.out.mkdir(parents=True, exist_ok=True)
        target = args.out / f"xray-mosaic--{args.name}--cpu.json"
        target.write_text(json.dumps(facts, indent=1) + "\n")
        print(target)


if __name__ == "__main__":
    main()
