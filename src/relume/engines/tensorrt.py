r"""TensorRT through its own Python interface: a plan for exactly the shapes that come, kept on disk.

Networks are strongly typed (the only kind since TensorRT 11): they compute in the types of the graph. f32 is
the bundle's graph with TF32 off; another precision needs a graph of its own in the bundle (``variants``).
torch holds the memory on the GPU. Written from the documentation and tried against a stand-in: it has not yet
run on a GPU, and ``auto`` does not take it.

Source: *NVIDIA TensorRT Documentation*, NVIDIA, 2026.
"""

__all__ = ["NAMES", "PACKAGES", "TensorrtEngine", "load", "probe"]

import importlib.util
import threading
from typing import Any

import numpy as np

from relume import machine
from relume.bundle import Bundle
from relume.engines.compiled import Shelf
from relume.engines.engine import Build, Engine, Status, failures, feeds, unavailable
from relume.engines.gate import open_to
from relume.engines.shapes import ByShapes, Shapes
from relume.errors import BundleCorrupt, EngineError, EngineUnavailable

NAMES = ("tensorrt",)
PACKAGES = ("tensorrt",)
OLDEST = 11  # before, a network could compute in other types than its graph says


class TensorrtEngine(Engine):
    """A graph, built once for each set of shapes that comes. Takes and gives numpy arrays."""

    def __init__(self, bundle: Bundle, graph: str, device: str, precision: str) -> None:
        trt = _runtime()
        self.name, self.device, self.precision = "tensorrt", device, precision
        self.version = str(trt.__version__)
        self.runtime = {"network": "strongly typed", "tf32": False}
        self._bundle, self._graph, self._trt = bundle, graph, trt
        self._inputs = bundle.facts(graph)["inputs"]
        self._output = bundle.facts(graph)["outputs"][0]["name"]
        self._logger = trt.Logger(trt.Logger.ERROR)
        self._lock = threading.Lock()  # a context serves one caller at a time
        self._contexts = ByShapes(self._context)
        self._shelf = Shelf(
            {
                "bundle": bundle.hash,
                "graph": graph,
                "runtime": f"tensorrt {self.version}",
                "target": device,
                "graphics": machine.graphics(),
                "precision": precision,
            }
        )

    def __call__(self, *arrays: Any) -> Any:
        import torch

        values = feeds(self._inputs, arrays)
        with self._lock, failures(self.name, self._bundle):
            context = self._contexts(tuple(value.shape for value in values.values()))
            given = {name: torch.from_numpy(v.copy()).to(self.device) for name, v in values.items()}
            shape = tuple(context.get_tensor_shape(self._output))
            result = torch.empty(shape, dtype=torch.float32, device=self.device)
            for name, tensor in {**given, self._output: result}.items():
                context.set_tensor_address(name, tensor.data_ptr())
            stream = torch.cuda.current_stream(self.device)
            if not context.execute_async_v3(stream.cuda_stream):
                raise EngineError(f"TensorRT did not run the model on {self.device}; try another --engine")
            stream.synchronize()
            return np.array(result.cpu().numpy())

    def prepare(self, *shapes: tuple[int, ...]) -> None:
        with self._lock, failures(self.name, self._bundle):
            self._contexts(shapes)

    def _context(self, shapes: Shapes) -> Any:
        """A context for these shapes, from a plan that was kept or is built now, which takes minutes."""
        self._bundle.verify()
        runtime = self._trt.Runtime(self._logger)
        kept = self._shelf.take(shapes)
        engine = runtime.deserialize_cuda_engine(kept) if kept is not None else None
        if engine is None:
            plan = self._build(shapes)
            engine = runtime.deserialize_cuda_engine(plan)
            if engine is None:
                raise EngineError("TensorRT does not take the plan that it made; try another --engine")
            self._shelf.put(shapes, plan)
        context = engine.create_execution_context()
        for port, shape in zip(self._inputs, shapes, strict=True):
            if not context.set_input_shape(port["name"], shape):
                raise EngineError(f'TensorRT refuses the shape {shape} for "{port["name"]}"')
        return context

    def _build(self, shapes: Shapes) -> bytes:
        trt = self._trt
        builder = trt.Builder(self._logger)
        network = builder.create_network()
        parser = trt.OnnxParser(network, self._logger)
        path = self._bundle.graph(self._graph, self.precision)
        if not parser.parse_from_file(str(path)):
            why = parser.get_error(0).desc() if parser.num_errors else "no reason given"
            raise BundleCorrupt(f"TensorRT cannot read {path} ({why}); try another --engine")
        config = builder.create_builder_config()
        config.clear_flag(trt.BuilderFlag.TF32)
        profile = builder.create_optimization_profile()
        for port, shape in zip(self._inputs, shapes, strict=True):
            profile.set_shape(port["name"], shape, shape, shape)
        config.add_optimization_profile(profile)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise EngineError(f'TensorRT cannot build the graph "{self._graph}" for {shapes}')
        return bytes(plan)


def probe() -> Status:
    """What TensorRT can do here; imports it only when it is installed."""
    try:
        version = str(_runtime().__version__)
        devices = _devices()
    except EngineUnavailable as error:
        return Status("tensorrt", False, str(error))
    return Status("tensorrt", True, version=version, devices=devices, precisions=("f32",))


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
    """Nothing is built before the first arrays come; ``device`` is auto, gpu, cuda or cuda:N.

    Raises:
        EngineUnavailable: TensorRT, torch, the GPU or the precision is not there.
    """
    accepted = open_to(bundle, name, precision, force=force)
    _runtime()
    kind, _, index = device.partition(":")
    real = f"cuda:{index or 0}" if kind in ("auto", "gpu", "cuda") else device
    if real not in _devices():
        raise EngineUnavailable(f"engine {name} has no device {device}; it finds {', '.join(_devices())}")
    there = ("f32", *bundle.facts(graph).get("variants", {}))
    chosen = next((one for one in accepted if one in there), None)
    if chosen is None:
        raise EngineUnavailable(
            f"engine {name} computes in the types of a graph, and this model has one for "
            f"{', '.join(there)}, not for {precision}; use --precision auto"
        )
    return TensorrtEngine(bundle, graph, real, chosen)


def _runtime() -> Any:
    if importlib.util.find_spec("tensorrt") is None:
        raise unavailable("tensorrt", "tensorrt", "tensorrt")
    if importlib.util.find_spec("torch") is None:
        raise unavailable("tensorrt", "torch", "tensorrt")
    try:
        import tensorrt
    except (ImportError, OSError, RuntimeError) as error:
        raise EngineUnavailable(f"tensorrt is installed but does not load: {error}") from error
    if int(str(tensorrt.__version__).partition(".")[0]) < OLDEST:
        raise EngineUnavailable(
            f"tensorrt {tensorrt.__version__} is too old: pip install 'tensorrt>={OLDEST}'"
        )
    return tensorrt


def _devices() -> tuple[str, ...]:
    """The GPUs that torch finds.

    Raises:
        EngineUnavailable: there is none.
    """
    try:
        import torch
    except (ImportError, OSError) as error:
        raise EngineUnavailable(f"torch is installed but does not load: {error}") from error
    found = tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))
    if not found:
        raise EngineUnavailable("engine tensorrt needs a GPU that torch finds; use another --engine")
    return found
