r"""OpenVINO: the fastest on ordinary CPUs, in bf16 where the CPU has it.

OpenVINO picks its precision by itself; what it picked is read back, and one that the model is not made
for is not accepted from it. Every input shape gets a model compiled for exactly that shape, which is faster
than one for all shapes; as tiles have one fixed size, there are few. What was compiled is kept on disk
(:mod:`relume.engines.compiled`): the next process takes it from there in a third of the time.

It brings ``openvino-telemetry``: a plain ``import openvino`` makes a client id in the home folder and
reports the import to Google Analytics. Somebody's photographs are nobody's business, so :func:`runtime` is
the only way by which relume imports OpenVINO, and nothing is written or sent then.
"""

__all__ = ["NAMES", "PACKAGES", "OpenvinoEngine", "load", "probe", "runtime"]

import functools
import importlib.util
import io
import sys
import threading
from contextlib import suppress
from typing import Any

import numpy as np

from relume import machine
from relume.bundle import Bundle
from relume.engines.compiled import Shelf
from relume.engines.engine import (
    Build,
    Engine,
    Status,
    failures,
    feeds,
    unavailable,
    version_of,
)
from relume.engines.gate import open_to
from relume.engines.shapes import ByShapes, Shapes
from relume.errors import BundleCorrupt, EngineUnavailable

NAMES = ("openvino",)
PACKAGES = ("openvino",)
_HINT = "INFERENCE_PRECISION_HINT"
_HINTS = ("f32", "bf16", "f16")


class OpenvinoEngine(Engine):
    """A graph, compiled once for each shape that comes."""

    def __init__(
        self,
        bundle: Bundle,
        graph: str,
        core: Any,
        device: str,
        precision: str,
        threads: int | None,
        calls: int = 1,
    ) -> None:
        self.name, self.device, self.precision = "openvino", device.lower().replace(".", ":"), precision
        self.version = version_of(*PACKAGES)
        self.runtime = _runs(core, device, precision)
        self._bundle, self._core, self._target = bundle, core, device
        self._inputs = bundle.facts(graph)["inputs"]
        self._options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", _HINT: precision}
        if threads is not None:
            self._options["INFERENCE_NUM_THREADS"] = threads
        if calls > 1:
            self._options["NUM_STREAMS"] = calls
        self.calls = calls
        self._requests = ByShapes(self._pool)
        self._lock = threading.Lock()  # of what was compiled
        self._room = threading.BoundedSemaphore(calls)  # a stream serves one caller at a time
        self._graph, self._threads = graph, threads
        self._model: Any = None  # read where something has to be compiled
        with failures(self.name, bundle):
            self._shelf = Shelf(_key(bundle, graph, core, device, self._options))
        if len(self._shelf):  # what is kept was made from whole files, and stands for no others
            bundle.verify()
        else:
            self._read()

    def __call__(self, *arrays: Any) -> Any:
        values = feeds(self._inputs, arrays)
        with self._room, failures(self.name, self._bundle):
            with self._lock:
                pool = self._requests(tuple(value.shape for value in values.values()))
                request = pool.pop()
            try:
                result = request.infer(values, share_inputs=True)
                return np.array(result[0], np.float32)  # a copy: the request reuses its memory
            finally:
                pool.append(request)

    def prepare(self, *shapes: tuple[int, ...]) -> None:
        with self._lock, failures(self.name, self._bundle):
            self._requests(shapes)

    def shared(self, calls: int) -> Engine:
        """On the CPU: a stream for each call. Raises as :meth:`Engine.shared` has it."""
        super().shared(calls)
        calls = min(calls, self._threads or machine.usable_cores())
        if not self._target.startswith("CPU") or calls == self.calls:
            return self
        made = OpenvinoEngine(
            self._bundle, self._graph, self._core, self._target, self.precision, self._threads, calls
        )
        made.chosen = self.chosen
        return made

    def _pool(self, shapes: Shapes) -> list[Any]:
        """Requests that are free; as many as there are callers, so that none finds the list empty."""
        compiled = self._kept(shapes) or self._compiled(shapes)
        return [compiled.create_infer_request() for _ in range(self.calls)]

    def _kept(self, shapes: Shapes) -> Any:
        """What an earlier process compiled; ``None`` where nothing was kept that runs as it should."""
        blob = self._shelf.take(shapes)
        if blob is None:
            return None
        try:
            compiled = self._core.import_model(io.BytesIO(blob), self._target, self._options)
            self.runtime = _confirm(compiled, self._target, self.precision)
        except (RuntimeError, EngineUnavailable):
            self._shelf.drop(shapes)
            return None
        return compiled

    def _compiled(self, shapes: Shapes) -> Any:
        model = (self._model or self._read()).clone()
        model.reshape({port["name"]: list(shape) for port, shape in zip(self._inputs, shapes, strict=True)})
        compiled = self._core.compile_model(model, self._target, self._options)
        self.runtime = _confirm(compiled, self._target, self.precision)
        with suppress(RuntimeError, BundleCorrupt):  # a target that exports nothing; files not to be trusted
            self._bundle.verify()
            self._shelf.put(shapes, compiled.export_model().getvalue())
        return compiled

    def _read(self) -> Any:
        with failures(self.name, self._bundle, loading=True):
            self._model = self._core.read_model(str(self._bundle.graph(self._graph)))
        there = {name for port in self._model.inputs for name in port.get_names()}
        missing = [port["name"] for port in self._inputs if port["name"] not in there]
        if missing:
            raise BundleCorrupt(
                f'graph "{self._graph}" of "{self._bundle.name}" has no input {missing[0]}; install it anew'
            )
        return self._model


def runtime() -> Any:
    """The ``openvino`` module, imported without its telemetry.

    OpenVINO does without the telemetry package where that is not installed; for the time of the import it is
    made to look so. Whoever imported OpenVINO earlier keeps what they have.

    Raises:
        EngineUnavailable: OpenVINO is not installed, or does not load.
    """
    if importlib.util.find_spec("openvino") is None:
        raise unavailable("openvino", "openvino", None)
    name = "openvino_telemetry"
    modules: dict[str, Any] = sys.modules
    before = {name: modules[name]} if name in modules else {}
    modules[name] = None  # the import system's own way to say "not there"
    try:
        import openvino
    except (ImportError, OSError) as error:
        raise EngineUnavailable(f"openvino does not load: {error}; use --engine onnx") from error
    finally:
        del modules[name]
        modules.update(before)
    return openvino


@functools.cache
def _core(openvino: Any) -> Any:
    """One for the process: each finds and loads the devices anew."""
    return openvino.Core()


def _key(bundle: Bundle, graph: str, core: Any, target: str, options: dict[str, Any]) -> dict[str, Any]:
    """Everything but the shapes on which a compiled model depends."""
    return {
        "bundle": bundle.hash,
        "graph": graph,
        "runtime": runtime().get_version(),
        "target": target,
        "device": core.get_property(target, "FULL_DEVICE_NAME"),
        "capabilities": sorted(core.get_property(target, "OPTIMIZATION_CAPABILITIES")),
        "options": options,
        "processor": machine.processor(),
        "cores": machine.usable_cores(),
    }


def probe() -> Status:
    """What OpenVINO can do here; imports it only when it is installed."""
    try:
        core = _core(runtime())
        targets = list(core.available_devices)
    except EngineUnavailable as error:
        return Status("openvino", False, str(error))
    except RuntimeError as error:
        return Status("openvino", False, f"openvino does not start: {error}; use --engine onnx")
    if not targets:
        return Status("openvino", False, "openvino finds no device here; use --engine onnx")
    precisions = [name for name in _HINTS if _precision(core, targets[0], name) == name]
    return Status(
        "openvino",
        True,
        version=version_of(*PACKAGES),
        devices=tuple(target.lower().replace(".", ":") for target in targets),
        precisions=tuple(precisions),
    )


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
    """Reads the graph; ``device`` is auto or cpu, or gpu, gpu:N and npu where OpenVINO finds one.

    Raises:
        EngineUnavailable: OpenVINO, the device or the precision is not there.
        BundleCorrupt: a file of the bundle is not what it should be.
    """
    accepted = open_to(bundle, name, precision, force=force)
    with failures(name, bundle):
        core = _core(runtime())
        target = _target(device, list(core.available_devices))
        chosen = _choose(core, target, precision, accepted)
    return OpenvinoEngine(bundle, graph, core, target, chosen, threads)


def _target(device: str, there: list[str]) -> str:
    target = "CPU" if device == "auto" else device.upper().replace(":", ".")
    # Two GPUs are called GPU.0 and GPU.1, and a single one GPU.
    if target in there or f"{target}.0" in there:
        return target
    names = ", ".join(name.lower().replace(".", ":") for name in there)
    raise EngineUnavailable(f"engine openvino has no device {device}; it finds {names or 'none'}")


def _choose(core: Any, target: str, precision: str, accepted: tuple[str, ...]) -> str:
    """The precision that will run: OpenVINO's own choice if the model was checked at it, else f32."""
    wanted = None if precision == "auto" else precision
    real = _precision(core, target, wanted)
    if real in accepted:
        return real
    if precision == "auto" and "f32" in accepted and _precision(core, target, "f32") == "f32":
        return "f32"
    instead = f"computes in {real} instead of" if real != "none" else "cannot compute in"
    raise EngineUnavailable(
        f"engine openvino {instead} {precision} on this {target}; use --precision auto or f32"
    )


def _precision(core: Any, target: str, wanted: str | None) -> str:
    """The precision at which a target computes that was asked for another, or for its own choice."""
    runs = _runs(core, target, wanted)
    return str(runs.get("inference_precision", "none"))


@functools.cache
def _runs(core: Any, target: str, wanted: str | None) -> dict[str, Any]:
    """Compiles a model of one operation and reads back where and at which precision it runs.

    A CPU without bf16 takes the hint and computes in f32; only the compiled model tells. Empty where the
    hint is refused.
    """
    if wanted is not None and wanted not in _HINTS:
        return {}
    openvino = runtime()
    x = openvino.opset13.parameter([1, 1], np.float32)
    model = openvino.Model([openvino.opset13.relu(x)], [x])
    try:
        compiled = core.compile_model(model, target, {_HINT: wanted} if wanted is not None else {})
    except RuntimeError:
        return {}
    return _read(compiled)


def _read(compiled: Any) -> dict[str, Any]:
    return {
        "execution_devices": list(compiled.get_property("EXECUTION_DEVICES")),
        "inference_precision": str(compiled.get_property(_HINT).get_type_name()),
    }


def _confirm(compiled: Any, target: str, precision: str) -> dict[str, Any]:
    """What a compiled model says of itself, which has to be what was asked for.

    Raises:
        EngineUnavailable: it runs elsewhere, or at another precision.
    """
    runs = _read(compiled)
    # GPU is called GPU.0 where there are two.
    kind = target.partition(".")[0]
    elsewhere = [device for device in runs["execution_devices"] if device.partition(".")[0] != kind]
    if elsewhere or not runs["execution_devices"]:
        raise EngineUnavailable(
            f"engine openvino runs on {', '.join(elsewhere) or 'nothing'} instead of {target}; "
            "use --device cpu or another --engine"
        )
    if runs["inference_precision"] != precision:
        raise EngineUnavailable(
            f"engine openvino compiled the model at {runs['inference_precision']}, not at {precision}; "
            "use --precision auto"
        )
    return runs
