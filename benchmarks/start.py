"""Where does the time go before and between the photographs?

process   whole `relume restore` processes of one small photograph: nothing kept, the first with an empty
          cache, and every later one; wall clock and CPU seconds, interleaved
stages    the same from within: import, decode, load, first and second photograph
batches   seconds a tile when 1, 2 or 4 tiles run at once, on each engine
folder    a folder of photographs with and without reading ahead and writing behind
aot       an AOTInductor package of the net: making, loading, the first tile and the next ones

Parts that stand in the result already are not measured again; --again does so.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from quality import git, rounded
from relume import Restorer, __version__, bundle, engines, image
from relume.bench.machine import machine
from relume.errors import RelumeError
from relume.image import Image

HERE = Path(__file__).resolve().parent
ENGINES = (("openvino", "auto"), ("openvino", "f32"), ("onnx", "f32"), ("pytorch", "f32"))

STAGES = """
import json, sys, time
laps, last = {}, [time.perf_counter(), time.process_time()]
def lap(name):
    now = [time.perf_counter(), time.process_time()]
    laps[name] = [now[0] - last[0], now[1] - last[1]]
    last[:] = [time.perf_counter(), time.process_time()]
from relume import Restorer, image
from relume.tasks import restore
lap("import")
picture = image.read(sys.argv[1])
lap("decode")
restorer = Restorer()
lap("load")
for name in ("first photograph", "second photograph", "third photograph"):
    restorer.restore(picture)
    lap(name)
print(json.dumps(laps))
"""

AOT = """
import json, sys, time
import numpy, torch
began = time.perf_counter()
run = torch._inductor.aoti_load_package(sys.argv[1])
loaded = time.perf_counter()
given = [torch.from_numpy(array) for array in numpy.load(sys.argv[2]).values()]
times = []
with torch.inference_mode():
    for _ in range(int(sys.argv[3])):
        before = time.perf_counter()
        result = run(*given)
        times.append(time.perf_counter() - before)
numpy.save(sys.argv[4], result.numpy())
print(json.dumps({"load_s": loaded - began, "first_tile_s": times[0], "tile_s": times[1:]}))
"""


def timed(command: Sequence[str], **environment: str) -> tuple[float, float, str]:
    """Wall and CPU seconds of a process, and what it printed."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def in_turn(cases: dict[str, Callable[[], tuple[float, float]]], rounds: int) -> dict[str, Any]:
    """Interleaved rounds after one that does not count: (wall, CPU) seconds of each case."""
    kept: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, run in cases.items():
            taken = run()
            if number:
                kept[name].append(taken)
    for name, taken in kept.items():
        wall, cpu = np.median(taken, axis=0)
        print(f"{name:40} {1e3 * wall:9.1f} ms, CPU {1e3 * cpu:9.1f} ms", flush=True)
    return {name: {"wall_s": [w for w, _ in t], "cpu_s": [c for _, c in t]} for name, t in kept.items()}


def process(args: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    command = [
        "-m",
        "relume",
        "restore",
        str(args.photo),
        "-o",
        str(scratch / "out.png"),
        "--overwrite",
        "-q",
    ]
    homes = iter(range(1_000_000))

    def run(home: str, cache: str) -> tuple[float, float]:
        wall, cpu, _ = timed(command, RELUME_HOME=home, RELUME_CACHE=cache)
        return wall, cpu

    return in_turn(
        {
            "interpreter alone": lambda: timed(["-c", "pass"])[:2],
            "nothing kept": lambda: run(str(scratch / "home"), "off"),
            "an empty cache": lambda: run(str(scratch / f"home{next(homes)}"), "on"),
            "a cache": lambda: run(str(scratch / "home"), "on"),
        },
        args.rounds,
    )


def stages(args: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    found: dict[str, list[dict[str, list[float]]]] = {"nothing kept": [], "a cache": []}
    for number in range(args.rounds + 1):
        for name, cache in (("nothing kept", "off"), ("a cache", "on")):
            home = str(scratch / "home")
            printed = timed(["-c", STAGES, str(args.photo)], RELUME_HOME=home, RELUME_CACHE=cache)[2]
            if number:
                found[name].append(json.loads(printed))
    for name, runs in found.items():
        for stage in runs[0]:
            wall, cpu = np.median([run[stage] for run in runs], axis=0)
            print(f"{name:14} {stage:20} {1e3 * wall:8.1f} ms, CPU {1e3 * cpu:8.1f} ms", flush=True)
    return found


def batches(args: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    model, rng = bundle.find(args.model), np.random.default_rng(0)
    cases: dict[str, Callable[[], tuple[float, float]]] = {}
    for name, precision in ENGINES:
        try:
            engine = engines.load(
                model, "local", engine=name, precision=precision, threads=args.threads, build=_build
            )
        except RelumeError as error:
            print(f"{name} {precision}: {error}")
            continue
        for side in args.sides:
            for size in (1, 2, 4):
                arrays = [rng.random((size, c, side, side), np.float32) for c in (3, 4)]

                def run(engine: Any = engine, arrays: Any = arrays, size: int = size) -> tuple[float, float]:
                    wall, cpu = time.perf_counter(), time.process_time()
                    engine(*arrays, np.ones(size, np.float32))
                    return (time.perf_counter() - wall) / size, (time.process_time() - cpu) / size

                cases[f"{engine.name} {engine.precision}, {side}, batch {size}"] = run
    return in_turn(cases, args.rounds)


def folder(args: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    pictures = scratch / "pictures"
    pictures.mkdir()
    given = image.read(args.photo)
    across = -(-1600 // given.width), -(-1200 // given.height)
    large = np.tile(given.srgb(), (across[1], across[0], 1))[:1200, :1600]
    for number in range(args.pictures):
        image.write(Image(np.roll(large, 7 * number, axis=1)), pictures / f"{number}.png")
    command = ["-m", "relume", "restore", str(pictures), "-o", str(scratch / "done"), "--overwrite", "-q"]
    # A bound on memory is what takes one picture at a time.
    return in_turn(
        {
            f"{args.pictures} pictures, one by one": lambda: timed([*command, "--max-memory", "64G"])[:2],
            f"{args.pictures} pictures, overlapped": lambda: timed(command)[:2],
        },
        args.rounds,
    )


def aot(args: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    import torch

    model = bundle.find(args.model)
    eager = engines.load(model, "local", engine="pytorch", device="cpu", precision="f32", build=_build)
    arrays = engines.example(model, "local", args.sides[0])
    given = tuple(map(torch.from_numpy, arrays))
    began = time.perf_counter()
    with torch.inference_mode():
        exported = torch.export.export(eager._module, given)  # type: ignore[attr-defined]
        package = torch._inductor.aoti_compile_and_package(exported, package_path=str(scratch / "net.pt2"))
    made = time.perf_counter() - began
    np.savez(scratch / "given.npz", *arrays)
    files = [package, str(scratch / "given.npz"), str(args.rounds + 1), str(scratch / "out.npy")]
    wall, cpu, printed = timed(["-c", AOT, *files])
    error = float(np.abs(np.load(scratch / "out.npy") - eager(*arrays)).max())
    facts = {
        "side": args.sides[0],
        "make_s": made,
        "package_bytes": Path(package).stat().st_size,
        "process_wall_s": wall,
        "process_cpu_s": cpu,
        "largest_difference": error,
        **json.loads(printed),
    }
    print({**facts, "tile_s": float(np.median(facts["tile_s"]))}, flush=True)
    return facts


def _build(kind: str, config: dict[str, Any]) -> Any:
    from relume.nets import build

    return build(kind, config)


PARTS = {each.__name__: each for each in (process, stages, batches, folder, aot)}


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photo", type=Path, help="a small photograph")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--model", default="photo")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 512], help="of the tiles")
    parser.add_argument("--pictures", type=int, default=8, help="in the folder")
    parser.add_argument("--threads", type=int, help="CPU threads of the engines (default: their own)")
    parser.add_argument("--again", action="store_true", help="measure what stands there, too")
    parser.add_argument("--quick", action="store_true", help="one round of little, to see that it works")
    parser.add_argument("--name", default="unnamed", help="name of the machine, for the file")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    args = parser.parse_args(argv)
    if args.quick:
        args.rounds, args.sides, args.pictures = 1, [128], 2
    return args


def main(argv: Sequence[str] | None = None) -> Path:
    args = options(argv)
    target = args.out / f"start--{args.name}--cpu.json"
    there = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
    restorer = Restorer(args.model)
    report = {
        **there,
        "suite": "start",
        "version": __version__,
        "commit": git("rev-parse", "HEAD"),
        "changed": bool(git("status", "--porcelain", "--untracked-files=no")),
        "model": {"name": restorer.bundle.name, "hash": restorer.bundle.hash},
        "machine": machine(),
        "engine": f"{restorer.engine.name} {restorer.engine.version} {restorer.engine.precision}",
    }
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.parts:
        if name in there and not args.again:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            report[name] = rounded(PARTS[name](args, Path(scratch)))
        target.write_text(json.dumps(report, allow_nan=False) + "\n", encoding="utf-8")
    print(target)
    return target


if __name__ == "__main__":
    main()
