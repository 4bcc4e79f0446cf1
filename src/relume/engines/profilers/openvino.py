r"""OpenVINO's own counters: one for each node that was left after its fusions."""

__all__ = ["profile"]

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from relume.bundle import Bundle
from relume.engines import openvino
from relume.engines.engine import failures
from relume.engines.profilers.names import Profiled, kind_of, layer_of


def profile(
    bundle: Bundle, graph: str, arrays: Sequence[Any], options: Mapping[str, Any], evaluations: int
) -> list[Profiled]:
    """Compiles the graph with its counters on, and reads them after each evaluation."""
    engine: Any = openvino.load(bundle, graph, **options)
    engine._options["PERF_COUNT"] = True
    taken: dict[tuple[str, str, str], list[float]] = {}
    with failures("openvino", bundle):
        for number in range(evaluations + 2):
            engine(*arrays)
            ((request,),) = engine._requests.values()
            if number < 2:
                continue
            for each in request.get_profiling_info():
                seconds = each.real_time.total_seconds()
                if seconds > 0:  # what was folded away took none
                    key = each.node_name, each.node_type, each.exec_type
                    taken.setdefault(key, []).append(seconds)
    return [_operation(*key, median(seconds)) for key, seconds in taken.items()]


def _operation(name: str, kind: str, kernel: str, seconds: float) -> Profiled:
    # A reorder is named after both of its neighbours: it is the second one's need.
    owner = name[name.rfind("_/") + 1 :] if kind == "Reorder" else name
    return Profiled(layer_of(owner), kind_of(kind), f"{kind} {kernel}", seconds)
