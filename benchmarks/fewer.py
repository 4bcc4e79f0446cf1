"""What do more, fewer and cheaper evaluations give? Figures of quality and counts, none of time.

Samplers: every deterministic one, and the chain with noise, on the bundle's net. The net's chain without
noise is x = (1 - η) clean + η damaged: a straight path to the damaged picture where other models have noise.
DDIM, DPM-Solver++ and UniPC read it as signal 1 - η and noise η, with the damaged picture in the place of the
noise. From pure noise, which the net never saw, they are a negative control.

Features: the deep ones of an earlier step are kept, and only the outer level of the net runs anew (after
"DeepCache: Accelerating Diffusion Models for Free", Ma, Fang, Wang, 2023).

Tiles: how many of them `preserve` leaves out on real photographs.
"""

import argparse
import json
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from quality import checksum, chosen, git, rounded
from relume import Restorer, Settings, __version__, image
from relume.bench import psnr, ssim, tone_aligned
from relume.bench.machine import machine
from relume.diffusion import (
    CLEAN,
    NOISE_SAMPLERS,
    Level,
    NoiseSchedule,
    ResidualShift,
    Table,
    begin,
    gaussian_noise,
    residual_shift_deterministic,
    residual_shift_posterior,
    sample,
)
from relume.nets import build
from relume.tasks.evaluate import CAP_DB, damaged_by
from relume.tasks.finish import three_channels, weight_of
from relume.tiles import grid

HERE = Path(__file__).resolve().parent
Array = np.ndarray
Run = Callable[[Array], Array]
"""A damaged picture, 1×3×H×W, to a clean one."""

STRAIGHT = ("ddim", "dpm++1", "dpm++2m", "dpm++3m", "dpm++2s", "unipc")
# Which of four steps run in full; the others keep the deep features of the last one that did.
REFRESH = {"all": (0, 1, 2, 3), "first and third": (0, 2), "first": (0,)}


class Straight(NoiseSchedule):
    """The levels of a residual shift as signal 1 - η and noise η; between them √η is linear in time."""

    def __init__(self, shift: ResidualShift) -> None:
        self._shift = shift
        self._times = np.arange(shift.size + 1) / shift.size
        self._roots = np.array([0.0, *shift.sqrt_eta])

    def at_time(self, t: float) -> Level:
        eta = float(np.interp(t, self._times, self._roots)) ** 2
        return Level(float(t), 1 - eta, eta)

    def at_log_snr(self, value: float) -> Level:
        root = math.sqrt(1 / (1 + math.exp(value)))
        return self.at_time(float(np.interp(root, self._roots, self._times)))

    def levels(self, steps: int, *, spacing: str = "auto") -> tuple[Level, ...]:
        return (*(self.at_time(level.t) for level in self._shift.levels(steps)[:-1]), CLEAN)


class Net:
    """The local net of a bundle in torch, float32, which can keep its deep features."""

    def __init__(self, restorer: Restorer) -> None:
        facts = restorer.bundle.facts("local")
        self.module = build(facts["net"]["kind"], facts["net"]["config"]).eval().requires_grad_(False)
        prefix = facts["prefix"]
        stored = restorer.bundle.tensors().items()
        state = {
            k.removeprefix(prefix): torch.from_numpy(v).float() for k, v in stored if k.startswith(prefix)
        }
        self.module.load_state_dict(state)
        self._deep: torch.Tensor | None = None

    @torch.inference_mode()
    def whole(self, x: Array, t: float, condition: Array) -> Array:
        """One full evaluation; the features that enter the last decoder level are kept."""
        handle = self.module.up[-1].register_forward_pre_hook(
            lambda _, given: setattr(self, "_deep", given[0])
        )
        out = self.module(*map(torch.from_numpy, (x, condition, np.full(1, t, np.float32))))
        handle.remove()
        return out[:, :3].numpy()

    @torch.inference_mode()
    def outer(self, x: Array, t: float, condition: Array) -> Array:
        """The outer level anew, round the deep features of the last full evaluation."""
        net, given = self.module, [torch.from_numpy(a) for a in (x, condition)]
        time = net.time(torch.full((1,), t))
        h = net.stem(torch.nn.functional.pixel_unshuffle(torch.cat(given, dim=1) - 0.5, 2))
        for block in net.encoder[0]:
            h = block(h, time)
        h = torch.nn.functional.pixel_shuffle(net.up[-1](self._deep), 2) + h
        for block in net.decoder[-1]:
            h = block(h, time)
        out = torch.nn.functional.pixel_shuffle(net.head(h), 2)
        return (given[1][:, :3] + out[:, :3]).numpy()

    def costs(self, side: int = 256) -> tuple[int, int]:
        """Multiply-adds of a full and of an outer evaluation of a tile."""
        x, condition = np.zeros((1, 3, side, side), np.float32), np.zeros((1, 4, side, side), np.float32)
        counts = []
        for run in (self.whole, self.outer):
            with FlopCounterMode(display=False) as counter:
                run(x, 1.0, condition)
            counts.append(counter.get_total_flops() // 2)
        return counts[0], counts[1]


def known_as(picture: Array) -> Array:
    """The condition: the damaged picture, and a mask that knows nothing."""
    return np.concatenate([picture, np.zeros_like(picture[:, :1])], axis=1)


def chain(table: Table, denoise: Any, picture: Array, *, noise: Any = None) -> Array:
    start = begin(table, y=picture, noise=noise)
    return sample(table, denoise, start, condition=known_as(picture), y=picture, noise=noise)


def samplers(net: Net, shift: ResidualShift, counts: Sequence[int]) -> Iterator[tuple[str, Run]]:
    """Each sampler at each number of steps."""
    quiet = ResidualShift(shift.sqrt_eta, 0.0)
    for steps in counts:
        table = residual_shift_deterministic(quiet, steps)
        yield f"residual shift, {steps}", partial(chain, table, net.whole)
    for steps in counts:
        table = residual_shift_posterior(shift, steps)

        def noisy(picture: Array, table: Table = table) -> Array:
            return chain(table, net.whole, picture, noise=gaussian_noise(0, picture.shape))

        yield f"residual shift with noise, {steps}", noisy
    schedule = Straight(quiet)
    for name in STRAIGHT:
        for steps in counts:
            table = NOISE_SAMPLERS[name](schedule, steps)
            if table.evaluations > 1:  # one evaluation is the same for all

                def straight(picture: Array, table: Table = table) -> Array:
                    return chain(table, net.whole, picture, noise=lambda _: picture)

                yield f"{name}, {table.evaluations}", straight
    table = NOISE_SAMPLERS["ddim"](schedule, counts[-1])

    def from_noise(picture: Array) -> Array:
        noise = 0.5 + 0.25 * gaussian_noise(0, picture.shape)(0)
        return chain(table, net.whole, picture, noise=lambda _: noise.astype(np.float32))

    yield f"control: ddim from pure noise, {table.evaluations}", from_noise


def features(net: Net, shift: ResidualShift) -> Iterator[tuple[str, Run]]:
    """Four steps that keep deep features; the cost is told apart."""
    table = residual_shift_deterministic(ResidualShift(shift.sqrt_eta, 0.0), shift.size)
    for name, fresh in REFRESH.items():

        def cached(picture: Array, fresh: Sequence[int] = fresh) -> Array:
            turns = iter(range(len(table.steps)))

            def denoise(x: Array, t: float, condition: Array) -> Array:
                return (net.whole if next(turns) in fresh else net.outer)(x, t, condition)

            return chain(table, denoise, picture)

        yield f"4 steps, fresh features at {name}", cached


def pictures(files: Sequence[Path], args: argparse.Namespace) -> Iterator[tuple[Array, Array]]:
    """Middle crops, damaged and clean, 1×3×S×S."""
    for path in files:
        pair = damaged_by(path.name, image.read(path), recipe_name=args.recipe, seed=args.seed)
        both = (three_channels(each.srgb()) for each in (pair.damaged, pair.clean))
        yield tuple(middle(each, args.side).transpose(2, 0, 1)[None].copy() for each in both)  # type: ignore[misc]


def middle(picture: Array, side: int) -> Array:
    top, left = ((size - side) // 2 for size in picture.shape[:2])
    return picture[top : top + side, left : left + side]


def judged(
    rows: Sequence[tuple[str, Run]], pairs: Sequence[tuple[Array, Array]]
) -> dict[str, dict[str, float]]:
    """The mean figures of each row, the tone being left alone."""
    means = {}
    for name, run in rows:
        figures = []
        for damaged, clean in pairs:
            done = np.clip(run(damaged), 0, 1)[0].transpose(1, 2, 0)
            truth = clean[0].transpose(1, 2, 0)
            aligned = tone_aligned(done, truth)
            both = (min(CAP_DB, psnr(each, truth)) for each in (aligned, done))
            figures.append((*both, ssim(aligned, truth)))
        keys = ("tone_aligned_psnr_db", "psnr_db", "tone_aligned_ssim")
        means[name] = dict(zip(keys, map(float, np.mean(figures, axis=0)), strict=True))
        print(f"{name:45} " + "  ".join(f"{k} {v:.3f}" for k, v in means[name].items()), flush=True)
    return means


def left_out(restorer: Restorer, files: Sequence[Path], sides: Sequence[int]) -> list[dict[str, Any]]:
    """Evaluations with and without the tiles that `preserve` does not show, by the model's own mask."""
    rows = []
    for path in files:
        picture = image.read(path)
        weight = weight_of(restorer.detect(picture))
        for side in sides:
            _, overlap = restorer.tiling(picture.height, picture.width, Settings(tile=side))
            places = grid(picture.height, picture.width, side, overlap)
            run = sum(bool(weight[p.y : p.y + side, p.x : p.x + side].any()) for p in places)
            rows.append({"photograph": path.name, "side": side, "tiles": len(places), "run": run})
    for side in sides:
        of = [row for row in rows if row["side"] == side]
        total, run = (sum(row[key] for row in of) for key in ("tiles", "run"))
        print(f"tiles of {side}: {run} of {total} run with a given mask ({run / total:.0%})", flush=True)
    return rows


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, help="folder of clean photographs, held out")
    parser.add_argument("--old", type=Path, help="folder of really old photographs, for the tiles")
    parser.add_argument("--count", type=int, default=24, help="so many clean ones, evenly spread")
    parser.add_argument("--side", type=int, default=160, help="side of the middle crop that is judged")
    parser.add_argument("--recipe", default="old-photo")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--model", default="photo")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="two photographs, one and two steps")
    parser.add_argument("--name", default="unnamed", help="name of the machine, for the file")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    args = parser.parse_args(argv)
    if args.quick:
        args.count, args.steps = 2, args.steps[:2]
    return args


def main(argv: Sequence[str] | None = None) -> Path:
    args = options(argv)
    torch.set_num_threads(args.threads)
    restorer = Restorer(args.model, threads=args.threads)
    net, files = Net(restorer), chosen(args.photos, args.count)
    facts = restorer.bundle.card["schedule"]
    shift = ResidualShift(tuple(facts["sqrt_eta"]), float(facts["kappa"]))
    pairs = list(pictures(files, args))
    whole, outer = net.costs()
    rows = [("control: as it came", lambda picture: picture), *samplers(net, shift, args.steps)]
    report = {
        "suite": "fewer",
        "version": __version__,
        "commit": git("rev-parse", "HEAD"),
        "changed": bool(git("status", "--porcelain", "--untracked-files=no")),
        "model": {"name": restorer.bundle.name, "hash": restorer.bundle.hash},
        "machine": machine(),
        "damage": {"recipe": args.recipe, "seed": args.seed, "side": args.side},
        "photographs": {"names": [path.name for path in files], "sha256": checksum(files)},
        "samplers": judged(rows, pairs),
        "features": {
            "macs_of_a_256_tile": {"whole": whole, "outer": outer},
            "rows": judged(list(features(net, shift)), pairs),
        },
    }
    if args.old is not None:
        report["left_out"] = left_out(restorer, chosen(args.old, None), (128, 256, 512))
    args.out.mkdir(parents=True, exist_ok=True)
    target = args.out / f"fewer--{args.name}--cpu.json"
    target.write_text(json.dumps(rounded(report), allow_nan=False) + "\n", encoding="utf-8")
    print(f"an outer evaluation costs {outer / whole:.1%} of a whole one; {target}")
    return target


if __name__ == "__main__":
    main()
