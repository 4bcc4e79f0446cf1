r"""Profilers: what the layers and operations of a graph take, as each runtime tells it itself.

``PROFILERS[engine](bundle, graph, arrays, options, evaluations) → list[Profiled]``, seconds of one
evaluation. All of them name layers by the module's path in the net (``encoder.0.1.expand1``) and operations
by one set of
words (:mod:`.names`), so that the same layer can be followed from engine to engine. On CUDA the ``pytorch``
profiler opens an NVTX range of the same name round each module, so that Nsight Systems shows them too.
"""

__all__ = ["PROFILERS", "Profiled", "layer_of", "profile"]

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from relume.bundle import Bundle
from relume.engines.engine import Build
from relume.engines.profilers import onnx, openvino, pytorch
from relume.engines.profilers.names import Profiled, layer_of
from relume.errors import UsageError

PROFILERS: Mapping[str, Callable[..., list[Profiled]]] = {
    "openvino": openvino.profile,
    "onnx": onnx.profile,
    "pytorch": pytorch.profile,
}


def profile(
    bundle: Bundle,
    graph: str,
    arrays: Sequence[Any],
    *,
    engine: str,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    force: bool = False,
    build: Build | None = None,
    evaluations: int = 5,
) -> list[Profiled]:
    """Every operation that ran, in order, with its seconds in one of the ``evaluations`` (after two more).

    Profiling costs time itself: compare shares, and take times from the benchmark.

    Raises
    ------
    UsageError
        If that engine has no profiler.
    EngineUnavailable
        If what was asked for cannot run here.
    """
    if engine not in PROFILERS:
        raise UsageError(f"engine {engine} has no profiler; there are: {', '.join(PROFILERS)}")
    options = {
        "name": engine,
        "device": device,
        "precision": precision,
        "threads": threads,
        "force": force,
        "build": build,
    }
    return PROFILERS[engine](bundle, graph, arrays, options, evaluations)
