r"""Engines: one contract, ``engine(*arrays) → array``, over several runtimes.

An engine runs one graph of a bundle. It says what really runs (``name``, ``device``, ``precision``), it takes
the inputs in the card's order, and the same arrays give the same bytes. ``auto`` takes the fastest that was
measured here, else the first that can do what is asked (:mod:`relume.engines.auto`); an engine that was asked
for by name and cannot is an error that says why. No engine runs a model at a precision that did not pass its
parity check (:mod:`relume.engines.gate`), unless it is forced.
"""

__all__ = [
    "ENGINES",
    "AUTO",
    "BATCH_TOLERANCE",
    "Engine",
    "Status",
    "Timing",
    "benchmark",
    "example",
    "layer_of",
    "load",
    "measure",
    "names",
    "passed",
    "probe",
    "profile",
    "remembered",
]

from types import ModuleType
from typing import Any

from relume.bundle import Bundle
from relume.engines import auto, null, onnx, openvino, pytorch, tensorrt
from relume.engines.cache import recall
from relume.engines.engine import BATCH_TOLERANCE, Build, Engine, Status
from relume.engines.gate import passed
from relume.engines.profilers import layer_of, profile
from relume.engines.timing import BUDGET_S, Timing, example, measure, ranked
from relume.errors import EngineUnavailable, UsageError

ENGINES: list[ModuleType] = [openvino, onnx, pytorch, tensorrt, null]

AUTO: list[ModuleType] = [openvino, onnx, pytorch]
"""The order of ``auto`` until it was measured: what is fastest on most ordinary CPUs comes first."""


def names() -> list[str]:
    """What ``engine=`` may be, besides ``auto``.

    >>> names()
    ['openvino', 'onnx', 'pytorch', 'pytorch-compile', 'pytorch-graph', 'tensorrt', 'null']
    """
    return [name for module in ENGINES for name in module.NAMES]


def load(
    bundle: Bundle,
    graph: str,
    *,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    build: Build | None = None,
    force: bool = False,
    measure: bool = False,
) -> Engine:
    """Loads one graph of a bundle into an engine.

    Arguments:
        engine: ``auto`` or one of :func:`names`.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``tensorrt``, ``gpu``, … as the engine has it.
        precision: ``auto``, ``f32``, ``bf16``, ``f16`` or ``int8``.
        threads: CPU threads; the runtime's own choice without.
        build: ``relume.nets.build``; only torch needs it.
        force: run at the precision asked for even where it did not pass the model's parity check.
        measure: with ``auto``, time the engines first where that was not done yet: there is work enough.

    Raises:
        UsageError: there is no such engine, graph or precision.
        EngineUnavailable: what was asked for cannot run here.
        BundleCorrupt: a file of the bundle is missing or broken.
        OutOfMemory: the model does not fit on the device.
    """
    if engine != "auto" and engine not in names():
        raise UsageError(f'no engine "{engine}"; there are auto, {", ".join(names())}')
    _check(bundle, graph, threads)
    options = {
        "device": device.lower(),
        "precision": precision,
        "threads": threads,
        "build": build,
        "force": force,
    }
    if engine != "auto":
        module = next(module for module in ENGINES if engine in module.NAMES)
        chosen: Engine = module.load(bundle, graph, name=engine, **options)
        return chosen
    reasons: dict[str, None] = {}  # in order, each once
    for pick in auto.picks(AUTO, bundle, graph, enough=measure, **options):
        try:
            wanted = {**options, "precision": pick.precision}
            chosen = pick.module.load(bundle, graph, name=pick.module.NAMES[0], **wanted)
        except EngineUnavailable as error:
            reasons[str(error)] = None
            continue
        chosen.chosen = pick.chosen
        return chosen
    raise EngineUnavailable("no engine can do this here: " + " | ".join(reasons))


def benchmark(
    bundle: Bundle,
    graph: str,
    *,
    device: str = "auto",
    threads: int | None = None,
    build: Build | None = None,
) -> list[Timing]:
    """Times the engines on this machine, at every precision that passed, and keeps it for ``auto``.

    It is given more time than ``auto`` takes by itself, so that nothing is left out on a busy machine.

    Returns:
        The timings, in the order in which ``auto`` will try them.
    """
    _check(bundle, graph, threads)
    options: dict[str, Any] = {"device": device.lower(), "threads": threads, "build": build}
    return ranked(auto.measured(AUTO, bundle, graph, budget=5 * BUDGET_S, **options))


def remembered(
    bundle: Bundle, graph: str, *, device: str = "auto", threads: int | None = None
) -> list[Timing] | None:
    """What :func:`benchmark` came to earlier, under the same conditions; ``None`` where it did not."""
    found = recall(auto.key(AUTO, bundle, graph, device=device.lower(), threads=threads))
    return None if found is None else ranked(found)


def _check(bundle: Bundle, graph: str, threads: int | None) -> None:
    if threads is not None and threads < 1:
        raise UsageError(f"{threads} threads cannot work; give 1 or more")
    bundle.facts(graph)


def probe() -> list[Status]:
    """What each engine can do on this machine. Imports the runtimes that are installed, and only those."""
    return [module.probe() for module in ENGINES]
