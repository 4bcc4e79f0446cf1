r"""OpenVINO's own counters: one for each node that was left after its fusions."""

__all__ = ["profile"]

from collections.abc import Mapping, Sequence
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
    sums: dict[str, Profiled] = {}
    with failures("openvino", bundle):
        for number in range(evaluations + 2):
            engine(*arrays)
            (request,) = engine._requests.values()
            if number < 2:
                continue
            for each in request.get_profiling_info():
                seconds = each.real_time.total_seconds() / evaluations
                if str(each.status).endswith("EXECUTED") and seconds > 0:
                    before = sums[each.node_name].seconds if each.node_name in sums else 0.0
                    sums[each.node_name] = _operation(each, before + seconds)
    return list(sums.values())


def _operation(each: Any, seconds: float) -> Profiled:
    # A reorder is named after both of its neighbours: it is the second one's need.
    name = each.node_name[each.node_name.rfind("_/") + 1 :] if each.node_type == "Reorder" else each.node_name
    layer = layer_of(name)
    return Profiled(layer, kind_of(each.node_type), f"{each.node_type} {each.exec_type}", seconds)
