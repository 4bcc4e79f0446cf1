"""How long does a visitor wait, at which rate of visitors? One picture after another, against step by step.

A real ``relume serve`` on this machine's loopback gets pictures by Poisson arrivals, thumbnails and a few
scans, whether or not it keeps up (an open loop: a closed one would wait for the slow answers and hide the
queue). Rates are shares of the capacity, which is measured first, one request after another. Every way gets
the same requests at the same times. Latency runs from the moment at which a request was due until its result
is there.

It goes on where it was left: what a result file holds is not measured again. For figures that are to be kept
run it on a machine that does nothing else.
"""

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from relume import __version__, bundle, image
from relume.bench.machine import machine
from relume.client import Client
from relume.errors import Busy, RelumeError
from relume.files import place

HERE = Path(__file__).resolve().parent
LOADS = [0.3, 0.5, 0.7, 0.85, 0.95, 1.1]
IN_FLIGHT = 256  # requests that wait for an answer at once; one more counts as refused
START = 120.0  # seconds that a server has to listen, engines measured and compiled


@dataclass(frozen=True)
class Arrival:
    """A request: when it is due, whether it brings a scan, and a seed that makes it one of its own."""

    due: float
    scan: bool
    seed: int


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="photo")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--jobs", type=int, default=4, help="in flight at once, step by step")
    parser.add_argument("--batch", type=int, default=1, help="above 1: a third way, in batches of so many")
    parser.add_argument("--thumbnail", type=int, default=240, help="longer side in pixels")
    parser.add_argument("--scan", type=int, default=1600, help="longer side in pixels")
    parser.add_argument("--scans", type=float, default=0.1, help="their share of the requests")
    parser.add_argument("--loads", type=float, nargs="+", default=LOADS, help="shares of the capacity")
    parser.add_argument("--seconds", type=float, default=300.0, help="of arrivals at each rate")
    parser.add_argument("--drain", type=float, default=300.0, help="most seconds to wait for what is left")
    parser.add_argument("--probes", type=int, default=20, help="requests by which the capacity is measured")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="does it run at all? two rates of five seconds")
    parser.add_argument("--name", default="unnamed", help="name of the machine, for the file")
    parser.add_argument("--device", default="cpu", help="for the file's name")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    args = parser.parse_args(argv)
    if args.quick:
        args.loads, args.seconds, args.drain, args.probes, args.scan = [0.5, 0.9], 5.0, 60.0, 5, 600
    return args


def ways(args: argparse.Namespace) -> dict[str, list[str]]:
    """Name → the options of the server."""
    found = {"one at a time": ["--jobs", "1"], "step by step": ["--jobs", str(args.jobs)]}
    if args.batch > 1:
        found[f"in batches of {args.batch}"] = ["--jobs", str(args.jobs), "--batch", str(args.batch)]
    return found


@contextmanager
def serving(args: argparse.Namespace, extra: list[str]) -> Iterator[Client]:
    """A server of its own, on a free port of the loopback, with a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="relume-serving-") as folder:
        command = [sys.executable, "-m", "relume", "serve", "--port", "0", "--data", folder, *extra]
        command += ["--model", args.model, "--engine", args.engine, "--drain", "1s"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
        assert process.stderr is not None
        try:
            address = next((line.split()[-1] for line in process.stderr if " listens on " in line), None)
            if address is None:
                raise SystemExit("the server did not start: run relume serve to see why")
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield Client(address, patience=0, timeout=START)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def pictures(args: argparse.Namespace) -> dict[bool, bytes]:
    """A scan and a thumbnail: soft shapes with grain, as JPEG."""
    made = {}
    for scan, side in ((True, args.scan), (False, args.thumbnail)):
        rng = np.random.default_rng(args.seed)
        y, x = np.mgrid[0 : side * 3 // 4, 0:side] / side
        waves = [np.sin(9 * (x * a + y * b) + c) for a, b, c in rng.normal(0, 1, (3, 3))]
        pixels = 0.5 + 0.35 * np.stack(waves, axis=2) + rng.normal(0, 0.03, (*x.shape, 3))
        made[scan] = image.encode(image.Image(np.clip(pixels, 0, 1).astype(np.float32), format="JPEG"))
    return made


def once(client: Client, picture: bytes, seed: int) -> None:
    """One request, to its very result."""
    id = client.submit(picture, {"seed": seed})["id"]
    for _ in client.follow(id):
        pass
    client.result(id)


def arrivals(args: argparse.Namespace, rate: float) -> list[Arrival]:
    """A Poisson process of that rate; the same for every way."""
    rng = np.random.default_rng([args.seed, round(1e6 * rate)])
    found: list[Arrival] = []
    due = rng.exponential(1 / rate)
    while due < args.seconds:
        found.append(Arrival(due, bool(rng.random() < args.scans), 1000 + len(found)))
        due += rng.exponential(1 / rate)
    return found


def capacity(args: argparse.Namespace, sent: dict[bool, bytes]) -> dict[str, float]:
    """Requests a second of this mix, one after another: one over the mean time of a request."""
    seconds: dict[bool, float] = {}
    with serving(args, ways(args)["one at a time"]) as client:
        for scan in (False, True):
            once(client, sent[scan], 0)  # the engine compiles for this size
            began = time.perf_counter()
            for seed in range(1, 1 + args.probes):
                once(client, sent[scan], seed)
            seconds[scan] = (time.perf_counter() - began) / args.probes
    mean = args.scans * seconds[True] + (1 - args.scans) * seconds[False]
    return {"thumbnail_s": seconds[False], "scan_s": seconds[True], "requests_per_s": 1 / mean}


def load(args: argparse.Namespace, extra: list[str], rate: float, sent: dict[bool, bytes]) -> dict[str, Any]:
    """One cell: so many requests a second, and what became of them."""
    due = arrivals(args, rate)
    latency: dict[int, float] = {}
    refused: list[int] = []
    room = threading.BoundedSemaphore(IN_FLIGHT)

    with serving(args, extra) as client:
        for scan in (False, True):
            once(client, sent[scan], 0)
        began = time.perf_counter()

        def request(number: int, arrival: Arrival) -> None:
            try:
                once(client, sent[arrival.scan], arrival.seed)
                latency[number] = time.perf_counter() - began - arrival.due
            except Busy:
                refused.append(number)
            except RelumeError:
                pass  # cut off at the end: it counts as unfinished
            finally:
                room.release()

        threads = []
        for number, arrival in enumerate(due):
            time.sleep(max(0.0, began + arrival.due - time.perf_counter()))
            if not room.acquire(blocking=False):
                refused.append(number)
                continue
            threads.append(threading.Thread(target=request, args=(number, arrival), daemon=True))
            threads[-1].start()
        end = time.perf_counter() + args.drain
        for thread in threads:
            thread.join(max(0.0, end - time.perf_counter()))
        over = time.perf_counter() - began
        done, turned = dict(latency), set(refused)
    for thread in threads:
        thread.join()
    return {
        "rate": rate,
        "sent": len(due),
        "done": len(done),
        "refused": len(turned),
        "throughput": len(done) / over,
        **{
            name: quantiles(
                [done.get(k, math.inf) for k, each in enumerate(due) if each.scan == scan and k not in turned]
            )
            for name, scan in (("thumbnails", False), ("scans", True))
        },
    }


def quantiles(seconds: list[float]) -> dict[str, float | int | None]:
    """The least latency that so many stay below; None where that one was not done when the cell ended."""
    ordered = sorted(seconds)
    found: dict[str, float | int | None] = {"count": len(ordered)}
    for percent in (50, 95, 99):
        value = ordered[math.ceil(percent / 100 * len(ordered)) - 1] if ordered else math.inf
        found[f"p{percent}_s"] = value if math.isfinite(value) else None
    return found


def git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, cwd=HERE).stdout.strip()


def begun(args: argparse.Namespace, target: Path) -> dict[str, Any]:
    """The report so far: that of the file, if it is about the same thing."""
    found = bundle.find(args.model)
    names = ("engine", "jobs", "thumbnail", "scan", "scans", "seconds", "drain", "probes", "seed")
    fresh: dict[str, Any] = {
        "suite": "serving",
        "version": __version__,
        "commit": git("rev-parse", "HEAD"),
        "model": {"name": found.name, "hash": found.hash},
        "machine": machine(),
        "workload": {name: getattr(args, name) for name in names},
        "capacity": None,
        "cells": [],
    }
    if not target.exists():
        return fresh
    kept: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
    if any(kept[name] != fresh[name] for name in ("model", "machine", "workload")):
        raise SystemExit(f"{target} holds another workload, model or machine: give another --out or --name")
    return kept


def main(argv: Sequence[str] | None = None) -> Path:
    args = options(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    target: Path = args.out / f"serving--{args.name.lower()}--{args.device}.json"
    report, sent = begun(args, target), pictures(args)

    def keep() -> None:
        place((json.dumps(report, indent=1, allow_nan=False) + "\n").encode(), target, overwrite=True)

    if report["capacity"] is None:
        report["capacity"] = capacity(args, sent)
        keep()
    for share in args.loads:
        for way, extra in ways(args).items():
            if any((cell["way"], cell["load"]) == (way, share) for cell in report["cells"]):
                continue
            rate = share * report["capacity"]["requests_per_s"]
            report["cells"].append({"way": way, "load": share, **load(args, extra, rate, sent)})
            keep()
    show(report)
    print(target)
    return target


def show(report: dict[str, Any]) -> None:
    """The table of the documentation."""
    names = ["p50_s", "p95_s", "p99_s"]
    print("| load | way | done a second | refused | thumbnails p50, p95, p99 | scans p50, p95, p99 |")
    print("|---|---|---|---|---|---|")
    for cell in sorted(report["cells"], key=lambda cell: cell["load"]):
        columns = [
            ", ".join("–" if cell[kind][name] is None else f"{cell[kind][name]:.2f}" for name in names)
            for kind in ("thumbnails", "scans")
        ]
        throughput, refused = f"{cell['throughput']:.2f}", f"{cell['refused']} of {cell['sent']}"
        print(f"| {cell['load']} | {cell['way']} | {throughput} | {refused} | {' s | '.join(columns)} s |")


if __name__ == "__main__":
    main()
