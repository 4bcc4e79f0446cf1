"""How long does a visitor wait, at which rate of visitors? One picture after another, against step by step.

A real ``relume serve`` on this machine's loopback gets pictures by Poisson arrivals, thumbnails and a few
scans, whether or not it keeps up (an open loop: a closed one would wait for the slow answers and hide the
queue). Rates are shares of what the service does of this mix one picture after another with requests always
waiting, which is measured first, and of the other ways too. Every way gets the same requests at the same
times. Latency runs from the moment at which a request was due until its result is there. The queue holds so
many seconds of work; what comes when it is full is refused.

The intervals (95 %) come from resampling whole stretches of ten seconds, as neighbours wait in one queue.
The callers run on the same machine and take their part of it. As it stands a run takes about 17 minutes.
It goes on where it was left: what a result file holds is not measured again. For figures that are to be kept
run it on a machine that does nothing else. ``--page`` writes the table into the documentation.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pages import placed
from relume import __version__, bundle, image
from relume.bench.machine import machine
from relume.client import Client
from relume.errors import Busy, RelumeError
from relume.files import place

HERE = Path(__file__).resolve().parent
LOADS = [0.5, 0.8, 1.0, 1.3]
ONE, STEPS = "one at a time", "step by step"
CALLERS = 8  # that keep requests waiting while the capacity is measured
STRETCH, TIMES = 10.0, 1000  # seconds of arrivals that are resampled together, and how often
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
    parser.add_argument("--calls", type=int, default=2, help="evaluations at once, step by step")
    parser.add_argument("--batch", type=int, default=1, help="above 1: a third way, in batches of so many")
    parser.add_argument("--thumbnail", type=int, default=240, help="longer side in pixels")
    parser.add_argument("--scan", type=int, default=1600, help="longer side in pixels")
    parser.add_argument("--scans", type=float, default=0.1, help="their share of the requests")
    parser.add_argument("--loads", type=float, nargs="+", default=LOADS, help="shares of the capacity")
    parser.add_argument("--seconds", type=float, default=90.0, help="of arrivals at each rate")
    parser.add_argument("--drain", type=float, default=60.0, help="most seconds to wait for what is left")
    parser.add_argument("--probe", type=float, default=30.0, help="seconds by which a capacity is measured")
    parser.add_argument("--queue", type=float, default=15.0, help="seconds of work that may wait")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="does it run at all? two rates of five seconds")
    parser.add_argument("--name", default="unnamed", help="name of the machine, for the file")
    parser.add_argument("--device", default="cpu", help="for the file's name")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    parser.add_argument("--page", type=Path, help="docs/service.md, into which the table is written")
    args = parser.parse_args(argv)
    if args.quick:
        args.loads, args.seconds, args.drain, args.probe, args.scan = [0.5, 1.3], 5.0, 60.0, 3.0, 600
    return args


def ways(args: argparse.Namespace) -> dict[str, list[str]]:
    """Name → the options of the server."""
    shared = ["--jobs", str(args.jobs), "--calls", str(args.calls)]
    found = {ONE: ["--jobs", "1", "--calls", "1"], STEPS: shared}
    if args.batch > 1:
        found[f"in batches of {args.batch}"] = [*shared, "--batch", str(args.batch)]
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


def capacity(args: argparse.Namespace, extra: list[str], sent: dict[bool, bytes]) -> dict[str, float]:
    """Requests a second of this mix where there always is one that waits."""
    lock, rng, done = threading.Lock(), np.random.default_rng(args.seed), [0]
    with serving(args, extra) as client:
        for scan in (False, True):
            once(client, sent[scan], 0)  # the engine compiles for this size
        began = time.perf_counter()

        def ask() -> None:
            while time.perf_counter() - began < args.probe:
                with lock:
                    done[0] += 1
                    seed, scan = done[0], bool(rng.random() < args.scans)
                once(client, sent[scan], seed)

        callers = [threading.Thread(target=ask, daemon=True) for _ in range(CALLERS)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        seconds = time.perf_counter() - began
    return {"requests": done[0], "seconds": seconds, "requests_per_s": done[0] / seconds}


def bound(args: argparse.Namespace, rate: float) -> list[str]:
    """The option that lets ``--queue`` seconds of work wait: pixels, as a restoration is one evaluation."""
    sides = ((args.scans, args.scan), (1 - args.scans, args.thumbnail))
    mean = sum(share * side * (side * 3 // 4) for share, side in sides)
    return ["--max-queue", str(max(1, round(args.queue * rate * mean)))]


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
            name: spread(
                [
                    (each.due, done.get(k, math.inf))
                    for k, each in enumerate(due)
                    if k not in turned and fits(each)
                ]
            )
            for name, fits in KINDS.items()
        },
    }


KINDS: dict[str, Callable[[Arrival], bool]] = {
    "all": lambda each: True,
    "thumbnails": lambda each: not each.scan,
    "scans": lambda each: each.scan,
}


def spread(taken: list[tuple[float, float]]) -> dict[str, Any]:
    """The quantiles of (due, latency) and their 95 % intervals, by a bootstrap of stretches of time."""
    stretches: dict[int, list[float]] = {}
    for due, seconds in taken:
        stretches.setdefault(int(due // STRETCH), []).append(seconds)
    groups, rng = list(stretches.values()), np.random.default_rng(0)
    drawn = [
        quantiles([one for k in rng.integers(0, len(groups), len(groups)) for one in groups[k]])
        for _ in range(TIMES if len(groups) > 1 else 0)
    ]
    found = quantiles([seconds for _, seconds in taken])
    intervals = {
        name: quantiles_of([math.inf if each[name] is None else each[name] for each in drawn])
        for name in ("p50_s", "p95_s", "p99_s")
    }
    return {**found, "intervals": intervals}


def quantiles_of(values: list[Any]) -> list[float | None]:
    """The middle 95 % of what was drawn; None where it has no end."""
    ordered = sorted(values)
    ends = [ordered[int(share * (len(ordered) - 1))] for share in (0.025, 0.975)] if ordered else []
    return [end if math.isfinite(end) else None for end in ends]


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
    names = (
        "engine",
        "jobs",
        "calls",
        "thumbnail",
        "scan",
        "scans",
        "seconds",
        "drain",
        "probe",
        "queue",
        "seed",
    )
    fresh: dict[str, Any] = {
        "suite": "serving",
        "version": __version__,
        "commit": git("rev-parse", "HEAD"),
        "model": {"name": found.name, "hash": found.hash},
        "machine": machine(),
        "workload": {name: getattr(args, name) for name in names},
        "capacity": {},
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

    for way, extra in ways(args).items():
        if way not in report["capacity"]:
            report["capacity"][way] = capacity(args, extra, sent)
            keep()
    whole = report["capacity"][ONE]["requests_per_s"]
    for share in args.loads:
        for way, extra in ways(args).items():
            if any((cell["way"], cell["load"]) == (way, share) for cell in report["cells"]):
                continue
            cell = load(args, [*extra, *bound(args, whole)], share * whole, sent)
            report["cells"].append({"way": way, "load": share, **cell})
            keep()
    print(text(report))
    if args.page is not None:
        placed(args.page, "serving", text(report))
    print(target)
    return target


def text(report: dict[str, Any]) -> str:
    """The table of the documentation."""
    wanted = report["workload"]
    lines = [
        f"{report['machine']['cpu']}, {report['machine']['cores']} cores, which the callers share; one "
        f"request in {1 / wanted['scans']:.0f} is a scan of {wanted['scan']} pixels, the others are of "
        f"{wanted['thumbnail']}. With requests always waiting: "
        + ", ".join(
            f"{way} {each['requests_per_s']:.2f} a second" for way, each in report["capacity"].items()
        )
        + f". Each row is {wanted['seconds']:.0f} seconds of arrivals; in brackets 95 % intervals.",
        "",
        "| offered a second | way | achieved | refused | p50, s | p95, s | p99, s | small p95 | scans p95 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for cell in sorted(report["cells"], key=lambda cell: cell["load"]):
        columns = [f"{cell['rate']:.2f}", cell["way"], f"{cell['throughput']:.2f}"]
        columns.append(f"{cell['refused']} of {cell['sent']}")
        columns += [told(cell["all"], name) for name in ("p50_s", "p95_s", "p99_s")]
        columns += [told(cell[kind], "p95_s") for kind in ("thumbnails", "scans")]
        lines.append(f"| {' | '.join(columns)} |")
    return "\n".join(lines)


def told(found: dict[str, Any], name: str) -> str:
    """A quantile and its interval; – is beyond the end of the measurement."""
    value, *ends = (
        "–" if each is None else f"{each:.2f}" for each in (found[name], *found["intervals"][name])
    )
    return f"{value} ({' … '.join(ends)})" if ends else value


if __name__ == "__main__":
    main()
