r"""One contract over all engines: named by what runs, in agreement with torch, failing in one way."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relume import engines
from relume.bundle import Bundle
from relume.engines import openvino as openvino_engine
from relume.engines.engine import failures
from relume.engines.shapes import MOST
from relume.errors import (
    BundleCorrupt,
    EngineError,
    EngineUnavailable,
    OutOfMemory,
    RelumeError,
    UsageError,
)
from relume.machine import usable_cores

STATUS = {name: status for module in engines.ENGINES for status in [module.probe()] for name in module.NAMES}


@pytest.fixture(params=engines.names())
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if not STATUS[request.param].available:
        pytest.skip(STATUS[request.param].reason)
    if request.param == "pytorch-graph":
        pytest.skip("these tests run on the CPU, and CUDA graphs do not")
    if request.param == "pytorch-compile":
        import torch

        if not torch.cuda.is_available():
            # Generating C++ takes half a minute a graph; what is ours is tested without it.
            monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    return str(request.param)


@pytest.fixture
def load(tiny_bundle: Bundle, tiny_build: Any) -> Callable[..., engines.Engine]:
    def load(graph: str = "local", bundle: Bundle = tiny_bundle, **options: Any) -> engines.Engine:
        return engines.load(bundle, graph, **{"build": tiny_build, **options})

    return load


@pytest.fixture(scope="module")
def _loaded() -> dict[Any, engines.Engine]:
    return {}


@pytest.fixture
def cpu(load: Any, _loaded: dict[Any, engines.Engine]) -> Callable[..., engines.Engine]:
    """Engines that are loaded once for this file: (name, precision, graph) → engine."""

    def cpu(name: str, precision: str = "f32", graph: str = "local") -> engines.Engine:
        key = (name, precision, graph)
        if key not in _loaded:
            _loaded[key] = load(graph, engine=name, precision=precision, device="cpu", threads=2)
        return _loaded[key]

    return cpu


def arrays(batch: int = 1, height: int = 32, width: int = 48, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.random((batch, 3, height, width), np.float32)
    condition = rng.random((batch, 4, height, width), np.float32)
    return [x, condition, rng.random(batch, np.float32)]


@pytest.mark.parametrize("size", [(1, 32, 48), (3, 16, 16)])
def test_agrees_with_torch_at_f32(name: str, cpu: Any, size: tuple[int, int, int]) -> None:
    values = arrays(*size)
    before = [value.copy() for value in values]
    result = cpu(name)(*values)
    assert (
        result.dtype == np.float32 and result.shape == (size[0], 4, *size[1:]) and result.flags.c_contiguous
    )
    for value, old in zip(values, before, strict=True):
        np.testing.assert_array_equal(value, old)
    if name == "null":
        np.testing.assert_array_equal(result[:, :3], values[1][:, :3])
        np.testing.assert_array_equal(result[:, 3:], -10)
    else:
        reference = cpu("pytorch")(*values)
        assert np.abs(reference[:, :3] - values[1][:, :3]).max() > 0.01
        np.testing.assert_allclose(result, reference, atol=1e-4)


def test_the_tone_graph_answers_with_parameters(name: str, cpu: Any) -> None:
    pictures = arrays(2)[:1]
    result = cpu(name, graph="tone")(*pictures)
    assert result.shape == (2, 63)
    if name == "null":
        assert not result.any()
    else:
        reference = cpu("pytorch", graph="tone")(*pictures)
        np.testing.assert_allclose(result, reference, atol=1e-5)


def test_same_arrays_same_bytes(name: str, cpu: Any, load: Any) -> None:
    engine, values = cpu(name), arrays()
    first = engine(*values)
    kept = first.copy()
    engine(*arrays(seed=1))
    engine(*arrays(2, 16, 32))
    assert engine(*values).tobytes() == kept.tobytes()
    assert first.tobytes() == kept.tobytes(), "a result must not change when the engine runs again"
    again = load(engine=name, precision="f32", threads=2, device="cpu")
    assert again(*values).tobytes() == kept.tobytes()


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_a_batch_changes_nothing_beyond_what_is_stated(name: str, cpu: Any, precision: str) -> None:
    try:
        engine = cpu(name, precision)
    except EngineUnavailable as error:
        pytest.skip(str(error))
    values = arrays(2, 16, 32)
    together = engine(*values)
    alone = np.concatenate([engine(*(value[k : k + 1] for value in values)) for k in range(2)])
    far = np.abs(together - alone) / np.maximum(1, np.abs(alone))
    assert far.max() <= engines.BATCH_TOLERANCE[precision]


def test_says_what_runs(name: str, load: Any) -> None:
    engine = load(engine=name)
    assert engine.name == name and engine.version and engine.device
    assert engine.precision in ("f32", "bf16", "f16")
    assert load(engine=name, precision="f32").precision == "f32"
    facts = engine.facts()
    assert (facts["name"], facts["device"], facts["precision"]) == (name, engine.device, engine.precision)
    assert facts["runtime"] or name == "null", "the runtime's own words are kept"


@pytest.mark.parametrize("precision", ["bf16", "f16"])
def test_a_precision_runs_as_asked_or_is_refused(name: str, cpu: Any, precision: str) -> None:
    values = arrays()
    try:
        engine = cpu(name, precision)
    except EngineUnavailable as error:
        assert precision in str(error)
        return
    assert engine.precision == precision
    low, full = engine(*values), cpu(name)(*values)
    assert 0 < np.abs(low - full).max() < 0.1


def test_a_model_made_for_f32_runs_at_f32(name: str, load: Any, tiny_bundle: Bundle) -> None:
    strict = replace(tiny_bundle, card={**tiny_bundle.card, "precisions": ["f32"]})
    assert load(bundle=strict, engine=name).precision == "f32"
    with pytest.raises(EngineUnavailable, match="f32"):
        load(bundle=strict, engine=name, precision="bf16")


@pytest.mark.parametrize("device", ["cuda:63", "tensorrt:63", "quantum", "cpu:7", "auto:7"])
def test_a_device_that_is_not_there_is_refused(name: str, load: Any, device: str) -> None:
    with pytest.raises(EngineUnavailable, match=f"(?i){device[:4]}"):
        load(engine=name, device=device)


@pytest.mark.parametrize("kind", ["read-only", "strided", "float64"])
def test_takes_any_numpy_array(name: str, cpu: Any, kind: str) -> None:
    engine, values = cpu(name), arrays()
    expected = engine(*values)
    other = [value.astype(np.float64) if kind == "float64" else value.copy() for value in values]
    if kind == "strided":
        other = [np.repeat(value, 2, axis=-1)[..., ::2] for value in other]
    for value in other:
        value.flags.writeable = kind != "read-only"
    assert engine(*other).tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    "change",
    [
        lambda x, c, t: (x, c),
        lambda x, c, t: (x, c[:, :3], t),
        lambda x, c, t: (x[..., :16], c, t),
        lambda x, c, t: (x[0], c[0], t),
        lambda x, c, t: (x.tolist(), c, t),
    ],
)
def test_arrays_that_do_not_fit_are_refused(name: str, cpu: Any, change: Any) -> None:
    with pytest.raises(UsageError):
        cpu(name)(*change(*arrays()))


def test_every_failure_is_a_relume_error(name: str, cpu: Any) -> None:
    # 18 is no multiple of what the nets halve.
    engine = cpu(name)
    if name == "null":
        assert engine(*arrays(1, 18, 18)).shape == (1, 4, 18, 18)
        return
    with pytest.raises(EngineError):
        engine(*arrays(1, 18, 18))
    assert engine(*arrays()).shape == (1, 4, 32, 48)


def test_a_broken_file_is_a_corrupt_bundle(name: str, load: Any, tiny_bundle: Bundle, tmp_path: Any) -> None:
    shutil.copytree(tiny_bundle.path, tmp_path / "broken")
    broken = replace(tiny_bundle, path=tmp_path / "broken")
    for file in (tmp_path / "broken").glob("[!c]*"):
        file.write_bytes(file.read_bytes()[:100])
    if name == "null":
        assert load(bundle=broken, engine=name)(*arrays()).any()
        return
    with pytest.raises(BundleCorrupt):
        load(bundle=broken, engine=name)(*arrays())


def test_probe_tells_what_load_does(name: str) -> None:
    status = STATUS[name]
    assert status.reason == "" and status.version and "cpu" in status.devices and "f32" in status.precisions


def test_auto_takes_the_first_and_skips_what_is_missing(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().name == next(name for name in ("openvino", "onnx", "pytorch") if STATUS[name].available)
    missing = {"openvino"}
    find_spec = openvino_engine.importlib.util.find_spec
    monkeypatch.setattr(
        openvino_engine.importlib.util, "find_spec", lambda name: None if name in missing else find_spec(name)
    )
    assert load(precision="f32").name == ("onnx" if STATUS["onnx"].available else "pytorch")
    with pytest.raises(EngineUnavailable, match="pip install openvino"):
        load(engine="openvino")
    missing |= {"onnxruntime", "torch", "tensorrt"}
    with pytest.raises(EngineUnavailable, match=r"pip install openvino.*relume\[onnx\].*relume\[train\]"):
        load()
    assert [status.name for status in engines.probe() if status.available] == ["null"]
    assert all("pip install" in status.reason for status in engines.probe()[:-1])


def test_auto_with_a_device_that_no_engine_has_says_what_each_lacks(load: Any) -> None:
    with pytest.raises(EngineUnavailable, match=r"openvino.*\|.*"):
        load(device="cuda:63")


def test_unknown_names_are_refused(load: Any) -> None:
    for options in ({"engine": "abacus"}, {"graph": "loacl"}, {"precision": "f64"}, {"threads": 0}):
        with pytest.raises(UsageError):
            load(**options)


def test_torch_needs_the_function_that_builds(load: Any) -> None:
    with pytest.raises(EngineUnavailable, match="build="):
        load(engine="pytorch", build=None)


def test_torch_tensors_stay_torch_tensors(cpu: Any) -> None:
    torch = pytest.importorskip("torch")
    engine, values = cpu("pytorch"), arrays()
    result = engine(*(torch.from_numpy(value) for value in values))
    assert isinstance(result, torch.Tensor) and result.dtype == torch.float32
    np.testing.assert_array_equal(result.numpy(), engine(*values))
    with pytest.raises(UsageError, match="mixed"):
        engine(torch.from_numpy(values[0]), *values[1:])


def test_torch_settings_of_the_program_round_us_stay(load: Any) -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads(), torch.backends.cudnn.deterministic, torch.is_grad_enabled()
    load(engine="pytorch", threads=1, device="cpu")(*arrays())
    assert (torch.get_num_threads(), torch.backends.cudnn.deterministic, torch.is_grad_enabled()) == before


@pytest.mark.parametrize(
    ("thrown", "expected"),
    [
        (MemoryError(), OutOfMemory),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"), OutOfMemory),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), OutOfMemory),
        (RuntimeError("Exception from src/inference:\nstd::bad_alloc"), OutOfMemory),
        (RuntimeError("Failed to allocate memory for requested buffer of size 1"), OutOfMemory),
        (RuntimeError("Exception from src/x.cpp:\nshapes\ndiffer"), EngineError),
        (UsageError("as it is"), UsageError),
    ],
)
def test_what_runtimes_throw_is_mapped_to_one_line(
    hollow_bundle: Bundle, thrown: Exception, expected: type[RelumeError]
) -> None:
    with pytest.raises(expected) as caught, failures("onnx", hollow_bundle):
        raise thrown
    assert type(caught.value) is expected and "\n" not in str(caught.value)


def test_shared_it_serves_several_at_once_with_the_same_bytes(name: str, cpu: Any) -> None:
    engine = cpu(name)
    shared = engine.shared(2)
    values = [arrays(seed=seed) for seed in range(6)]
    alone = [engine(*each).tobytes() for each in values]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda each: shared(*each).tobytes(), values))
    assert together == alone
    assert shared.calls == (min(2, usable_cores()) if name == "openvino" else 1)
    assert (shared.name, shared.device, shared.precision) == (engine.name, engine.device, engine.precision)
    with pytest.raises(UsageError, match="1 or more"):
        engine.shared(0)


def test_openvino_has_a_stream_for_each_call(cpu: Any) -> None:
    if not STATUS["openvino"].available:
        pytest.skip(STATUS["openvino"].reason)
    shared = cpu("openvino").shared(2)
    shared(*arrays())
    ((request, *_),) = shared._requests.values()
    assert request.get_compiled_model().get_property("NUM_STREAMS") == shared.calls


def test_openvino_keeps_few_compiled_shapes(load: Any) -> None:
    if not STATUS["openvino"].available:
        pytest.skip(STATUS["openvino"].reason)
    engine = load("tone", engine="openvino")
    for width in range(16, 16 * (MOST + 3), 16):
        engine(np.zeros((1, 3, 16, width), np.float32))
    assert len(engine._requests) == MOST


def test_openvino_reports_nothing_to_anybody(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """In a process of its own: the report would be sent at the first import, by a forked child."""
    if not STATUS["openvino"].available:
        pytest.skip(STATUS["openvino"].reason)
    script = """
import sys
events = []
sys.addaudithook(lambda event, args: events.append(event))
from relume import bundle, engines
engine = engines.load(bundle.find(sys.argv[1]), "tone", engine="openvino")
import numpy
engine(numpy.zeros((1, 3, 16, 16), numpy.float32))
assert "openvino" in sys.modules
assert not [name for name in sys.modules if name.startswith("openvino_telemetry")]
assert not [event for event in events if event.startswith(("socket.", "os.fork", "subprocess.", "urllib."))]
"""
    quiet = {
        name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")
    }
    quiet |= {"HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path), "RELUME_CACHE": "off"}
    command = [sys.executable, "-c", script, str(tiny_bundle.path)]
    done = subprocess.run(command, env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_no_other_file_imports_openvino() -> None:
    source = Path(engines.__file__).parents[1]
    imports = re.compile(r"^\s*(import openvino|from openvino)\b", re.MULTILINE)
    found = [path.name for path in source.rglob("*.py") if imports.search(path.read_text(encoding="utf-8"))]
    assert found == ["openvino.py"]


def test_the_null_engine_needs_no_files_but_a_card(hollow_bundle: Bundle) -> None:
    values = arrays()
    result = engines.load(hollow_bundle, "local", engine="null")(*values)
    np.testing.assert_array_equal(result[:, :3], values[1][:, :3])
