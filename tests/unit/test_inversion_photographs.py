r"""The benchmark that runs a trained sampler backwards, on the bundle that comes with it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relume import bundle, image
from relume.image import Image

pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("onnxruntime")
BEGIN, END = "<!-- photographs: begin -->", "<!-- photographs: end -->"
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
MODEL = BENCHMARKS / "models" / "noise"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    if not MODEL.is_dir():
        pytest.skip("the benchmarks are not part of this copy")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import inversion_photographs

    return inversion_photographs


def test_the_bundle_is_whole_and_says_what_it_is() -> None:
    if not MODEL.is_dir():
        pytest.skip("the benchmarks are not part of this copy")
    found = bundle.find(MODEL)
    found.verify()
    recipe = found.card["training"]["noise"]["recipe"]
    assert recipe["settings"]["drop"] > 0 and "f32" in found.card["precisions"]
    assert sum(path.stat().st_size for path in MODEL.iterdir()) < 3e6


def test_runs_are_kept_and_ours_gives_the_picture_back(script: Any, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    ramp = np.linspace(0, 1, 72, dtype=np.float32)
    image.write(Image(np.stack([np.outer(ramp, ramp)] * 3, axis=2)), photos / "ramp.png")
    options = ["--photos", photos, "--samplers", "ddim", "--steps", 20, "--scales", 1]
    options += ["--engine", "onnx", "--name", "here", "--out", tmp_path / "results"]
    first = script.main([str(each) for each in [*options, "--most", 2]])
    some = json.loads(first.read_text())["runs"]
    assert [row["method"] for row in some] == ["naive", "published"]
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    facts = json.loads(script.main([str(each) for each in [*options, "--page", page]]).read_text())
    assert facts["runs"][:2] == some and len(facts["runs"]) == 3, "what is known is not run again"
    naive, published, ours = facts["runs"]
    assert ours["converged"] and ours["picture_nmse_db"] <= -80 and ours["noise_nmse_db"] < -60
    assert not naive["converged"] and naive["picture_nmse_db"] > -60
    assert ours["evaluations"] < published["evaluations"]
    text = page.read_text(encoding="utf-8").splitlines()
    assert text[:2] == ["before", BEGIN] and text[-2:] == [END, "after"]
    assert len(text) == 7 and {line.count("|") for line in text[2:-2]} == {7}


def test_the_sheet_shows_a_photograph_in_a_row(script: Any, tmp_path: Path) -> None:
    from PIL import Image as PilImage

    photos = tmp_path / "photos"
    photos.mkdir()
    noise = np.random.default_rng(0).random((70, 66, 3), dtype=np.float32)
    image.write(Image(noise), photos / "noise.png")
    options = ["--photos", photos, "--sheet", tmp_path / "sheet.jpg", "--engine", "onnx", "--steps", 10]
    with PilImage.open(script.main([str(each) for each in options])) as drawn:
        assert drawn.size == (2 * 5 * 64, 2 * 64)
