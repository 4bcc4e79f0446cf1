r"""Splits of a convolution's channels that become convolutions with pieces of its weights."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
from safetensors.torch import save_file  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from relume.engines.openvino import runtime  # noqa: E402
from relume.train.onnx_graph import export_graph  # noqa: E402


class Gates(nn.Module):
    """Splits that can move into the convolutions before them, and others that cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Conv2d(3, 12, 1)
        self.depthwise = nn.Conv2d(12, 12, 3, padding=1, stride=2, groups=12)
        self.three = nn.Conv2d(6, 12, 3, padding=1, bias=False)
        self.grouped = nn.Conv2d(4, 8, 1, groups=2)
        self.shared = nn.Conv2d(4, 8, 1)
        self.rows = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.depthwise(self.expand(x)).split(6, dim=1)  # moves, and on through the convolution above
        a, b, c = self.three(a * b).split([2, 6, 4], dim=1)  # moves
        h = torch.cat([a, a], dim=1) + b[:, :4] * c
        a, b = self.grouped(h).split(4, dim=1)  # stays: a half is no whole convolution of the input
        h = self.shared(a * b)
        a, b = h.split(4, dim=1)  # stays: the whole is wanted as well
        h = self.rows(h * torch.cat([b, a], dim=1))
        top, bottom = h.split(4, dim=2)  # stays: rows are no channels
        return top * bottom


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(3)
    module = Gates().eval()
    with torch.no_grad():
        for value in module.parameters():
            value.copy_(value.half())
    return module


@pytest.fixture
def graph(net: nn.Module, tmp_path: Path) -> Path:
    weights = tmp_path / "weights.safetensors"
    save_file({f"net.{name}": value.half() for name, value in net.state_dict().items()}, weights)
    return export_graph(
        net,
        (torch.rand(1, 3, 16, 16),),
        input_names=["x"],
        output_names=["y"],
        dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}},
        tensors_file=weights,
        prefix="net.",
        out=tmp_path / "net.onnx",
    )


def test_the_graph_computes_what_the_module_computes(net: nn.Module, graph: Path) -> None:
    onnxruntime, openvino = pytest.importorskip("onnxruntime"), runtime()
    x = np.random.default_rng(0).random((2, 3, 16, 16), np.float32)
    with torch.inference_mode():
        expected = net(torch.from_numpy(x)).numpy()
    assert expected.std() > 1e-3
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, atol=1e-6)
    compiled = openvino.Core().compile_model(str(graph), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(compiled([x])[0], expected, atol=1e-6)


def test_splits_move_where_they_can_and_stay_elsewhere(graph: Path) -> None:
    nodes = onnx.load(str(graph), load_external_data=False).graph.node
    count = {kind: sum(node.op_type == kind for node in nodes) for kind in ("Conv", "Split")}
    assert count == {"Conv": 2 + 2 + 3 + 3, "Split": 3}
    names = [node.name for node in nodes if node.op_type == "Conv"]
    assert len(set(names)) == len(names)
    assert {name.split("/")[1] for name in names} == {
        "expand",
        "depthwise",
        "three",
        "grouped",
        "shared",
        "rows",
    }


def test_pieces_point_into_the_tensors_and_cover_them(net: nn.Module, graph: Path) -> None:
    data = (graph.parent / "weights.safetensors").read_bytes()
    found: dict[str, dict[int, bytes]] = {}
    for tensor in onnx.load(str(graph), load_external_data=False).graph.initializer:
        where = {entry.key: entry.value for entry in tensor.external_data}
        start, length = int(where["offset"]), int(where["length"])
        found.setdefault(tensor.name.split("[")[0], {})[start] = data[start : start + length]
    for name, value in net.state_dict().items():
        pieces = found.pop(f"net.{name}")
        assert b"".join(pieces[start] for start in sorted(pieces)) == value.half().numpy().tobytes(), name
    assert not found
