r"""The one training loop: EMA, clipping, bf16, exact resume, a log that can be looked at."""

__all__ = ["Run", "train", "with_steps"]

import json
import signal
import threading
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, is_initialized
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.utils.data import DataLoader

from relume.errors import TrainingError, UsageError
from relume.nets import build
from relume.train.checkpoint import (
    initialise,
    latest_checkpoint,
    load_checkpoint,
    samples,
    save_checkpoint,
)
from relume.train.config import TrainConfig
from relume.train.muon import Muon
from relume.train.objectives import Objective, objective
from relume.train.objectives.objective import Contested
from relume.train.rival import Rival, rival_of
from relume.train.sources import SOURCES, Report, Source


@dataclass(frozen=True)
class Run:
    """Where and how a recipe runs, as opposed to what it computes.

    ``device`` is ``auto``, ``cpu`` or ``cuda``; ``precision`` is ``auto``, ``f32`` or ``bf16``; ``workers``
    is the number of processes that make pairs; ``save_every`` and ``look_every`` count steps. ``init`` is a
    checkpoint whose averaged weights a fresh run starts from (of this net, or of one with fewer blocks); it
    is not read where ``out`` holds a checkpoint. ``old`` is a folder of genuine old photographs, for recipes
    that learn from them too; none are held out.

    Raises
    ------
    UsageError
        If a device or precision is unknown, or a count is too small.
    """

    data: Path | None
    out: Path
    device: str = "auto"
    precision: str = "auto"
    compiled: bool = False
    workers: int = 1
    save_every: int = 500
    look_every: int = 1000
    init: Path | None = None
    old: Path | None = None

    def __post_init__(self) -> None:
        if self.device not in ("auto", "cpu", "cuda"):
            raise UsageError(f"device {self.device!r} is not auto, cpu or cuda")
        if self.precision not in ("auto", "f32", "bf16"):
            raise UsageError(f"precision {self.precision!r} is not auto, f32 or bf16")
        if self.workers < 0 or self.save_every < 1 or self.look_every < 1:
            raise UsageError("workers counts from 0; save_every and look_every count from 1")


class _Interrupt:
    """Turns the first Ctrl-C or SIGTERM into a request to stop after the current step.

    The second one does what it always does. Outside of the main thread there is nothing to turn.
    """

    def __init__(self) -> None:
        self.asked = False
        self._old: dict[int, Any] = {}

    def __enter__(self) -> "_Interrupt":
        if threading.current_thread() is threading.main_thread():
            self._old = {int(s): signal.signal(s, self._ask) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._restore()

    def _restore(self) -> None:
        while self._old:
            signal.signal(*self._old.popitem())

    def __exit__(self, *_: object) -> None:
        self._restore()


def train(config: TrainConfig, run: Run, *, report: Report = print) -> Path:
    """Train, or go on where ``run.out`` holds a checkpoint; returns the last checkpoint.

    On a CPU an interrupted and resumed run computes what an uninterrupted one computes, to the bit, also
    after ``kill -9``. ``run.out`` receives ``checkpoint.safetensors``, ``config.json``, ``log.jsonl`` (one
    JSON object a line) and ``samples-*.png``. ``report`` is given lines for a person.

    Raises
    ------
    TrainingError
        If there is nothing to train on, the device is missing, or ``run.out`` holds a run of another recipe.
    KeyboardInterrupt
        After a checkpoint was written, if Ctrl-C or SIGTERM asked to stop.
    """
    accelerator, aim = _accelerator(run), objective(config.objective, config.settings)
    report = report if accelerator.is_main_process else _unheard
    torch.manual_seed(config.seed)
    net = build(config.net, config.config).to(accelerator.device, memory_format=torch.channels_last)
    kind = {"adamw": torch.optim.AdamW, "muon": Muon}[config.optimizer]
    optimizer = kind(net.parameters(), lr=config.lr, betas=config.betas, weight_decay=config.weight_decay)
    average = {name: value.detach().clone() for name, value in net.state_dict().items()}
    rival = rival_of(config, aim, accelerator)
    start, seen = _resume(config, run, net, average, optimizer, rival, report)
    source = SOURCES[config.source](config, run.data, run.old, run.out, report)
    forward = torch.compile(net) if run.compiled else net
    wrapped, prepared = accelerator.prepare(forward, optimizer)
    log = (
        _Log(run.out, config, start, report, accelerator.num_processes)
        if accelerator.is_main_process
        else None
    )
    # Closed on the way out, so that the processes which make pairs end before train does.
    with _Interrupt() as interrupt, closing(_batches(config, run, source, accelerator, start)) as batches:
        for step, batch in batches:
            figures = _step(config, step, wrapped, prepared, net, average, batch, accelerator, aim, rival)
            last = step + 1 == config.steps
            stop = _agreed(interrupt.asked, accelerator) and not last  # read once: a signal may come any time
            if log is not None:
                log.add(step, figures, config.rate(step))
                if (step + 1) % run.look_every == 0 or last:
                    log.write(step + 1, source.look(average, run.out / f"samples-{step + 1:07d}.png"))
                if (step + 1) % run.save_every == 0 or last or stop:
                    save_checkpoint(
                        run.out,
                        step=step + 1,
                        net=net,
                        average=average,
                        optimizer=optimizer,
                        rival=None if rival is None else (rival.net, rival.optimizer),
                        facts=_facts(config)
                        | {"samples": seen + (step + 1 - start) * config.batch * accelerator.num_processes},
                    )
            if stop:
                accelerator.wait_for_everyone()
                report(f"stopped after step {step + 1}: the same command goes on from there")
                raise KeyboardInterrupt
    accelerator.wait_for_everyone()  # the first process writes the checkpoint
    found = latest_checkpoint(run.out)
    if found is None:
        raise TrainingError(f"{run.out} holds no checkpoint: there was nothing left to train")
    return found


def _agreed(asked: bool, accelerator: Accelerator) -> bool:
    """Whether any process was asked to stop: all stop after the same step, or one would wait for ever."""
    if accelerator.num_processes == 1:
        return asked
    if asked:
        accelerator.set_trigger()
    return bool(accelerator.check_trigger())


def _unheard(line: str) -> None:
    """What processes other than the first report."""


def _accelerator(run: Run) -> Accelerator:
    wants_cpu = run.device == "cpu" or (run.device == "auto" and not torch.cuda.is_available())
    if run.device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("no CUDA device is available: use --device cpu")
    # Accelerate keeps the first run's device and precision for as long as the process lives.
    if is_initialized() and AcceleratorState().num_processes == 1:
        AcceleratorState._reset_state(reset_partial_state=True)
    precision = "bf16" if run.precision in ("auto", "bf16") else "no"
    return Accelerator(cpu=wants_cpu, mixed_precision=precision)


def _facts(config: TrainConfig) -> dict[str, Any]:
    return json.loads(json.dumps(asdict(config)))


def _resume(
    config: TrainConfig,
    run: Run,
    net: nn.Module,
    average: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    rival: Rival | None,
    report: Report,
) -> tuple[int, int]:
    """The steps that are done, and the pictures that were seen in them."""
    found = latest_checkpoint(run.out)
    if found is None:
        if run.init is not None:  # checked against the net alone: the recipe may be another
            grown = initialise(run.init, net=net, average=average)
            report(f"starts from {run.init}" + (f", with {len(grown)} new parts" if grown else ""))
        return 0, 0
    pair = None if rival is None else (rival.net, rival.optimizer)
    step, facts = load_checkpoint(found, net=net, average=average, optimizer=optimizer, rival=pair)
    # Runs of before objectives had settings have the default ones; of old, all learned from photographs, by
    # one optimiser.
    facts = {"settings": {}, "source": "photos", "optimizer": "adamw", **facts}
    changed = [key for key, value in _facts(config).items() if key != "steps" and facts.get(key) != value]
    if changed:
        raise TrainingError(
            f"{run.out} holds a run with another {', '.join(changed)}: "
            "choose another --out, or the same settings"
        )
    report(f"goes on after step {step} of {config.steps}")
    return step, samples(step, facts)


def _batches(
    config: TrainConfig, run: Run, source: Source, accelerator: Accelerator, start: int
) -> Generator[tuple[int, dict[str, Tensor]], None, None]:
    data = source.batches(accelerator.process_index)
    steps = range(start, config.steps)
    loader = DataLoader(
        data,
        batch_size=None,
        sampler=steps,
        num_workers=run.workers,
        prefetch_factor=4 if run.workers else None,
        worker_init_fn=_one_thread if run.workers else None,
        pin_memory=accelerator.device.type == "cuda",
        multiprocessing_context="fork" if run.workers else None,
    )
    for step, batch in zip(steps, loader, strict=True):
        yield step, {key: value.to(accelerator.device, non_blocking=True) for key, value in batch.items()}


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
    # NumPy's matrix products would start a thread per core in each worker and spin for cores that train.
    threadpool_limits(1)
    # Both signals may be sent to the whole process group: the parent decides when to stop.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _step(
    config: TrainConfig,
    step: int,
    forward: nn.Module,
    optimizer: Any,
    net: nn.Module,
    average: dict[str, Tensor],
    batch: dict[str, Tensor],
    accelerator: Accelerator,
    aim: Objective,
    rival: Rival | None = None,
) -> dict[str, Tensor]:
    for group in optimizer.param_groups:
        group["lr"] = config.rate(step)
    if rival is not None and isinstance(aim, Contested):
        loss, figures, learn = aim.contest(forward, rival.judge, batch, step)
    else:
        (loss, figures), learn = aim(forward, batch), None
    accelerator.backward(loss)
    norm = accelerator.clip_grad_norm_(net.parameters(), config.clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    decay = min(config.ema, (1 + step) / (10 + step))
    with torch.no_grad():
        for name, value in net.state_dict().items():
            average[name].lerp_(value, 1 - decay)
    if rival is not None and learn is not None:
        figures = {**figures, "opponent": rival.step(learn, accelerator, config.rate(step), config.clip)}
    return {"loss": loss.detach(), "grad": torch.as_tensor(norm).detach(), **figures}


class _Log:
    """One JSON line every 50 steps in ``log.jsonl``; progress with an estimate of the time left.

    Lines of steps after ``start`` are taken back: they will be written again.
    """

    def __init__(
        self, out: Path, config: TrainConfig, start: int, report: Report, processes: int = 1
    ) -> None:
        self.processes = processes
        out.mkdir(parents=True, exist_ok=True)
        self.path, self.config, self.report = out / "log.jsonl", config, report
        kept = [line for line in _lines(self.path) if json.loads(line)["step"] <= start]
        self.path.write_text("".join(f"{line}\n" for line in kept))
        (out / "config.json").write_text(json.dumps(asdict(config), indent=2))
        self.sums: dict[str, Tensor] = {}  # on the device until they are written
        self.count, self.start, self.began = 0, start, time.monotonic()
        self.board = _board(out)

    def add(self, step: int, figures: dict[str, Tensor], rate: float) -> None:
        for key, value in figures.items():
            self.sums[key] = self.sums[key] + value.float() if key in self.sums else value.float()
        self.count += 1
        if (step + 1) % 50 and step + 1 != self.config.steps:
            return
        means = {key: round(float(value) / self.count, 5) for key, value in self.sums.items()}
        self.sums, self.count = {}, 0
        per_step = (time.monotonic() - self.began) / (step + 1 - self.start)
        left = (self.config.steps - step - 1) * per_step
        self.write(
            step + 1,
            {
                **means,
                "lr": round(rate, 7),
                "samples_per_s": round(self.config.batch * self.processes / per_step, 1),
            },
        )
        shown = " ".join(f"{key} {value:.4g}" for key, value in means.items())
        self.report(f"step {step + 1}/{self.config.steps}  {shown}  {left / 60:.0f} min left")

    def write(self, step: int, figures: dict[str, float]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **figures}) + "\n")
        if self.board is not None:
            for key, value in figures.items():
                self.board.add_scalar(key, value, step)
            self.board.flush()


def _lines(path: Path) -> list[str]:
    """The whole lines of a log; a killed process may have left half of one."""
    if not path.is_file():
        return []
    return [line for line in path.read_text().splitlines() if line.startswith("{") and line.endswith("}")]


def _board(out: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:  # TensorBoard is optional
        return None
    return SummaryWriter(out / "tensorboard")


def with_steps(config: TrainConfig, steps: int | None) -> TrainConfig:
    """The same recipe with another length."""
    return config if steps is None else replace(config, steps=steps)
