r"""int8: calibrated, judged, and kept only where it passes."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

from relume import bundle as bundles
from relume import engines
from relume.bundle import Bundle
from relume.cli import main
from relume.engines import gate
from relume.errors import BundleCorrupt, EngineUnavailable

pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from relume.train import parity, quantize  # noqa: E402


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(3):
        small = PilImage.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        small.resize((96, 72), PilImage.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantize, "_COUNT", 2)
    monkeypatch.setattr(parity, "_SIDE", 64)
    monkeypatch.setattr(parity, "ENGINES", ("onnx",))


def test_what_passes_is_listed_runs_and_is_no_copy_of_f32(
    tiny_bundle: Bundle, photos: Path, tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["quantize", str(tiny_bundle.path), "--calibrate", str(photos), "--photos", str(photos)]
    assert main([*call, "-o", str(tmp_path / "made")]) == 0
    made = bundles.find(tmp_path / "made")
    made.verify()
    assert made.card["precisions"] == ["f32", "bf16", "int8"]
    figure = made.card["parity"]["int8_onnx_psnr_db"]
    assert figure is not None and 40 <= figure < 100, "integers were used, and they did no harm"
    assert "int8" in engines.passed(made, "onnx") and "int8" not in engines.passed(made, "openvino")
    x, condition, t = (np.full(shape, 0.5, np.float32) for shape in ((1, 3, 32, 32), (1, 4, 32, 32), (1,)))
    engine = engines.load(made, "local", engine="onnx", precision="int8")
    assert engine.precision == "int8"
    full = engines.load(made, "local", engine="onnx", precision="f32")(x, condition, t)
    assert 0 < np.abs(engine(x, condition, t) - full).max() < 0.2
    with pytest.raises(EngineUnavailable, match="int8"):
        engines.load(made, "tone", engine="onnx", precision="int8")
    assert main([*call, "-o", str(tmp_path / "made")]) == 2, "nothing is overwritten unasked"
    assert "exists" in capsys.readouterr().err


def test_only_inner_convolutions_are_quantized_and_by_channel(
    tiny_bundle: Bundle, photos: Path, tmp_path: Path, quick: None
) -> None:
    made = quantize.quantize(tiny_bundle, tmp_path / "made", photos, photos=photos, report=lambda line: None)
    graph = onnx.load(str(made.graph("local", "int8"))).graph
    by_output = {output: node for node in graph.node for output in node.output}
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    integer = [by_output.get(node.input[1]) is not None for node in convolutions]
    assert not integer[0] and not integer[-1] and all(integer[1:-1]) and len(integer) > 4
    for node in convolutions[1:-1]:
        weights = by_output[node.input[1]]
        stored, scale = (values[name] for name in weights.input[:2])
        assert weights.op_type == "DequantizeLinear" and stored.dtype == np.int8
        assert scale.shape == (stored.shape[0],)
    takers: dict[str, list[str]] = {}
    for node in graph.node:
        for name in node.input:
            takers.setdefault(name, []).append(node.op_type)
    restores = {node.input[0]: node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    rounded = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    assert rounded
    for node in rounded:
        source = by_output.get(node.input[0])
        given = source is not None and source.op_type == "Conv"
        assert given or "Conv" in takers[restores[node.output[0]]], "only round a convolution's arrays"


def test_what_does_not_pass_is_left_out_with_its_figure(
    tiny_bundle: Bundle, photos: Path, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "LEAST_DB", {**gate.LEAST_DB, "int8": 140.0})
    monkeypatch.setattr(parity, "LEAST_DB", gate.LEAST_DB)
    lines: list[str] = []
    made = quantize.quantize(tiny_bundle, tmp_path / "made", photos, photos=photos, report=lines.append)
    assert made.card["precisions"] == ["f32", "bf16"] and "int8_onnx_psnr_db" in made.card["parity"]
    assert set(made.card["files"]) == set(tiny_bundle.card["files"])
    assert "variants" not in made.card["graphs"]["local"] and "left out" in lines[-1]
    with pytest.raises(EngineUnavailable, match="--force"):
        engines.load(made, "local", engine="onnx", precision="int8")
    with pytest.raises(EngineUnavailable, match="does not run this model at int8"):
        engines.load(made, "local", engine="onnx", precision="int8", force=True)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_what_is_not_finite_passes_nowhere(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, wrong: float
) -> None:
    from relume.engines.onnx import OnnxEngine

    right = OnnxEngine.__call__

    def spoiled(self: Any, *arrays: Any) -> Any:
        result = right(self, *arrays)
        result.flat[0] = wrong  # one value of one picture
        return result

    monkeypatch.setattr(OnnxEngine, "__call__", spoiled)
    monkeypatch.setattr(parity, "ENGINES", ("onnx",))
    pictures = np.random.default_rng(0).random((2, 3, 64, 64), np.float32)
    measured = parity.parity(tiny_bundle, pictures, precisions=("f32",), report=lambda line: None)
    found = parity.verdict(measured)
    assert found == {"precisions": [], "parity": {"f32_onnx_psnr_db": None}}


def test_a_figure_is_the_psnr(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that is off by 0.01 everywhere is at 40 dB."""
    given = [np.full((1, 3, 4, 4), 0.51, np.float64)]
    assert parity._least_psnr(given, [np.full((1, 3, 4, 4), 0.5)]) == pytest.approx(40.0)


def test_a_card_whose_variant_is_no_file_of_it_is_corrupt(tiny_bundle: Bundle, tmp_path: Path) -> None:
    shutil.copytree(tiny_bundle.path, tmp_path / "copy")
    facts = {"local": {**tiny_bundle.facts("local"), "variants": {"int8": "../elsewhere.onnx"}}}
    card = {**tiny_bundle.card, "graphs": {**tiny_bundle.card["graphs"], **facts}}
    with pytest.raises(BundleCorrupt, match="local"):
        bundles.write_card(tmp_path / "copy", replace(tiny_bundle, card=card).card)  # type: ignore[arg-type]
