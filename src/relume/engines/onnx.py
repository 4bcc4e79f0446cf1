r"""ONNX Runtime: runs everywhere, float32."""

__all__ = ["NAMES", "OnnxEngine", "load", "probe"]

import importlib.util
from typing import Any

import numpy as np

from relume.bundle import Bundle
from relume.engines.engine import (
    Build,
    Engine,
    Status,
    allowed,
    failures,
    feeds,
    unavailable,
    version_of,
)
from relume.errors import EngineUnavailable

NAMES = ("onnx",)
_PACKAGES = ("onnxruntime", "onnxruntime-gpu")
_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_NO_CUDA = (
    "ONNX Runtime has no CUDA here (it offers {offers}); "
    "pip install onnxruntime-gpu in place of onnxruntime, or use --device cpu"
)


class OnnxEngine(Engine):
    """A session of ONNX Runtime."""

    def __init__(self, bundle: Bundle, graph: str, session: Any, device: str) -> None:
        self.name, self.device, self.precision = "onnx", device, "f32"
        self.version = version_of(*_PACKAGES)
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
    devices = ("cpu", "cuda") if _CUDA in onnxruntime.get_available_providers() else ("cpu",)
    return Status("onnx", True, version=version_of(*_PACKAGES), devices=devices, precisions=("f32",))


def load(
    bundle: Bundle,
    graph: str,
    *,
    name: str,
    device: str,
    precision: str,
    threads: int | None,
    build: Build | None,
) -> Engine:
    """Opens the graph; ``device`` is auto, cpu, cuda, cuda:N or gpu.

    Raises:
        EngineUnavailable: ONNX Runtime, the device or the precision is not there.
        BundleCorrupt: a file of the bundle is not what it should be.
    """
    status = probe()
    if not status.available:
        raise EngineUnavailable(status.reason)
    if "f32" not in allowed(bundle, precision):
        raise EngineUnavailable(f"engine {name} runs at f32, not at {precision}; use --precision f32 or auto")
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # which Windows builds have; nothing is reported from here
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.use_deterministic_compute = True
    if threads is not None:
        options.intra_op_num_threads = threads
    providers = _providers(device, onnxruntime.get_available_providers())
    with failures(name, bundle, loading=True):
        session = onnxruntime.InferenceSession(str(bundle.graph(graph)), options, providers=providers)
    runs = session.get_providers()  # the CUDA provider drops out silently when its libraries are missing
    if device not in ("auto", "cpu") and _CUDA not in runs:
        raise EngineUnavailable(_NO_CUDA.format(offers=", ".join(runs)))
    index = providers[0][1]["device_id"] if _CUDA in runs else ""
    return OnnxEngine(bundle, graph, session, f"cuda:{index}" if _CUDA in runs else "cpu")


def _providers(device: str, offers: list[str]) -> list[Any]:
    """The providers to ask for. TF32 stays off: what is called f32 is f32."""
    kind, _, index = device.partition(":")
    if kind == "cpu" or (kind == "auto" and _CUDA not in offers):
        return [_CPU]
    if kind not in ("auto", "cuda", "gpu"):
        raise EngineUnavailable(f"engine onnx has no device {device}; use --device cpu or cuda")
    if _CUDA not in offers:
        raise EngineUnavailable(_NO_CUDA.format(offers=", ".join(offers)))
    return [(_CUDA, {"device_id": index or "0", "use_tf32": "0"}), _CPU]
