r"""ONNX Runtime: runs everywhere; on a CPU in float32 or, where the model has such a graph, int8.

``cuda`` and ``tensorrt`` are its execution providers for NVIDIA GPUs. ONNX Runtime drops a provider whose
libraries are missing and goes on without it; here that is an error, and what is left on the CPU is counted.
The GPU providers are written from their documentation and have not yet run on a GPU.
"""

__all__ = ["NAMES", "PACKAGES", "OnnxEngine", "load", "probe"]

import importlib.util
from collections import Counter
from typing import Any

import numpy as np

from relume.bundle import Bundle, user_folder
from relume.engines.engine import Build, Engine, Status, failures, feeds, unavailable, version_of
from relume.engines.gate import open_to
from relume.errors import EngineUnavailable

NAMES = ("onnx",)
PACKAGES = ("onnxruntime", "onnxruntime-gpu")
_CPU = "CPUExecutionProvider"
# Device → the provider that has to run it.
_PROVIDERS = {"cpu": _CPU, "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
_RECORD = "session.record_ep_graph_assignment_info"


class OnnxEngine(Engine):
    """A session of ONNX Runtime."""

    def __init__(self, bundle: Bundle, graph: str, session: Any, device: str, precision: str) -> None:
        self.name, self.device, self.precision = "onnx", device, precision
        self.version = version_of(*PACKAGES)
        self.runtime = _runs(session)
        self._bundle, self._session = bundle, session
        self._inputs = bundle.facts(graph)["inputs"]

    def __call__(self, *arrays: Any) -> Any:
        values = feeds(self._inputs, arrays)
        with failures(self.name, self._bundle):
            return np.asarray(self._session.run(None, values)[0], np.float32)


def probe() -> Status:
    """What ONNX Runtime can do here; imports it only when it is installed."""
    if importlib.util.find_spec("onnxruntime") is None:
        return Status("onnx", False, str(unavailable("onnx", "onnxruntime", "onnx")))
    try:
        import onnxruntime
    except (ImportError, OSError) as error:
        return Status("onnx", False, f"onnxruntime is installed but does not load: {error}")
    offers = onnxruntime.get_available_providers()
    devices = tuple(device for device, provider in _PROVIDERS.items() if provider in offers)
    return Status("onnx", True, version=version_of(*PACKAGES), devices=devices, precisions=("f32", "int8"))


def load(
    bundle: Bundle,
    graph: str,
    *,
    name: str,
    device: str,
    precision: str,
    threads: int | None,
    build: Build | None,
    force: bool,
) -> Engine:
    """Opens the graph; ``device`` is auto, cpu, cuda, cuda:N, gpu (the same), tensorrt or tensorrt:N.

    Raises:
        EngineUnavailable: ONNX Runtime, the device or the precision is not there, or another provider runs.
        BundleCorrupt: a file of the bundle is not what it should be.
    """
    status = probe()
    if not status.available:
        raise EngineUnavailable(status.reason)
    import onnxruntime

    kind, index = _device(device, onnxruntime.get_available_providers())
    chosen = _choose(bundle, graph, kind, precision, open_to(bundle, name, precision, force=force))
    onnxruntime.disable_telemetry_events()  # which Windows builds have; nothing is reported from here
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.use_deterministic_compute = True
    options.add_session_config_entry(_RECORD, "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    file = str(bundle.graph(graph, chosen))
    with failures(name, bundle, loading=True):
        session = onnxruntime.InferenceSession(file, options, providers=_providers(kind, index))
    _confirm(session, kind)
    return OnnxEngine(bundle, graph, session, kind if kind == "cpu" else f"{kind}:{index}", chosen)


def _device(device: str, offers: list[str]) -> tuple[str, str]:
    """Kind and index. ``auto`` is CUDA where ONNX Runtime is built with it, and has to run there then."""
    kind, _, index = device.partition(":")
    if kind == "auto":
        kind = "cuda" if _PROVIDERS["cuda"] in offers else "cpu"
    kind = "cuda" if kind == "gpu" else kind
    if kind not in _PROVIDERS or not (index or "0").isdigit() or (kind == "cpu" and index):
        raise EngineUnavailable(f"engine onnx has no device {device}; use --device cpu, cuda or tensorrt")
    if _PROVIDERS[kind] not in offers:
        raise _missing(kind, offers)
    return kind, index or "0"


def _choose(bundle: Bundle, graph: str, kind: str, precision: str, accepted: tuple[str, ...]) -> str:
    """f32, or int8 where that alone is asked for: which is faster depends on the machine."""
    if "f32" in accepted:
        return "f32"
    if "int8" in accepted and kind == "cpu" and "int8" in bundle.facts(graph).get("variants", {}):
        return "int8"
    raise EngineUnavailable(
        f"engine onnx does not run this model at {precision} on {kind}; use --precision f32 or auto"
    )


def _providers(kind: str, index: str) -> list[Any]:
    """The providers to ask for, the wanted one first. TF32 stays off: what is called f32 is f32.

    TensorRT knows no such option; set NVIDIA_TF32_OVERRIDE=0 for it. It keeps what it has built.
    """
    cuda = ("CUDAExecutionProvider", {"device_id": index, "use_tf32": "0"})
    if kind == "cpu":
        return [_CPU]
    if kind == "cuda":
        return [cuda, _CPU]
    built = {
        "device_id": index,
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(user_folder() / "cache" / "tensorrt"),
    }
    return [(_PROVIDERS[kind], built), cuda, _CPU]


def _runs(session: Any) -> dict[str, Any]:
    """The providers of a session, and how many nodes of the graph each of them runs, where that is told."""
    runs: dict[str, Any] = {"providers": session.get_providers()}
    tell = getattr(session, "get_provider_graph_assignment_info", None)  # from ONNX Runtime 1.24 on
    if tell is not None:
        runs["nodes"] = dict(Counter(part.ep_name for part in tell()))
    return runs


def _confirm(session: Any, kind: str) -> None:
    """A provider drops out silently when its libraries are missing, or may be given nothing to do.

    Raises:
        EngineUnavailable: what was asked for does not run.
    """
    runs, wanted = _runs(session), _PROVIDERS[kind]
    if runs["providers"][0] != wanted:
        raise _missing(kind, runs["providers"])
    if not runs.get("nodes", {wanted: 1}).get(wanted):
        raise EngineUnavailable(
            f"ONNX Runtime runs nothing of this model on {kind} ({runs['nodes']}); use --device cpu"
        )


def _missing(kind: str, offers: list[str]) -> EngineUnavailable:
    return EngineUnavailable(
        f"ONNX Runtime has no {kind} here (it offers {', '.join(offers)}); "
        "pip install onnxruntime-gpu in place of onnxruntime, or use --device cpu"
    )
