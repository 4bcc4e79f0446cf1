r"""What runs on GPUs only, against stand-ins: what is asked of the runtime, and what its refusals become.

The stand-in of TensorRT reads and writes the addresses that it is given, so that a wrong one is seen.
"""

import contextlib
import ctypes
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from relume import engines
from relume.bundle import Bundle
from relume.engines.replay import Replay
from relume.engines.tensorrt import TensorrtEngine
from relume.errors import BundleCorrupt, EngineError, EngineUnavailable

torch = pytest.importorskip("torch")

MARK = b"a plan for "


def at(address: int, shape: tuple[int, ...]) -> np.ndarray:
    """The floats at an address."""
    count = int(np.prod(shape))
    return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address)).reshape(shape)


class Context:
    def __init__(self, trt: "TensorRT") -> None:
        self.trt = trt
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes["condition"]

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        given = {name: at(self.addresses[name], shape) for name, shape in self.shapes.items()}
        out = at(self.addresses["restored"], self.shapes["condition"])
        out[:] = given["condition"] * 2 + given["t"].reshape(-1, 1, 1, 1)
        out[:, :3] -= given["x"]
        return self.trt.runs


class TensorRT:
    """The part of the interface that is used, with what was asked of it."""

    __version__ = "11.4.0"
    BuilderFlag = SimpleNamespace(TF32="TF32")

    def __init__(self) -> None:
        self.parsed: list[str] = []
        self.cleared: list[str] = []
        self.profiles: list[dict[str, Any]] = []
        self.reads = self.builds = self.runs = True

    class Logger:
        ERROR = 0

        def __init__(self, level: int) -> None:
            self.level = level

    def Builder(self, logger: Any) -> Any:
        shapes: dict[str, Any] = {}

        def profile() -> Any:
            def set_shape(name: str, *low_best_high: Any) -> None:
                shapes[name] = low_best_high

            return SimpleNamespace(set_shape=set_shape)

        def plan(network: Any, config: Any) -> bytes | None:
            self.profiles.append(shapes)
            return MARK + repr(shapes).encode() if self.builds else None

        config = SimpleNamespace(clear_flag=self.cleared.append, add_optimization_profile=lambda _: 0)
        return SimpleNamespace(
            create_network=lambda: "network",
            create_builder_config=lambda: config,
            create_optimization_profile=profile,
            build_serialized_network=plan,
        )

    def OnnxParser(self, network: Any, logger: Any) -> Any:
        def parse(path: str) -> bool:
            self.parsed.append(path)
            return self.reads

        problem = SimpleNamespace(desc=lambda: "an operation it does not know")
        return SimpleNamespace(parse_from_file=parse, num_errors=1, get_error=lambda _: problem)

    def Runtime(self, logger: Any) -> Any:
        def engine(plan: bytes) -> Any:
            if not plan.startswith(MARK):
                return None
            return SimpleNamespace(create_execution_context=lambda: Context(self))

        return SimpleNamespace(deserialize_cuda_engine=engine)


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> TensorRT:
    """A TensorRT that is installed, beside a torch that finds one GPU; what lies on it lies on the CPU."""
    made = TensorRT()
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: object() if name == "tensorrt" else find(name, *a)
    )
    monkeypatch.setitem(sys.modules, "tensorrt", made)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    stream = SimpleNamespace(cuda_stream=0, synchronize=lambda: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: stream)
    monkeypatch.setenv("RELUME_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RELUME_CACHE", raising=False)
    return made


def arrays(side: int = 16) -> list[np.ndarray]:
    rng = np.random.default_rng(side)
    return [rng.random(shape, np.float32) for shape in ((1, 3, side, side), (1, 4, side, side), (1,))]


def expected(x: np.ndarray, condition: np.ndarray, t: np.ndarray) -> np.ndarray:
    out = condition * 2 + t.reshape(-1, 1, 1, 1)
    out[:, :3] -= x
    return out


def test_a_plan_is_built_for_each_shape_once_and_kept(trt: TensorRT, hollow_bundle: Bundle) -> None:
    engine = TensorrtEngine(hollow_bundle, "local", "cpu", "f32")
    for side in (16, 32, 16):
        np.testing.assert_array_equal(engine(*arrays(side)), expected(*arrays(side)))
    assert trt.parsed == [str(hollow_bundle.graph("local"))] * 2 and trt.cleared == ["TF32"] * 2
    shape = (1, 3, 32, 32)
    assert trt.profiles[1]["x"] == (shape, shape, shape) and set(trt.profiles[1]) == {"x", "condition", "t"}
    again = TensorrtEngine(hollow_bundle, "local", "cpu", "f32")
    np.testing.assert_array_equal(again(*arrays()), expected(*arrays()))
    assert len(trt.profiles) == 2, "the next process takes the plan that was kept"
    again._shelf.put(((1, 3, 32, 32), (1, 4, 32, 32), (1,)), b"not a plan")
    np.testing.assert_array_equal(again(*arrays(32)), expected(*arrays(32)))
    assert len(trt.profiles) == 3


def test_what_tensorrt_refuses_is_told(trt: TensorRT, hollow_bundle: Bundle) -> None:
    trt.runs = False
    with pytest.raises(EngineError, match="did not run"):
        TensorrtEngine(hollow_bundle, "local", "cpu", "f32")(*arrays())
    trt.builds = False
    with pytest.raises(EngineError, match="cannot build"):
        TensorrtEngine(hollow_bundle, "local", "cpu", "f32")(*arrays(32))
    trt.reads = False
    with pytest.raises(BundleCorrupt, match="an operation it does not know"):
        TensorrtEngine(hollow_bundle, "local", "cpu", "f32")(*arrays(32))


def test_loading_says_what_runs_or_why_not(
    trt: TensorRT, hollow_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engines.load(hollow_bundle, "local", engine="tensorrt", device="gpu")
    assert (engine.device, engine.precision, engine.version) == ("cuda:0", "f32", "11.4.0")
    for device in ("cpu", "cuda:1", "npu"):
        with pytest.raises(EngineUnavailable, match="it finds cuda:0"):
            engines.load(hollow_bundle, "local", engine="tensorrt", device=device)
    with pytest.raises(EngineUnavailable, match="not for bf16"):
        engines.load(hollow_bundle, "local", engine="tensorrt", precision="bf16", force=True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(EngineUnavailable, match="needs a GPU"):
        engines.load(hollow_bundle, "local", engine="tensorrt")
    monkeypatch.setattr(trt, "__version__", "10.13.0", raising=False)
    with pytest.raises(EngineUnavailable, match=r"too old: pip install"):
        engines.load(hollow_bundle, "local", engine="tensorrt")


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed")
def test_without_tensorrt_the_way_out_is_told(hollow_bundle: Bundle) -> None:
    with pytest.raises(EngineUnavailable, match=r'pip install "relume\[tensorrt\]"'):
        engines.load(hollow_bundle, "local", engine="tensorrt")


def test_a_graph_of_cuda_needs_a_gpu(tiny_bundle: Bundle, tiny_build: Any) -> None:
    with pytest.raises(EngineUnavailable, match="needs a CUDA GPU"):
        engines.load(tiny_bundle, "local", engine="pytorch-graph", device="cpu", build=tiny_build)


class Recording:
    """A graph that runs its module again, on the tensors that were there when it was recorded."""

    made: ClassVar[list["Recording"]] = []

    def __init__(self) -> None:
        self.replays = 0
        self.made.append(self)

    def replay(self) -> None:
        self.replays += 1
        self.output.copy_(self.module(*self.inputs))


def test_a_replay_gives_what_the_module_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    current: list[Recording] = []

    @contextlib.contextmanager
    def record(graph: Recording) -> Any:
        current.append(graph)
        yield
        current.pop()

    stream = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(Recording, "made", [])
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Recording)
    monkeypatch.setattr(torch.cuda, "graph", record)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())
    net = torch.nn.Conv2d(2, 3, 1)
    calls = []

    def module(x: Any, t: Any) -> Any:
        result = net(x) * t
        if current:
            current[-1].module, current[-1].inputs, current[-1].output = module, (x, t), result
        else:
            calls.append(x)
        return result

    replay = Replay(module)
    with torch.inference_mode():
        pairs = [(torch.rand(1, 2, side, side), torch.rand(1)) for side in (4, 6, 4, 4)]
        results = [replay(*pair) for pair in pairs]
        for pair, result in zip(pairs, results, strict=True):
            torch.testing.assert_close(result, net(pair[0]) * pair[1], rtol=0, atol=0)
    assert [graph.replays for graph in Recording.made] == [3, 1]
    given = {id(pair[0]) for pair in pairs}
    assert not given & {id(graph.inputs[0]) for graph in Recording.made}, "the caller's tensors are not kept"
