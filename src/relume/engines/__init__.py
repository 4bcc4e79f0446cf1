r"""Engines: one contract, ``engine(*arrays) → array``, over several runtimes.

An engine runs one graph of a bundle. It says what really runs (``name``, ``device``, ``precision``), it takes
the inputs in the card's order, and the same arrays give the same bytes. ``auto`` takes the first that can do
what is asked; an engine that was asked for by name and cannot is an error that says why.
"""

__all__ = ["ENGINES", "AUTO", "Engine", "Status", "load", "names", "probe"]

from types import ModuleType

from relume.bundle import Bundle
from relume.engines import null, onnx, openvino, pytorch
from relume.engines.engine import Build, Engine, Status
from relume.errors import EngineUnavailable, UsageError

ENGINES: list[ModuleType] = [openvino, onnx, pytorch, null]

AUTO: list[ModuleType] = [openvino, onnx, pytorch]
"""The order of ``auto``: what measures fastest on ordinary CPUs comes first."""


def names() -> list[str]:
    """What ``engine=`` may be, besides ``auto``.

    >>> names()
    ['openvino', 'onnx', 'pytorch', 'pytorch-compile', 'null']
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
) -> Engine:
    """Loads one graph of a bundle into an engine.

    Arguments:
        engine: ``auto`` or one of :func:`names`.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``gpu``, … as the engine has it.
        precision: ``auto``, ``f32`` or ``bf16``.
        threads: CPU threads; the runtime's own choice without.
        build: ``relume.nets.build``; only torch needs it.

    Raises:
        UsageError: there is no such engine, graph or precision.
        EngineUnavailable: what was asked for cannot run here.
        BundleCorrupt: a file of the bundle is missing or broken.
        OutOfMemory: the model does not fit on the device.
    """
    if engine != "auto" and engine not in names():
        raise UsageError(f'no engine "{engine}"; there are auto, {", ".join(names())}')
    if threads is not None and threads < 1:
        raise UsageError(f"{threads} threads cannot work; give 1 or more")
    bundle.facts(graph)
    options = {"device": device.lower(), "precision": precision, "threads": threads, "build": build}
    if engine != "auto":
        module = next(module for module in ENGINES if engine in module.NAMES)
        chosen: Engine = module.load(bundle, graph, name=engine, **options)
        return chosen
    reasons = []
    for module in AUTO:
        try:
            chosen = module.load(bundle, graph, name=module.NAMES[0], **options)
            return chosen
        except EngineUnavailable as error:
            reasons.append(str(error))
    raise EngineUnavailable("no engine can do this here: " + " | ".join(reasons))


def probe() -> list[Status]:
    """What each engine can do on this machine. Imports the runtimes that are installed, and only those."""
    return [module.probe() for module in ENGINES]
