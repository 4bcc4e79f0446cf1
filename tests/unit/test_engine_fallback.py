r"""No engine runs elsewhere, or otherwise, than it says: what is read back decides."""

import copy
from typing import Any

import pytest

from relume import engines
from relume.bundle import Bundle
from relume.engines import onnx, openvino
from relume.errors import EngineUnavailable


@pytest.mark.parametrize("device", ["auto", "cuda", "gpu", "tensorrt"])
@pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")
def test_a_provider_that_drops_out_is_an_error(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    """ONNX Runtime is made to say that it has the providers; the session then comes without them."""
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(onnx._PROVIDERS.values()))
    with pytest.raises(EngineUnavailable, match=r"has no (cuda|tensorrt) here .*use --device cpu"):
        engines.load(tiny_bundle, "local", engine="onnx", device=device)
    assert engines.load(tiny_bundle, "local", engine="onnx", device="cpu").device == "cpu"


class Session:
    def __init__(self, providers: list[str], nodes: list[str]) -> None:
        self.providers, self.nodes = providers, nodes

    def get_providers(self) -> list[str]:
        return self.providers

    def get_provider_graph_assignment_info(self) -> list[Any]:
        return [type("Part", (), {"ep_name": name}) for name in self.nodes]


def test_a_provider_that_is_given_no_node_does_not_run() -> None:
    cuda, cpu = onnx._PROVIDERS["cuda"], onnx._PROVIDERS["cpu"]
    onnx._confirm(Session([cuda, cpu], [cuda, cpu]), "cuda")
    with pytest.raises(EngineUnavailable, match="nothing of this model on cuda"):
        onnx._confirm(Session([cuda, cpu], [cpu, cpu]), "cuda")
    with pytest.raises(EngineUnavailable, match="tensorrt"):
        onnx._confirm(Session([cuda, cpu], [cuda]), "tensorrt")


def test_the_nodes_on_each_provider_are_counted(tiny_bundle: Bundle) -> None:
    pytest.importorskip("onnxruntime")
    runs = engines.load(tiny_bundle, "local", engine="onnx", device="cpu").runtime
    assert runs["providers"] == ["CPUExecutionProvider"]
    assert "nodes" not in runs or runs["nodes"]["CPUExecutionProvider"] > 10


class Compiled:
    def __init__(self, devices: list[str], precision: str) -> None:
        self.told = {
            "EXECUTION_DEVICES": devices,
            "INFERENCE_PRECISION_HINT": type("Type", (), {"get_type_name": lambda self: precision})(),
        }

    def get_property(self, name: str) -> Any:
        return self.told[name]


def test_openvino_on_another_device_or_precision_is_an_error() -> None:
    runs = openvino._confirm(Compiled(["GPU.0"], "f16"), "GPU", "f16")
    assert runs == {"execution_devices": ["GPU.0"], "inference_precision": "f16"}
    with pytest.raises(EngineUnavailable, match="runs on CPU instead of GPU"):
        openvino._confirm(Compiled(["CPU"], "f16"), "GPU", "f16")
    with pytest.raises(EngineUnavailable, match="nothing instead of GPU"):
        openvino._confirm(Compiled([], "f16"), "GPU", "f16")
    with pytest.raises(EngineUnavailable, match="at f32, not at f16"):
        openvino._confirm(Compiled(["GPU.0"], "f32"), "GPU", "f16")


def test_torch_weights_on_another_device_are_an_error(tiny_bundle: Bundle, tiny_build: Any) -> None:
    from relume.engines.pytorch import PytorchEngine

    net = tiny_bundle.facts("tone")["net"]
    module = tiny_build(net["kind"], net["config"]).eval()
    engine = PytorchEngine(tiny_bundle, "tone", module, "pytorch", "cpu", "bf16", None)
    assert engine.runtime == {"weights": ["cpu"], "device": "cpu", "dtype": "bfloat16"}
    elsewhere = copy.deepcopy(module).to("meta")
    with pytest.raises(EngineUnavailable, match="instead of f32 on cpu"):
        PytorchEngine(tiny_bundle, "tone", elsewhere, "pytorch", "cpu", "f32", None)
