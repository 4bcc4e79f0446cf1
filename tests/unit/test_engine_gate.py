r"""The gate: what did not pass its parity check does not run, unless it is forced."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from relume import engines
from relume.bundle import Bundle
from relume.cli import main
from relume.engines.gate import LEAST_DB, open_to, passed
from relume.errors import EngineUnavailable, UsageError


def carded(bundle: Bundle, precisions: list[str], **parity: Any) -> Bundle:
    return replace(bundle, card={**bundle.card, "precisions": precisions, "parity": parity})


@pytest.mark.parametrize("precision", ["bf16", "f16", "int8"])
@pytest.mark.parametrize(("off", "opens"), [(0.0, True), (-0.1, False), (float("nan"), False), (None, False)])
def test_a_figure_opens_from_its_bound_on(
    hollow_bundle: Bundle, precision: str, off: float | None, opens: bool
) -> None:
    value = None if off is None else LEAST_DB[precision] + off
    bundle = carded(hollow_bundle, ["f32", precision], **{f"{precision}_onnx_psnr_db": value})
    assert (precision in passed(bundle, "onnx")) is opens
    assert precision not in passed(bundle, "openvino"), "a figure holds for its own engine only"
    if opens:
        assert open_to(bundle, "onnx", precision) == (precision,)
        return
    with pytest.raises(EngineUnavailable, match=r"--precision auto, or --force"):
        open_to(bundle, "onnx", precision)
    assert open_to(bundle, "onnx", precision, force=True) == (precision,)
    assert open_to(bundle, "onnx", "auto", force=True) == ("f32",), "auto is never forced"


def test_a_figure_without_the_cards_word_opens_nothing(hollow_bundle: Bundle) -> None:
    bundle = carded(hollow_bundle, ["f32"], bf16_onnx_psnr_db=99.0)
    with pytest.raises(EngineUnavailable, match="does not list"):
        open_to(bundle, "onnx", "bf16")


def test_f32_needs_no_figure_but_a_bad_one_closes_it(hollow_bundle: Bundle) -> None:
    assert passed(carded(hollow_bundle, ["f32"]), "onnx") == ("f32",)
    assert passed(carded(hollow_bundle, ["f32"], f32_onnx_psnr_db=30.0), "onnx") == ()


def test_the_error_names_the_figure_and_what_passed(hollow_bundle: Bundle) -> None:
    bundle = carded(hollow_bundle, ["f32", "bf16"], bf16_onnx_psnr_db=38.24)
    with pytest.raises(EngineUnavailable, match=r"bf16 on onnx \(38.2 dB, at least 45 dB.*passed at f32"):
        open_to(bundle, "onnx", "bf16")
    with pytest.raises(EngineUnavailable, match="not measured"):
        open_to(bundle, "onnx", "f16")
    with pytest.raises(UsageError, match="f64"):
        open_to(bundle, "onnx", "f64", force=True)


def test_force_runs_what_the_gate_refuses(tiny_bundle: Bundle, tiny_build: Any) -> None:
    closed = carded(tiny_bundle, ["f32"])
    options: dict[str, Any] = {"engine": "pytorch", "device": "cpu", "build": tiny_build}
    with pytest.raises(EngineUnavailable, match="--force"):
        engines.load(closed, "tone", precision="bf16", **options)
    engine = engines.load(closed, "tone", precision="bf16", force=True, **options)
    assert engine.precision == "bf16"
    assert np.isfinite(engine(np.full((1, 3, 16, 16), 0.5, np.float32))).all()


def test_the_command_line_says_how_to_force(
    tiny_bundle: Bundle, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image as PilImage

    photo = tmp_path / "photo.png"
    PilImage.fromarray(np.full((20, 24, 3), 99, np.uint8)).save(photo)
    call = ["restore", str(photo), "--model", str(tiny_bundle.path), "--engine", "pytorch", "--device", "cpu"]
    assert main([*call, "--precision", "f16"]) == 6
    assert "--force" in capsys.readouterr().err and not (tmp_path / "photo-restored.png").exists()
    assert main([*call, "--precision", "f16", "--force"]) == 6, "f16 does not run on a CPU, forced or not"
    assert "not at f16" in capsys.readouterr().err
