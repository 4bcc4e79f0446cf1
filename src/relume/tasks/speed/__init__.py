r"""Speed: what is measured, and the run that measures it. The rulers themselves are in :mod:`relume.bench`.

A :class:`Subject` is a named call with what is known about it. Each file here makes subjects of one kind:
``models`` (a bundle on each engine), and the peers in :data:`PEERS`. To add a peer, write a file with a
function ``(pictures, steps, threads, failed) → list[Subject]`` and a line in the list.
"""

__all__ = ["PEERS", "Peers", "Plan", "Subject", "Wanted", "benchmark", "model_subjects", "pattern"]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from relume import machine as here
from relume._version import __version__
from relume.bench.energy import meters
from relume.bench.machine import machine
from relume.bench.report import Report
from relume.bench.roofline import copy_bandwidth
from relume.image import Image
from relume.tasks.settings import Settings
from relume.tasks.speed.classics import classical_subjects
from relume.tasks.speed.founding import founding_subjects
from relume.tasks.speed.measure import Note, Plan, measured
from relume.tasks.speed.models import Wanted, model_subjects, reference
from relume.tasks.speed.peaks import measured_peaks
from relume.tasks.speed.schedulers import scheduler_subjects
from relume.tasks.speed.subject import Picture, Subject, pattern

Peers = Callable[[Sequence[Picture], Sequence[int], int, dict[str, str]], list[Subject]]

PEERS: Mapping[str, Peers] = {
    "founding": lambda pictures, steps, threads, failed: founding_subjects(
        pictures, threads=threads, shapes=("recipe", "lean")
    ),
    "diffusers": lambda pictures, steps, threads, failed: scheduler_subjects(
        pictures, steps=steps, threads=threads
    ),
    "classical": lambda pictures, steps, threads, failed: classical_subjects(pictures, failed),
}


def benchmark(
    wanted: Wanted,
    pictures: Sequence[Picture],
    *,
    against: Sequence[str] = (),
    rounds: int = 20,
    budget_s: float = 120.0,
    energy_s: float = 5.0,
    cold: bool = True,
    note: Note = lambda line: None,
) -> Report:
    """Measures a model's combinations, and peers beside them, in one run on these pictures (H×W×3 in [0,1]).

    Raises
    ------
    BundleError
        If the model is missing or broken.
    EngineError
        If what was asked for by name cannot run here.
    """
    failed: dict[str, str] = {}
    threads = wanted.threads or here.usable_cores()
    wanted = replace(wanted, threads=threads)
    subjects = model_subjects(wanted, pictures, failed)
    for name in against:
        subjects += PEERS[name](pictures, wanted.steps, threads, failed)
    judge = reference(wanted)
    expected = {
        f"{steps} {picture.shape[0]} {picture.shape[1]}": judge.restore(
            Image(picture), Settings(steps=steps)
        ).image.srgb()
        for picture in pictures
        for steps in wanted.steps
    }
    note("peaks: matrix products and a copy")
    peaks, copied = measured_peaks(threads), copy_bandwidth(threads)
    counters, lacking = meters()
    plan = Plan(rounds, budget_s, peaks, copied, counters, energy_s, cold)
    rows = measured(subjects, plan, expected=expected, failed=failed, note=note)
    return Report(
        relume=__version__,
        machine=_machine(threads),
        model={"name": judge.bundle.name, "version": judge.bundle.card["version"], "hash": judge.bundle.hash},
        settings={
            "rounds": rounds,
            "budget_s": budget_s,
            "energy_window_s": energy_s,
            "device": wanted.device,
            "forced": wanted.force,
        },
        peaks=peaks,
        copy_bytes_per_s=copied,
        reference=f"{judge.engine.name} {judge.engine.version} f32",
        rows=rows,
        lacking={f"{part} energy": why for part, why in lacking.items()},
        failed=failed,
    )


def _machine(threads: int) -> dict[str, Any]:
    """The machine, and how much of it this process was given."""
    facts = {"usable_cores": here.usable_cores(), "threads": threads, "gpus": here.graphics()}
    return {**machine(), **facts}
