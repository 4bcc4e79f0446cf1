r"""What was invented: the prediction, where its weights come from, and the map."""

import json
from pathlib import Path

import numpy as np
import pytest

from relume import bundle, image
from relume.bundle import Bundle
from relume.cli import main
from relume.image import Image
from relume.tasks import Restorer, Settings
from relume.tasks.invented import COEFFICIENTS, Coefficients, Evidence, evidence, invented, predicted

RESULTS = sorted((Path(__file__).parents[2] / "benchmarks" / "results").glob("*/invented--*.json"))


def planes(*values: float) -> Evidence:
    """Constant spread, residual, damage and activity."""
    return Evidence(*(np.full((20, 30), value, np.float32) for value in values))


def test_the_prediction_is_the_sum_that_it_says() -> None:
    found = predicted(planes(0.02, 0.01, 0.3, 0.05), Coefficients(0.3, 0.2, 0.1, 0.05, ""))
    by_hand = 0.3 * 0.02**0.5 + 0.2 * 0.01**0.5 + 0.1 * 0.3**0.5 + 0.05 * 0.05**0.5
    np.testing.assert_allclose(found, by_hand, rtol=1e-5)


def test_more_of_any_evidence_never_predicts_less() -> None:
    weights = COEFFICIENTS[:4]
    assert all(weight >= 0 for weight in weights) and max(weights) > 0
    low = (0.01, 0.01, 0.1, 0.01)
    for i in range(4):
        raised = [*low[:i], 0.9, *low[i + 1 :]]
        assert predicted(planes(*raised)).mean() >= predicted(planes(*low)).mean()


def test_the_weights_are_those_that_were_measured_for_the_embedded_model() -> None:
    assert RESULTS
    measured = json.loads(RESULTS[-1].read_text())
    assert measured["coefficients"] == COEFFICIENTS._asdict()
    assert bundle.find("photo").weights_hash == COEFFICIENTS.model


def test_the_evidence_is_measured_on_the_net(tiny_bundle: Bundle, hollow_bundle: Bundle) -> None:
    rng = np.random.default_rng(0)
    given = Image(rng.random((40, 50, 3)).astype(np.float32))
    model = Restorer(tiny_bundle.path, engine="pytorch", precision="f32", threads=1)
    found = evidence(model, given, model.restore(given))
    for plane in (found.spread, found.residual, found.damage, found.activity):
        assert plane.shape == (40, 50) and (plane >= 0).all() and plane.any()
    # A net that changes nothing leaves nothing to invent, whatever the seed of its answer.
    null = Restorer(hollow_bundle.path, engine="null")
    nothing = evidence(null, given, null.restore(given))
    assert not nothing.residual.any()


def test_a_mask_that_was_given_is_given_again(tiny_bundle: Bundle) -> None:
    rng = np.random.default_rng(0)
    given = Image(rng.random((64, 64, 3)).astype(np.float32))
    model = Restorer(tiny_bundle.path, engine="pytorch", precision="f32", threads=1)
    mask = np.zeros((64, 64), np.float32)
    mask[20:30, 20:30] = 1
    settings = Settings(preserve=True, tone="keep")
    done = model.restore(given, settings, mask=mask)
    found = evidence(model, given, done, settings, mask=mask)
    far = np.ones((64, 64), bool)
    far[13:37, 13:37] = False
    # What is kept as it was depends on no seed.
    assert found.spread[20:30, 20:30].max() > 0 and not found.spread[far].any()
    blind = evidence(model, given, done, settings)
    assert (found.residual != blind.residual).any(), "the net is told of the mask there, too"


def test_the_figures_in_the_docs_are_those_that_were_measured() -> None:
    measured = json.loads(RESULTS[-1].read_text())
    text = (RESULTS[-1].parents[3] / "docs" / "provenance.md").read_text(encoding="utf-8")
    for row, part in {
        "spread (`--uncertainty`)": "spread",
        "residual": "residual",
        "damage": "damage",
        "activity of the result (control)": "activity",
        "**expected error (`--invented`)**": "invented",
    }.items():
        found = measured["rank_correlation"][f"{part} to detail"]
        assert f"| {row} | {found['within_median']:.2f} | {found['pooled']:.2f} |" in text
    tenths = measured["predicted_and_true_rms_by_tenths"]
    for row, column in (("expected", 0), ("true", 1)):
        assert f"| {row} | {' | '.join(f'{each[column]:.3f}' for each in tenths)} |" in text
    photographs = len(measured["photographs"]["names"])
    assert f"within a photograph (median of {photographs})" in text


def test_two_passes_are_judged_by_one_and_not_calibrated(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = Image(np.random.default_rng(0).random((40, 50, 3)).astype(np.float32))
    model = Restorer(tiny_bundle.path, engine="pytorch", precision="f32", threads=1)
    fitted = COEFFICIENTS._replace(model=model.bundle.weights_hash)
    monkeypatch.setattr("relume.tasks.invented.COEFFICIENTS", fitted)
    monkeypatch.setattr("relume.tasks.restore.SURE", 0.0)  # or there would be no second pass
    done, one, two = model.restore(given), Settings(), Settings(mask="twice")
    assert invented(model, given, done, one).calibrated
    assert not invented(model, given, done, two).calibrated
    np.testing.assert_array_equal(
        evidence(model, given, done, one).spread, evidence(model, given, done, two).spread
    )
    told = np.ones((40, 50), np.float32)
    assert invented(model, given, done, two, mask=told).calibrated  # it takes the second pass's place


def test_the_map_and_the_figures_in_the_report(tiny_bundle: Bundle, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    image.write(Image(rng.random((40, 50, 3)).astype(np.float32)), tmp_path / "a.png")
    options = ["--model", tiny_bundle.path, "--engine", "pytorch", "--threads", 1, "-q"]
    words = ["restore", tmp_path / "a.png", "--invented", "--report", tmp_path / "r.json", *options]
    assert main([str(each) for each in words]) == 0
    shown = image.read(tmp_path / "a-restored-invented.png")
    assert shown.bit_depth == 16 and shown.gray and (shown.height, shown.width) == (40, 50)
    figures = json.loads((tmp_path / "r.json").read_text())["files"][0]["invented"]
    assert figures["calibrated"] is False  # another model than the one that was measured
    # White is an error of 0.25 or more.
    assert 1 >= figures["mean_expected_error"] >= shown.pixels.mean() * 0.25 - 1e-4 > 0
