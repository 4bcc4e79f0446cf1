r"""What makes the training of the background net fast, tool by tool?

    python benchmarks/xray_training.py --name HERE
    python benchmarks/xray_training.py --quick

One net, one set of images on disk, one thread. First the way of an image to the net: a plain loader, MONAI's
CacheDataset, SmartCacheDataset, PersistentDataset and ThreadDataLoader, and the whole set resident in memory;
then the step: bf16, channels_last, a fused optimiser, torch.compile; each alone and then added up. Last, what
the Fourier loss costs. Rounds are interleaved, and medians are taken; quality is the held-out error after the
same steps. MONAI is not needed by relume: ``pip install monai``; without it its rows are left out.
"""

__all__ = ["main"]

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

from relume import __version__
from relume.bench.machine import machine
from relume.degrade.illumination import VALIDATION
from relume.nets import build
from relume.train import TRAINABLE
from relume.train.fourier import FOURIER
from relume.train.micrographs import Micrographs, painted, pairs
from relume.train.objectives import objective

HERE = Path(__file__).resolve().parent
Batch = dict[str, Tensor]
Item = dict[str, Tensor]


# --- the way of an image to the net -----------------------------------------------------------------------


def stored(folder: Path, count: int, size: int) -> list[Path]:
    """Lights and samples as files, twice as fine as they are used, as a data set would lie on a disk."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i}.npz" for i in range(count)]
    for i, path in enumerate(paths):
        if not path.is_file():
            light, clean = painted(i, 2 * size)
            np.savez_compressed(path, light=light, clean=clean)
    return paths


def opened(path: Path) -> Item:
    """The part that is the same every time: read, unpack, shrink."""
    with np.load(path) as file:
        return {
            name: torch.from_numpy(file[name].reshape(file[name].shape[0] // 2, 2, -1, 2).mean((1, 3)))
            for name in ("light", "clean")
        }


class Files(Dataset[Item]):
    """The plain way: every image is read whenever it is asked for."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Item:
        return opened(self.paths[i])


def paired(items: Sequence[Item]) -> Batch:
    """The part that is drawn anew: which light is behind which sample, noise, glare."""
    rng = np.random.default_rng(torch.randint(2**31, ()).item())
    light = torch.stack([item["light"] for item in items]).numpy()
    clean = torch.stack([items[i]["clean"] for i in rng.permutation(len(items))]).numpy()
    return pairs(light, clean, (rng.random(len(items)) < 0.4).astype(np.float32), rng)


def loaded(data: Any, batch: int, loader: Any = DataLoader, **options: Any) -> Iterator[Batch]:
    while True:
        sampler = RandomSampler(data)
        yield from loader(
            data, batch_size=batch, sampler=sampler, collate_fn=paired, drop_last=True, **options
        )
        if hasattr(data, "update_cache"):
            data.update_cache()


def resident(paths: Sequence[Path], batch: int) -> Iterator[Batch]:
    items = [opened(path) for path in paths]
    while True:
        chosen = np.random.default_rng(torch.randint(2**31, ()).item()).integers(0, len(items), batch)
        yield paired([items[i] for i in chosen])


def ways(paths: Sequence[Path], batch: int, scratch: Path) -> dict[str, Callable[[], Iterator[Batch]]]:
    """Name → an endless stream of batches; MONAI's where it is installed."""
    known: dict[str, Callable[[], Iterator[Batch]]] = {
        "plain loader": lambda: loaded(Files(paths), batch),
        "plain loader, 1 process": lambda: loaded(
            Files(paths), batch, num_workers=1, persistent_workers=False
        ),
        "resident in memory": lambda: resident(paths, batch),
    }
    try:
        from monai.data import CacheDataset, PersistentDataset, SmartCacheDataset, ThreadDataLoader
    except ImportError:
        print("MONAI is not installed: its rows are left out (pip install monai)")
        return known
    from monai.transforms import Transform

    class Opened(Transform):  # type: ignore[misc, unused-ignore]
        """MONAI keeps what its own kind of transform gives; after a plain function it keeps the path."""

        def __call__(self, data: Path) -> Item:
            return opened(data)

    def smart() -> Iterator[Batch]:
        data = SmartCacheDataset(
            list(paths), Opened(), replace_rate=0.1, cache_rate=0.5, progress=False, num_init_workers=1
        )
        data.start()
        try:
            yield from loaded(data, batch)
        finally:
            data.shutdown()

    def cached() -> Any:
        return CacheDataset(list(paths), Opened(), num_workers=1, progress=False)

    return known | {
        "CacheDataset": lambda: loaded(cached(), batch),
        "SmartCacheDataset": smart,
        "PersistentDataset": lambda: loaded(
            PersistentDataset(list(paths), Opened(), cache_dir=scratch / "kept"), batch
        ),
        "CacheDataset, ThreadDataLoader": lambda: loaded(cached(), batch, ThreadDataLoader, num_workers=0),
    }


# --- the step ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """How one step is computed."""

    bf16: bool = False
    channels_last: bool = False
    fused: bool = False
    compiled: bool = False
    fourier: float = 0.0
    variant: str = "complex"


class Learner:
    """The net of a recipe, its optimiser and its step."""

    def __init__(self, name: str, how: Step) -> None:
        torch.manual_seed(0)
        self.recipe, self.how = TRAINABLE[name], how
        net = build(self.recipe.net, self.recipe.config)
        self.net = net.to(memory_format=torch.channels_last) if how.channels_last else net
        self.forward = torch.compile(self.net) if how.compiled else self.net
        self.optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=how.fused)
        self.aim = objective("background", {"fourier": how.fourier, "variant": how.variant})

    def __call__(self, batch: Batch) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.how.bf16):
            loss, _ = self.aim(self.forward, batch)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def error(self, batch: Batch) -> float:
        """Held-out rms of ln B."""
        with torch.inference_mode():
            return float(self.aim(self.net, batch)[1]["rms"])


STEPS = {
    "f32": Step(),
    "bf16": Step(bf16=True),
    "channels_last": Step(channels_last=True),
    "fused optimiser": Step(fused=True),
    "compile": Step(compiled=True),
    "bf16 + channels_last": Step(bf16=True, channels_last=True),
    "bf16 + channels_last + fused": Step(bf16=True, channels_last=True, fused=True),
    "bf16 + channels_last + fused + compile": Step(True, True, True, True),
}


def measured(runs: dict[str, Callable[[], None]], rounds: int, each: int) -> dict[str, list[float]]:
    """Milliseconds of one call, ``rounds`` times over all of them in turn; ``each`` calls a round."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            began = time.perf_counter()
            for _ in range(each):
                run()
            times[name].append(1e3 * (time.perf_counter() - began) / each)
    return times


def batches(args: argparse.Namespace, paths: Sequence[Path], scratch: Path) -> dict[str, list[float]]:
    """Milliseconds until a batch is there, for each way."""
    streams = {name: make() for name, make in ways(paths, args.batch, scratch).items()}
    try:
        return measured(
            {name: (lambda s=stream: next(s)) for name, stream in streams.items()}, args.rounds, args.each
        )
    finally:
        for stream in streams.values():
            stream.close()


def computed(args: argparse.Namespace, batch: Batch) -> dict[str, list[float]]:
    """Milliseconds of a step, for each way to compute it and each Fourier loss."""
    chosen = {name: how for name, how in STEPS.items() if args.compile or not how.compiled}
    learners = {name: Learner(args.recipe, how) for name, how in chosen.items()}
    best = STEPS["bf16 + channels_last + fused"]
    learners |= {
        f"the same, Fourier {variant}": Learner(args.recipe, replace(best, fourier=0.1, variant=variant))
        for variant in FOURIER
    }
    runs = {name: (lambda one=learner: one(batch)) for name, learner in learners.items()}
    return measured(runs, args.rounds, args.each)


def quality(args: argparse.Namespace, paths: Sequence[Path]) -> dict[str, float]:
    """Held-out rms of ln B after the same number of steps."""
    size = TRAINABLE[args.recipe].size
    held = Micrographs(size=size, batch=24, seed=0, kept=24, known=0.0, seeds=VALIDATION, varied=False)[0]
    found = {}
    for name in ("f32", "bf16", "bf16 + channels_last + fused"):
        torch.manual_seed(0)
        learner, stream = Learner(args.recipe, STEPS[name]), resident(paths, args.batch)
        for _ in range(args.steps):
            learner(next(stream))
        found[name] = learner.error(held)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", choices=("xray", "xray-coarse"), default="xray")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--each", type=int, default=10, help="batches or steps a round")
    parser.add_argument("--steps", type=int, default=300, help="of the runs whose quality is compared")
    parser.add_argument("--compile", action="store_true", help="measure torch.compile too")
    parser.add_argument("--quick", action="store_true", help="proves that it runs; the figures mean nothing")
    parser.add_argument("--data", type=Path, help="where images are kept between runs")
    parser.add_argument("--name", default="unnamed", help="name of the machine, for the file")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    args = parser.parse_args()
    if args.quick:
        args.images, args.rounds, args.each, args.steps = 32, 2, 1, 3
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        paths = stored(args.data or Path(scratch) / "images", args.images, TRAINABLE[args.recipe].size)
        loading = batches(args, paths, Path(scratch))
        steps = computed(args, next(resident(paths, args.batch)))
        errors = quality(args, paths)
    for title, rows in (("batch", loading), ("step", steps)):
        for name, times in rows.items():
            middle = statistics.median(times)
            print(f"{title:6}{name:44}{middle:9.2f} ms {1e3 * args.batch / middle:10.0f} images/s")
    base = statistics.median(steps["bf16 + channels_last + fused"])
    for variant in FOURIER:
        share = statistics.median(steps[f"the same, Fourier {variant}"]) / base - 1
        print(f"Fourier {variant}: {100 * share:+.1f} % of a step")
    for name, value in errors.items():
        print(f"held-out rms after {args.steps} steps, {name}: {value:.4f}")
    if not args.quick:
        report(args, loading, steps, errors)


def report(args: argparse.Namespace, loading: Any, steps: Any, errors: Any) -> None:
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=HERE
    ).stdout.strip()
    facts = {
        "suite": "xray-training",
        "version": __version__,
        "commit": commit,
        "machine": machine() | {"threads": 1, "torch": torch.__version__},
        "recipe": args.recipe,
        "batch": args.batch,
        "images": args.images,
        "batch_ms": loading,
        "step_ms": steps,
        "held_out_rms": {"steps": args.steps, **errors},
    }
    args.out.mkdir(parents=True, exist_ok=True)
    target = args.out / f"{args.recipe}-training--{args.name}--cpu.json"
    target.write_text(json.dumps(facts, indent=1) + "\n")
    print(target)


if __name__ == "__main__":
    main()
