r"""The benchmark of found marks: damage taken apart is the damage of ``relume eval``; counts add up."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relume import Restorer, image
from relume.bench.detection import auc
from relume.bench.regions import damaged
from relume.bundle import Bundle
from relume.image import Image
from relume.tasks.evaluate import damaged_by

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
RESULTS = BENCHMARKS / "results" / "0.1.0"


@pytest.fixture
def module(script: Any) -> Any:
    pytest.importorskip("cv2")
    return script("marks_found")


def committed(suite: str) -> dict[str, Any]:
    (path,) = RESULTS.glob(f"{suite}--*.json")
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return facts


def smooth(seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    levels = np.random.default_rng(seed).uniform(0.3, 0.6, (1, 1, 3))
    return np.broadcast_to(levels, (96, 128, 3)).astype(np.float32)


@pytest.mark.parametrize("recipe", ["surface", "old-photo"])
def test_the_damage_taken_apart_is_that_of_an_evaluation(module: Any, recipe: str) -> None:
    with_marks = 0
    for seed in range(12):
        name, clean = f"{seed}.png", smooth(seed)
        pair, parts = (
            damaged_by(name, Image(clean), recipe_name=recipe, seed=0),
            module.marked(clean, name, recipe),
        )
        assert np.abs(parts.picture - pair.damaged.srgb()).max() <= 0.51 / 255
        assert (parts.mask == pair.mask).all()
        inside = np.zeros_like(parts.mask, dtype=bool)
        for there in parts.kinds.values():
            inside |= there
        assert (inside == damaged(parts.mask)).all(), "every mark has a kind"
        with_marks += bool(inside.any())
        if recipe == "surface":  # nothing comes after the marks: a level changes where one is, and only there
            assert (parts.out[parts.mask <= 0] == 0).all()
            assert not inside.any() or np.median(parts.out[inside]) > 3
    assert with_marks > 4


def test_how_far_a_mark_stands_out_is_counted_in_deviations(module: Any) -> None:
    plain = np.random.default_rng(0).normal(0.5, 0.05, (64, 64, 1)).astype(np.float32)
    assert module.deviation(plain).mean() == pytest.approx(0.05, rel=0.05)
    assert module.deviation(np.full((32, 32, 3), 0.7, np.float32)).max() < 1e-4


def test_counts_of_a_photograph_add_up(module: Any, hollow_bundle: Bundle, tmp_path: Path) -> None:
    restorer = Restorer(str(hollow_bundle.path), engine="null")
    rows = []
    for seed in range(6):
        path = tmp_path / f"{seed}.png"
        image.write(Image(smooth(seed)), path)
        row = module.figures(restorer, path, "surface")
        if row is None:
            continue
        rows.append(row)
        for kind in row["kinds"].values():
            assert sum(count for count, _ in kind["classes"].values()) == kind["pixels"]
            assert sum(found for _, found in kind["classes"].values()) == kind["found"] <= kind["pixels"]
        pair = damaged_by(path.name, image.read(path), recipe_name="surface", seed=0)
        assert pair.mask is not None
        whole = row["kinds"]["all"]
        assert whole["pixels"] == damaged(pair.mask).sum()
        assert whole["auc"] == auc(restorer.restore(pair.damaged).mask, damaged(pair.mask))
    told = module.summary(rows)
    assert list(told["kinds"])[-1] == "all" and told["kinds"]["all"]["photographs"] == len(rows) > 1


def test_the_committed_summary_is_that_of_its_photographs_and_agrees_with_the_quality_file(
    module: Any,
) -> None:
    facts, quality = committed("marks-found"), committed("quality")
    again = module.summary(facts["pictures"])
    assert {key: facts[key] for key in again} == again
    assert facts["photographs"] == quality["photographs"]
    assert facts["kinds"]["all"]["auc_mean"] == pytest.approx(
        quality["means"]["restored"]["mask_auc"], abs=6e-4
    )
