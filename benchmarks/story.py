"""From the founding shape to relume: where does each factor come from?

The founding shape is 300 steps of a conditional U-Net that predicts noise, in PyTorch eager at float32, on
the same 512×512 photograph. One of its steps is timed in the same interleaved rounds as everything else, and
300 of them are modelled from it; that the model holds is checked by one whole chain on a smaller picture
(--whole: on the photograph itself). The factors are quotients of neighbouring rungs, so that their product is
the whole.

Cold is a process from its start to its end: `python -m relume restore` of the photograph as a file.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from pages import placed
from quality import checksum, chosen, git
from relume import Restorer, Settings, __version__, image
from relume.bench.classical import ROWS
from relume.bench.clock import interleaved, warm_up
from relume.bench.quality import psnr, ssim
from relume.bench.report import Report, Row, dump, load
from relume.image import Image
from relume.nets import build
from relume.tasks.contenders import Contender, diffused
from relume.tasks.evaluate import damaged_by
from relume.tasks.generate import TRAINED_STEPS, table
from relume.tasks.speed import Wanted, benchmark, pattern
from relume.tasks.speed.flops import graph_work
from relume.tasks.speed.founding import chain_seconds, one_step, torch_threads
from relume.tasks.speed.layers import convolution_rate, profiles
from relume.tasks.speed.models import tile_inputs
from relume.train.checkpoint import averaged

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "speed.md"
SIDE = 512
CHECK_SIDE = 128
MODES = {"fast": 1, "balanced": 4}
CLASSICAL = ("median", "combined")
NOT_TRAINED = "not trained"


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, help="folder of clean photographs, held out: for the quality")
    parser.add_argument("--count", type=int, default=12, help="so many of them (default: 12)")
    parser.add_argument(
        "--founding", type=Path, metavar="FILE", help="a trained founding net, for its quality"
    )
    parser.add_argument("--model", default="photo")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--budget", type=float, default=120.0, help="seconds for the rounds")
    parser.add_argument("--runs", type=int, default=5, help="whole processes")
    parser.add_argument("--threads", type=int, help="default: all that this process may use")
    parser.add_argument("--whole", action="store_true", help="run all 300 steps on the photograph itself too")
    parser.add_argument("--quick", action="store_true", help="a small picture and few rounds: does it run?")
    parser.add_argument(
        "--quality-only",
        action="store_true",
        help="measure no time: put the quality of today into the file that is there",
    )
    parser.add_argument("--name", default="unnamed", help="name of the machine, for the file")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    parser.add_argument("--page", type=Path, help="write the tables between the marks of this page, too")
    args = parser.parse_args(argv)
    if args.quick:
        args.rounds, args.budget, args.runs, args.count = 3, 10.0, 1, 2
    return args


def photograph(args: argparse.Namespace, side: int) -> Any:
    """The damaged photograph, side × side × 3: of the folder's first, mirrored to size, or else a pattern."""
    if args.photos is None:
        return pattern(side, side)
    path = chosen(args.photos, args.count)[0]
    clean = image.read(path).srgb()
    rows, columns = (np.resize(np.r_[0:n, n - 1 : -1 : -1], side) for n in clean.shape[:2])
    made = Image(np.ascontiguousarray(clean[rows][:, columns]))
    return damaged_by(path.name, made, recipe_name="old-photo", seed=0).damaged.srgb()


def rows_of(report: Report, **wanted: Any) -> list[Row]:
    return [row for row in report.rows if all(getattr(row, key) == value for key, value in wanted.items())]


def fastest(rows: Sequence[Row]) -> Row:
    return min(rows, key=lambda row: row.picture_s or float("inf"))


def ladder(report: Report, side: int, steps: int, shape: str) -> list[dict[str, Any]]:
    """Rungs from the founding shape down to the fastest engine, each with its factor over the one before."""
    (first,) = [row for row in rows_of(report, kind="founding", height=side) if f"({shape})" in row.name]
    assert first.evaluation is not None
    model = rows_of(report, kind="model", steps=steps, height=side)
    (eager,) = [row for row in model if (row.engine, row.precision) == ("pytorch", "f32")]
    exact = fastest([row for row in model if row.precision == "f32"])
    best = fastest(model)
    step = first.evaluation.median_s
    rungs = [
        ("start", f"{TRAINED_STEPS} steps of its U-Net, PyTorch eager f32", TRAINED_STEPS * step, "modelled"),
        ("steps", f"{steps} of its steps", steps * step, "modelled" if steps > 1 else "measured"),
        ("net", f"{steps} of relume's, PyTorch eager f32, whole restoration", eager.picture_s, "measured"),
        ("engine", f"the same on {exact.engine} f32", exact.picture_s, "measured"),
        ("precision", f"the same on {best.engine} {best.precision}", best.picture_s, "measured"),
    ]
    seconds = [rung[2] for rung in rungs]
    factors = [None, *(before / after for before, after in pairwise(seconds))]
    return [
        {"rung": name, "what": what, "seconds": value, "label": label, "factor": factor}
        for (name, what, value, label), factor in zip(rungs, factors, strict=True)
    ]


def engine_alone(report: Report, side: int) -> dict[str, Any]:
    """The same net, the same single step: the fastest engine against PyTorch eager f32, evaluation only."""
    model = [row for row in rows_of(report, kind="model", steps=1, height=side) if row.evaluation]
    seconds = {f"{row.engine} {row.precision}": row.evaluation.median_s for row in model if row.evaluation}
    best = min(seconds, key=lambda name: seconds[name])
    return {
        "engine": best,
        "factor": seconds["pytorch f32"] / seconds[best],
        "target": 4.0,
        "seconds": seconds,
    }


def module_alone(photo: Any, args: argparse.Namespace, best: Row, threads: int) -> dict[str, float]:
    """Seconds of one evaluation of one tile, interleaved: the module as anybody would call it, and engines.

    As it comes a module of PyTorch keeps its channels first, as the founding nets do in their rows; the
    engine "pytorch" keeps them last, which is faster here.
    """
    restorer = Restorer(args.model, engine=str(best.engine), precision=str(best.precision), threads=threads)
    arrays = tile_inputs(photo, restorer.tiling(*photo.shape[:2])[0])
    facts, tensors = restorer.bundle.facts("local"), restorer.bundle.tensors()
    module = build(facts["net"]["kind"], facts["net"]["config"]).eval()
    module.load_state_dict(
        {name: torch.from_numpy(tensors[f"{facts['prefix']}{name}"]).float() for name in module.state_dict()}
    )
    own = Restorer(args.model, engine="pytorch", precision="f32", threads=threads).engine
    given = [torch.from_numpy(array) for array in arrays]

    def as_it_comes() -> None:
        with torch_threads(threads), torch.inference_mode():
            module(*given)

    calls = {
        "PyTorch eager f32, channels first": as_it_comes,
        "engine pytorch f32": lambda: own(*arrays),
        f"engine {best.engine} {best.precision}": lambda: restorer.engine(*arrays),
    }
    for call in calls.values():
        warm_up(call)
    seconds = interleaved(calls, rounds=args.rounds, budget_s=args.budget)
    return {name: median(times) for name, times in seconds.items()}


def cold(photo: Any, args: argparse.Namespace, best: Row) -> dict[str, Any]:
    """Whole processes, one after the other; their files are in the page cache, as for a second photograph."""
    found: dict[str, Any] = {"what": "relume restore PHOTO -o RESULT, from start to end", "modes": {}}
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "photo.png"
        image.write(Image(photo), given)
        for mode, steps in MODES.items():
            command = [sys.executable, "-m", "relume", "restore", str(given), "-q", "--overwrite"]
            command += ["-o", str(Path(folder) / "result.png"), "--steps", str(steps), "--model", args.model]
            command += ["--engine", str(best.engine), "--precision", str(best.precision)]
            if args.threads is not None:
                command += ["--threads", str(args.threads)]
            seconds = []
            for _ in range(args.runs):
                began = time.perf_counter()
                subprocess.run(command, check=True)
                seconds.append(time.perf_counter() - began)
            found["modes"][mode] = {"steps": steps, "median_s": median(seconds), "runs_s": seconds}
    return found


def against_cold(found: dict[str, Any], report: Report, side: int) -> dict[str, Any]:
    """The founding shape as a process: its measured start and load, and 300 modelled steps."""
    for row in rows_of(report, kind="founding", height=side):
        if row.cold is None or row.modelled_picture_s is None:
            continue
        shape = row.name.partition("(")[2].partition(")")[0]
        whole = row.cold.start_s + row.cold.load_s + row.modelled_picture_s
        for mode in found["modes"].values():
            mode.setdefault("factor", {})[shape] = whole / mode["median_s"]
        found.setdefault("founding_s", {})[shape] = whole
    return found


def check_model(side: int, threads: int) -> dict[str, Any]:
    """A whole chain once: is it 300 times one of its steps?"""
    picture = pattern(side, side)
    step = one_step("recipe", picture, threads=threads)
    step()
    ones = []
    for _ in range(5):
        began = time.perf_counter()
        step()
        ones.append(time.perf_counter() - began)
    seconds = chain_seconds("recipe", picture, threads=threads)
    modelled = TRAINED_STEPS * median(ones)
    return {
        "side": side,
        "measured_s": sum(seconds),
        "modelled_s": modelled,
        "ratio": sum(seconds) / modelled,
    }


def convolutions(report: Report, restorer: Restorer, photo: Any) -> dict[str, Any]:
    """FLOP/s of the convolutions alone, by each engine's own profiler, against the matrix product's."""
    found = {}
    for profile in report.profiles:
        arrays = tile_inputs(photo, profile.height)
        ports = restorer.bundle.facts("local")["inputs"]
        shapes = {port["name"]: each.shape for port, each in zip(ports, arrays, strict=True)}
        rate = convolution_rate(profile, graph_work(restorer.bundle.graph("local"), shapes))
        whole = sum(each.seconds for each in profile.operations)
        taken = {
            kind: sum(each.seconds for each in profile.operations if each.operation == kind) / whole
            for kind in {each.operation for each in profile.operations}
        }
        peak = report.peaks.get(profile.precision)
        found[f"{profile.engine} {profile.precision}"] = {
            "flop_per_s": rate,
            "of_peak": None if peak is None else rate / peak.flop_per_s,
            "time_share": dict(sorted(taken.items(), key=lambda pair: -pair[1])),
        }
    return found


def quality(args: argparse.Namespace, best: Row) -> dict[str, Any]:
    """PSNR and SSIM over held-out photographs; it does not depend on the load of the machine."""
    if args.photos is None:
        return {"lacking": "no --photos were given", "rows": {}}
    files = chosen(args.photos, args.count)
    restorer = Restorer(args.model, engine=str(best.engine), precision=str(best.precision))
    methods = {"damaged": lambda picture: picture.srgb()}
    for name in CLASSICAL:
        if ROWS[name].lacking() is None:
            methods[name] = lambda picture, row=ROWS[name]: row.restore(picture.srgb())
    for mode, steps in MODES.items():
        settings = Settings(steps=steps)
        methods[mode] = lambda picture, how=settings: restorer.restore(picture, how).image.srgb()
    founding: dict[str, Any] = {"psnr_db": None, "ssim": None, "why": NOT_TRAINED}
    if args.founding is not None:
        chain, founding = founded(args.founding)
        methods["founding shape"] = lambda picture: chain.run(picture).image.srgb()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    for path in files:
        pair = damaged_by(path.name, image.read(path), recipe_name="old-photo", seed=0)
        truth = pair.clean.srgb()
        for name, method in methods.items():
            result = method(pair.damaged)
            found[name].append((psnr(result, truth), ssim(result, truth)))
    rows: dict[str, Any] = {"founding shape": founding}
    for name, values in found.items():
        means = np.mean(values, axis=0)
        rows[name] = {**rows.get(name, {}), "psnr_db": float(means[0]), "ssim": float(means[1])}
    return {"recipe": "old-photo", "photographs": len(files), "sha256": checksum(files), "rows": rows}


def founded(path: Path) -> tuple[Contender, dict[str, Any]]:
    """The founding system with trained weights, all its steps; and what it was trained on."""
    net, facts, step = averaged(path)
    predicts = facts["settings"].get("predicts", "eps")
    chain = diffused(
        net, table("ddpm", TRAINED_STEPS), name="founding shape", title=str(path), seed=0, predicts=predicts
    )
    known = {"crops": step * facts["batch"], "side": facts["size"], "parameters": chain.parameters}
    return chain, {**known, "config": facts["config"]}


def told(value: float) -> str:
    return f"{value * 1e3:.0f} ms" if value < 1 else f"{value:.2f} s" if value < 100 else f"{value:.0f} s"


def page(story: dict[str, Any]) -> str:
    """The tables of docs/speed.md."""
    facts = story["report"]["machine"]
    lines = [
        f"Measured on {facts['cpu']}, {facts['threads']} threads; `{story['file']}` holds every figure.",
        "",
    ]
    for shape, modes in story["ladders"].items():
        for mode, rungs in modes.items():
            lines += [f"**{mode}, from the {shape} founding net**", ""]
            lines += ["| rung | what | a picture | | factor |", "|---|---|---|---|---|"]
            for rung in rungs:
                factor = "" if rung["factor"] is None else f"{rung['factor']:.1f}×"
                cells = (rung["rung"], rung["what"], told(rung["seconds"]), rung["label"], factor)
                lines.append(f"| {' | '.join(cells)} |")
            lines += [f"| **all** | | | | **{rungs[0]['seconds'] / rungs[-1]['seconds']:.0f}×** |", ""]
    lines += ["| whole process | seconds | against 300 steps as a process |", "|---|---|---|"]
    for mode, each in story["cold"]["modes"].items():
        over = ", ".join(f"{factor:.0f}× ({shape})" for shape, factor in each.get("factor", {}).items())
        lines.append(f"| {mode}, {each['steps']} | {told(each['median_s'])} | {over} |")
    lines += [
        "",
        "| start of a process | start | load | first picture | each further |",
        "|---|---|---|---|---|",
    ]
    for row in story["report"]["rows"]:
        if (each := row["cold"]) is not None and row["kind"] == "model":
            parts = (each["start_s"], each["load_s"], each["first_s"], each["steady_s"])
            lines.append(f"| {row['name']} | {' | '.join(told(part) for part in parts)} |")
    count = story["quality"].get("photographs", 0)
    lines += ["", f"| quality, means of {count} photographs | PSNR, dB | SSIM |", "|---|---|---|"]
    for name, each in story["quality"]["rows"].items():
        known = each["psnr_db"] is not None
        if "crops" in each:
            name = f"{name}, {each['parameters'] / 1e6:.1f} M weights trained on {each['crops']:,} crops"
        cells = (
            (f"{each['psnr_db']:.2f}", f"{each['ssim']:.3f}") if known else (f"None ({each['why']})", "None")
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    alone, check = story["engine_alone"], story["check"]
    first, *others = story["module_alone"].items()
    lines += [
        "",
        f"Same net, same step: {alone['engine']} is {alone['factor']:.1f}× as fast as PyTorch eager f32 "
        f"(wanted: {alone['target']:.0f}×).",
        f"In rounds of its own one tile took {told(first[1])} ({first[0]}, as a module comes), "
        + " and ".join(f"{told(each)} ({name}: {first[1] / each:.1f}×)" for name, each in others)
        + ".",
    ]
    for each in check:
        side, ratio = each["side"], each["ratio"]
        lines.append(
            f"A whole chain of 300 steps at {side}×{side} took {ratio:.2f} of what one step predicts."
        )
    lines += [
        "",
        "| convolutions | GFLOP/s | of the matrix product's | most of the time goes to |",
        "|---|---|---|---|",
    ]
    for name, each in story["convolutions"].items():
        share = "–" if each["of_peak"] is None else f"{each['of_peak']:.0%}"
        most = ", ".join(f"{kind} {part:.0%}" for kind, part in list(each["time_share"].items())[:3])
        lines.append(f"| {name} | {each['flop_per_s'] / 1e9:.0f} | {share} | {most} |")
    return "\n".join(lines)


def told_of(story: dict[str, Any], target: Path, args: argparse.Namespace) -> Path:
    """Writes the file and the page."""
    args.out.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(story, indent=1, allow_nan=False) + "\n")
    text = page(story)
    if args.page is not None:
        placed(args.page, "story", text)
    print(text)
    print(target)
    return target


def main(argv: Sequence[str] | None = None) -> Path:
    args = options(argv)
    target = args.out / f"story--{args.name}--cpu.json"
    if args.quality_only:
        story = json.loads(target.read_text(encoding="utf-8"))
        fast = fastest(rows_of(load(story["report"]), kind="model", steps=1))
        story["quality"] = {**quality(args, fast), "commit": git("rev-parse", "HEAD")}
        return told_of(story, target, args)
    side = CHECK_SIDE if args.quick else SIDE
    photo = photograph(args, side)
    wanted = Wanted(model=args.model, steps=tuple(MODES.values()), threads=args.threads)
    say = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731
    report = benchmark(
        wanted, [photo], against=["founding"], rounds=args.rounds, budget_s=args.budget, note=say
    )
    threads = report.machine["threads"]
    report = replace(report, profiles=profiles(report, wanted, photo, say))
    best = fastest(rows_of(report, kind="model", steps=1))
    say("whole processes")
    processes = against_cold(cold(photo, args, best), report, side)
    say("a whole chain of 300 steps")
    sides = [CHECK_SIDE // 2 if args.quick else CHECK_SIDE, *([side] if args.whole else [])]
    check = [check_model(each, threads) for each in sides]
    say("quality")
    story = {
        "suite": "story",
        "version": __version__,
        "commit": git("rev-parse", "HEAD"),
        "machine": {key: report.machine[key] for key in ("cpu", "cores", "system", "python", "threads")},
        "model": {"name": report.model["name"], "hash": report.model["hash"]} if report.model else None,
        "file": f"benchmarks/results/{__version__}/{target.name}",
        "ladders": {
            shape: {mode: ladder(report, side, steps, shape) for mode, steps in MODES.items()}
            for shape in ("recipe", "lean")
        },
        "engine_alone": engine_alone(report, side),
        "module_alone": module_alone(photo, args, best, threads),
        "convolutions": convolutions(report, Restorer(args.model, engine=str(best.engine)), photo),
        "cold": processes,
        "check": check,
        "quality": quality(args, best),
        # A profile's single operations are many thousands of lines; their sums stand in "convolutions".
        "report": dump(replace(report, profiles=[])),
    }
    return told_of(story, target, args)


if __name__ == "__main__":
    main()
