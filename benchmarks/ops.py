"""What do the fused operations save, and where is a library faster already?

Memory: the most that torch's allocator held at once beyond the arguments, result included, forward alone and
forward with backward, and what waits for the gradient. These figures depend on shapes and not on the load of
the machine. What a library takes past torch's allocator is not seen.

Time: every way in interleaved rounds; ``--memory`` leaves it out.

Winograd: the trade of each tile, its error at float32 and float16 against float64, and the implementation
that oneDNN took for the direct convolution.
"""

import argparse
import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile

from pages import placed
from quality import git, rounded
from relume import __version__
from relume.bench.clock import interleaved, latency, warm_up
from relume.bench.machine import machine
from relume.ops import OPS, Op, trade

HERE = Path(__file__).resolve().parent
MIB = 2**20
TILES = (2, 4, 6)
DTYPES = {"float64": torch.float64, "float32": torch.float32, "float16": torch.float16}

# Operation → shapes of its tensors and its settings. Quick runs take the first only.
CASES: dict[str, list[tuple[list[tuple[int, ...]], dict[str, Any]]]] = {
    "group-norm-silu": [
        ([(1, 96, 32, 32), (96,), (96,)], {"groups": 8}),
        ([(1, 96, 32, 32), (1, 96), (1, 96)], {"groups": 8}),
        ([(1, 32, 256, 256), (32,), (32,)], {"groups": 8}),
    ],
    "gelu": [([(1024, 1024)], {}), ([(4096, 1024)], {})],
    "attention": [
        ([(1, 1024, 96)] * 3, {}),
        ([(8, 1024, 40)] * 3, {}),
        ([(1, 4096, 64)] * 3, {}),
    ],
    "conv3x3": [
        ([(1, 96, 32, 32), (96, 96, 3, 3)], {}),
        ([(1, 64, 128, 128), (64, 64, 3, 3)], {}),
        ([(1, 32, 256, 256), (32, 32, 3, 3)], {}),
    ],
}


def drawn(shapes: Sequence[tuple[int, ...]], device: str) -> list[Tensor]:
    maker = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=maker).to(device) for shape in shapes]


def peak_bytes(call: Callable[[], object], device: str) -> int:
    """The most that was allocated at once during a call, beyond what there was before."""
    call()  # what is made once, and kept, does not count
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = call()
        torch.cuda.synchronize()
        del result
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        result = call()
    del result
    moves = [each for each in seen.profiler.kineto_results.events() if each.name() == "[memory]"]
    held = most = 0
    for move in sorted(moves, key=lambda each: each.start_ns()):
        held += move.nbytes()
        most = max(most, held)
    return most


def waiting_bytes(run: Callable[[], object], arguments: Sequence[Tensor]) -> int:
    """What is kept for the gradient besides the arguments, each storage once."""
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        result = run()  # alive until all is counted, so that no address is used twice
    for each in arguments:
        found.pop(each.untyped_storage().data_ptr(), None)
    del result
    return sum(found.values())


class Case:
    """An operation at one size: the calls of each way."""

    def __init__(
        self, op: Op, shapes: Sequence[tuple[int, ...]], settings: dict[str, Any], device: str
    ) -> None:
        self.op, self.shapes, self.settings, self.device = op, shapes, settings, device
        self.plain = drawn(shapes, device)
        self.tracked = [each.clone().requires_grad_() for each in self.plain]
        here = op.here(self.plain[0])
        self.ways = {"reference": op.reference, **{name: op.ways[name] for name in here}}
        with torch.no_grad():
            self.truth = op.reference(*(each.double() for each in self.plain), **settings)
        self.grad = torch.ones_like(self.truth, dtype=torch.float32)

    def forward(self, name: str) -> Callable[[], Tensor]:
        def call() -> Tensor:
            with torch.no_grad():
                return self._ended(self.ways[name](*self.plain, **self.settings))

        return call

    def backward(self, name: str) -> Callable[[], object]:
        def call() -> object:
            out = self.ways[name](*self.tracked, **self.settings)
            return self._ended(torch.autograd.grad(out, self.tracked, self.grad))

        return call

    def _ended(self, result: Any) -> Any:
        if self.device == "cuda":
            torch.cuda.synchronize()
        return result

    def memory(self, name: str) -> dict[str, Any]:
        out = self.forward(name)()
        return {
            "peak_forward_bytes": peak_bytes(self.forward(name), self.device),
            "peak_training_bytes": peak_bytes(self.backward(name), self.device),
            "waiting_bytes": waiting_bytes(
                lambda: self.ways[name](*self.tracked, **self.settings), self.tracked
            ),
            "relative_error": ((out - self.truth).norm() / self.truth.norm()).item(),
        }

    def times(self, rounds: int, budget_s: float) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {name: {} for name in self.ways}
        for kind, of in (("forward", self.forward), ("training", self.backward)):
            calls = {name: of(name) for name in self.ways}
            for call in calls.values():
                warm_up(call, most=3, budget_s=budget_s / 10)
            for name, seconds in interleaved(calls, rounds=rounds, budget_s=budget_s).items():
                found[name][kind] = asdict(latency(seconds))
        return found


def cases(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for name, sizes in CASES.items():
        for shapes, settings in sizes[:1] if args.quick else sizes:
            case = Case(OPS[name], shapes, settings, args.device)
            rows = {way: case.memory(way) for way in case.ways}
            taken = {} if args.memory else case.times(args.rounds, args.budget)
            for way, times in taken.items():
                rows[way]["seconds"] = times
            facts = {"op": name, "shapes": shapes, "settings": settings, "rows": rows}
            print(table(facts), flush=True)
            yield facts


def table(facts: dict[str, Any]) -> str:
    """A heading and the rows of one case, in Markdown."""
    sizes = ", ".join("×".join(map(str, shape)) for shape in facts["shapes"])
    settings = "".join(f"; {key} {value}" for key, value in facts["settings"].items())
    heads = ["way", "peak, forward", "with gradient", "kept for it", "error", "forward", "with gradient"]
    lines = [
        f"**{facts['op']}**: {sizes}{settings}",
        "",
        f"| {' | '.join(heads)} |",
        "|---" * len(heads) + "|",
    ]
    for way, row in facts["rows"].items():
        held = (row[key] / MIB for key in ("peak_forward_bytes", "peak_training_bytes", "waiting_bytes"))
        times = row.get("seconds")
        taken = [
            f"{times[kind]['median_s'] * 1e3:.3g} ms" if times else "not yet"
            for kind in ("forward", "training")
        ]
        cells = [way, *(f"{size:.2f} MiB" for size in held), f"{row['relative_error']:.0e}", *taken]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def winograd_text(rows: Sequence[dict[str, Any]], taken: Sequence[str]) -> str:
    """The trade and the errors, in Markdown, and what the direct convolution ran as."""
    heads = ["tile", "fewer multiplications", "values", "weights", "error f64", "error f32", "error f16"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        factors = [f"{row[key]:.2f}×" for key in ("multiplications", "intermediates", "weights")]
        errors = [f"{row[key]:.1e}" if key in row else "–" for key in map("error_{}".format, DTYPES)]
        name = "direct" if row["m"] == 1 else f"{row['m']}×{row['m']}"
        lines.append(f"| {' | '.join([name, *factors, *errors])} |")
    says = f"oneDNN ran the direct convolution as `{', '.join(taken)}`." if taken else "oneDNN did not run."
    return "\n".join([*lines, "", says, ""])


def page(report: dict[str, Any]) -> str:
    facts = report["machine"]
    head = f"{facts['cpu']}, {facts['threads']} thread(s), torch {facts['torch']}, float32."
    tables = [table(each) for each in report["cases"]]
    return "\n".join([head, "", *tables, winograd_text(report["winograd"], report["onednn"])])


def winograd_table(channels: int = 64, side: int = 48) -> list[dict[str, Any]]:
    """Trade and error of each tile; a convolution of that size, values and weights normal."""
    x, weight = (
        each.double() for each in drawn([(1, channels, side, side), (channels, channels, 3, 3)], "cpu")
    )
    weight /= math.sqrt(9 * channels)
    truth, rows = torch.nn.functional.conv2d(x, weight, padding=1), []
    for m in TILES:
        way, gain = OPS["conv3x3"].ways[f"winograd-{m}"], trade(m)
        row: dict[str, Any] = {"m": m, **{key: float(value) for key, value in asdict(gain).items()}}
        for name, dtype in DTYPES.items():
            out = way(x.to(dtype), weight.to(dtype)).double()
            row[f"error_{name}"] = ((out - truth).norm() / truth.norm()).item()
        rows.append(row)
    single = torch.nn.functional.conv2d(x.float(), weight.float(), padding=1)
    error = ((single - truth).norm() / truth.norm()).item()
    return [{"m": 1, **dict.fromkeys(asdict(gain), 1.0), "error_float32": error}, *rows]


def onednn_takes() -> list[str]:
    """The implementations that oneDNN names when it is asked for the direct convolutions of the cases."""
    if not torch.backends.mkldnn.is_available():
        return []
    found = []
    for shapes, _ in CASES["conv3x3"]:
        tensors = drawn(shapes, "cpu")
        with tempfile.TemporaryFile() as file:
            before = os.dup(1)
            os.dup2(file.fileno(), 1)  # it writes past Python
            try:
                with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
                    OPS["conv3x3"].ways["torch"](*tensors)
            finally:
                os.dup2(before, 1)
                os.close(before)
            file.seek(0)
            text = file.read().decode(errors="replace")
        found += re.findall(r"exec,cpu,convolution,([^,]+),.*?(alg:[^,]+)", text)
    return sorted({" ".join(each) for each in found})


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--memory", action="store_true", help="no times")
    parser.add_argument("--quick", action="store_true", help="one size of each operation, three rounds")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--budget", type=float, default=4.0, help="seconds for the rounds of one table")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--name", default="unnamed", help="name of the machine, for the file")
    parser.add_argument("--page", type=Path, help="write the tables between the marks of this page, too")
    parser.add_argument("--out", type=Path, default=HERE / "results" / __version__)
    args = parser.parse_args(argv)
    if args.quick:
        args.rounds, args.budget = 3, 0.5
    return args


def main(argv: Sequence[str] | None = None) -> Path:
    args = options(argv)
    torch.set_num_threads(args.threads)
    report = {
        "suite": "ops",
        "version": __version__,
        "commit": git("rev-parse", "HEAD"),
        "changed": bool(git("status", "--porcelain", "--untracked-files=no")),
        "machine": {**machine(), "threads": args.threads, "torch": torch.__version__},
        "cases": list(cases(args)),
        "winograd": winograd_table(),
        "onednn": onednn_takes(),
    }
    print(winograd_text(report["winograd"], report["onednn"]))
    if args.page is not None:
        placed(args.page, "ops", page(report))
    args.out.mkdir(parents=True, exist_ok=True)
    target = args.out / f"ops--{args.name}--{args.device}.json"
    target.write_text(json.dumps(rounded(report), allow_nan=False) + "\n", encoding="utf-8")
    print(target)
    return target


if __name__ == "__main__":
    main()
