r"""Graphs that point into one file of weights: every runtime reads them as torch does."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
from safetensors.torch import save_file  # noqa: E402
from torch import nn  # noqa: E402

from relume.engines.openvino import runtime  # noqa: E402
from relume.errors import BundleCorrupt, UsageError  # noqa: E402
from relume.train.onnx_graph import export_graph  # noqa: E402

HW = {0: "batch", 2: "height", 3: "width"}
AXES = {"x": HW, "t": {0: "batch"}, "y": HW}


class Everything(nn.Module):
    """One of each operation that the nets use, and a batch norm, which exporters like to fold."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(12, 8, 1)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.time = nn.Linear(1, 8)
        self.mix = nn.Linear(8, 8, bias=False)
        self.scale = nn.Parameter(torch.rand(1, 8, 1, 1))
        self.out = nn.Conv2d(8, 16, 1)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        h = self.norm(self.stem(nn.functional.pixel_unshuffle(x, 2)))
        h = h + self.time(t[:, None])[:, :, None, None]
        h = h * torch.rsqrt(h.square().mean(1, keepdim=True) + 1e-6) * self.scale
        a, b = self.depthwise(h).chunk(2, dim=1)
        h = torch.cat([a * torch.sigmoid(b), nn.functional.silu(b)], 1)
        h = self.mix(h.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return nn.functional.pixel_shuffle(self.out(h), 2)


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    module = Everything().eval()
    with torch.no_grad():
        for value in module.state_dict().values():
            if value.is_floating_point():
                value.copy_((value + 0.1 * torch.rand(value.shape)).half())
    return module


def export(net: nn.Module, folder: Path, *, example=None) -> Path:
    example = example or (torch.rand(2, 3, 32, 48), torch.rand(2))
    return export_graph(
        net,
        example,
        input_names=["x", "t"],
        output_names=["y"],
        dynamic_axes=AXES,
        tensors_file=folder / "weights.safetensors",
        prefix="net.",
        out=folder / "net.onnx",
    )


def save(net: nn.Module, folder: Path) -> None:
    state = {
        f"net.{name}": value.half() for name, value in net.state_dict().items() if value.is_floating_point()
    }
    # Neighbours of odd length, so that nothing happens to be aligned.
    save_file(
        {"a": torch.ones(3).half(), **state, "net.z": torch.ones(5).half()}, folder / "weights.safetensors"
    )


@pytest.fixture
def graph(net: nn.Module, tmp_path: Path) -> Path:
    save(net, tmp_path)
    return export(net, tmp_path)


@pytest.mark.parametrize("size", [(1, 16, 16), (3, 48, 32)])
def test_every_runtime_agrees_with_torch(net: nn.Module, graph: Path, size: tuple[int, int, int]) -> None:
    onnxruntime, openvino = pytest.importorskip("onnxruntime"), runtime()
    batch, height, width = size
    rng = np.random.default_rng(0)
    x, t = rng.random((batch, 3, height, width), np.float32), rng.random(batch, np.float32)
    with torch.inference_mode():
        expected = net(torch.from_numpy(x), torch.from_numpy(t)).numpy()
    assert expected.std() > 0.1
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": x, "t": t})[0], expected, atol=1e-5)
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(str(graph)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(compiled([x, t])[0], expected, atol=1e-5)


def test_no_weight_is_in_the_graph_and_all_are_found_by_their_name(net: nn.Module, graph: Path) -> None:
    model = onnx.load(str(graph), load_external_data=False)
    names = {tensor.name for tensor in model.graph.initializer}
    assert names == {f"net.{name}" for name, value in net.state_dict().items() if value.is_floating_point()}
    for tensor in model.graph.initializer:
        assert tensor.data_location == onnx.TensorProto.EXTERNAL and not tensor.raw_data
        assert {entry.key: entry.value for entry in tensor.external_data}["location"] == "weights.safetensors"
    axes = [dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    assert axes == ["batch", 3, "height", "width"]


def test_the_file_says_nothing_of_where_it_was_made_and_is_the_same_again(
    net: nn.Module, graph: Path
) -> None:
    first = graph.read_bytes()
    assert str(Path(__file__).parent).encode() not in first
    export(net, graph.parent, example=(torch.rand(1, 3, 16, 64), torch.rand(1)))
    assert graph.read_bytes() == first


def test_the_module_is_left_in_its_mode(net: nn.Module, tmp_path: Path) -> None:
    save(net, tmp_path)
    net.train()
    export(net, tmp_path)
    assert net.training


def test_weights_that_are_not_the_modules_are_refused(net: nn.Module, tmp_path: Path) -> None:
    save(net, tmp_path)
    with torch.no_grad():
        net.stem.weight[0, 0] += 0.1
    with pytest.raises(BundleCorrupt, match=r"net\.stem\.weight"):
        export(net, tmp_path)
    assert not (tmp_path / "net.onnx").exists()
    save_file({"net.other": torch.ones(1).half()}, tmp_path / "weights.safetensors")
    with pytest.raises(BundleCorrupt, match="lacks"):
        export(net, tmp_path)
    save_file({"net.other": torch.ones(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(BundleCorrupt, match="F16"):
        export(net, tmp_path)


def test_weights_inside_the_graph_are_refused(net: nn.Module, tmp_path: Path) -> None:
    class Hiding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net
            self.secret = [torch.rand(1, 3, 32, 48)]

        def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            return self.net(x * self.secret[0], t)

    hiding = Hiding()
    save(hiding, tmp_path)
    with pytest.raises(UsageError, match="of its own"):
        export(hiding, tmp_path)


def test_graph_and_weights_lie_side_by_side(net: nn.Module, tmp_path: Path) -> None:
    save(net, tmp_path)
    (tmp_path / "sub").mkdir()
    with pytest.raises(UsageError, match="beside"):
        export_graph(
            net,
            (torch.rand(2, 3, 32, 48), torch.rand(2)),
            input_names=["x", "t"],
            output_names=["y"],
            dynamic_axes=AXES,
            tensors_file=tmp_path / "weights.safetensors",
            prefix="net.",
            out=tmp_path / "sub" / "net.onnx",
        )
