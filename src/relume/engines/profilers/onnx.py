r"""ONNX Runtime's own trace: one event for each node of its optimized graph."""

__all__ = ["profile"]

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from relume.bundle import Bundle
from relume.engines import onnx
from relume.engines.engine import failures, feeds
from relume.engines.profilers.names import Profiled, kind_of, layer_of

_EVENT = "_kernel_time"


def profile(
    bundle: Bundle, graph: str, arrays: Sequence[Any], options: Mapping[str, Any], evaluations: int
) -> list[Profiled]:
    """Opens the session anew with its trace on; the trace is written to a folder that vanishes."""
    engine: Any = onnx.load(bundle, graph, **options)
    values = feeds(bundle.facts(graph)["inputs"], arrays)
    with tempfile.TemporaryDirectory() as folder, failures("onnx", bundle):
        session = _traced(engine, bundle.graph(graph, engine.precision), options["threads"], folder)
        runs = evaluations + 2
        for _ in range(runs):
            session.run(None, values)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    seen: dict[tuple[str, str], list[float]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_EVENT):
            key = event["name"].removesuffix(_EVENT), event["args"]["op_name"]
            seen.setdefault(key, []).append(event["dur"] * 1e-6)
    operations = []
    for (name, word), seconds in seen.items():
        times = len(seconds) // runs  # in one evaluation; those of the first two do not count
        typical = times * median(seconds[2 * times :])
        operations.append(Profiled(layer_of(name), kind_of(word), word, typical))
    return operations


def _traced(engine: Any, file: Path, threads: int | None, folder: str) -> Any:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    settings.enable_profiling = True
    settings.profile_file_prefix = str(Path(folder) / "trace")
    if threads is not None:
        settings.intra_op_num_threads = threads
    providers = engine._session.get_providers()
    given = engine._session.get_provider_options()
    return onnxruntime.InferenceSession(
        str(file), settings, providers=[(p, given.get(p, {})) for p in providers]
    )
