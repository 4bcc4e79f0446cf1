r"""The benchmark of X-ray methods side by side: every method, both ways, and sums that follow."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def module(script: Any) -> Any:
    return script("xray_methods")


def test_a_session_is_answered_by_every_method_both_ways(module: Any) -> None:
    found = module.answer(module.BackgroundNet("xray"), module.TEST[0])
    assert {"none", "median of all 17", module.MODEL, "model, series of all 17", "true background"} <= set(
        found
    )
    for name, row in found.items():
        assert list(row)[1:] == (["glare off"] if name.startswith("model") else list(module.WAYS))
        assert all(
            value is None or np.isfinite(value) for way in list(row)[1:] for value in row[way].values()
        )
    psnr = {name: row["glare off"]["psnr"] for name, row in found.items()}
    assert psnr["none"] == min(psnr.values())
    assert psnr["true background"] > max(psnr["none"], psnr["Gaussian, 64 px"], psnr["median of 4 others"])
    told = module.summary([found])
    assert told["none"]["glare off"]["psnr"] == pytest.approx(psnr["none"], abs=1e-4)
    ahead = psnr[module.MODEL] - psnr["none"]
    assert told["none"]["glare off"]["model_ahead_db"] == pytest.approx([ahead] * 3, abs=0.01)
    assert told[module.MODEL]["glare off"]["model_ahead_db"] == [0, 0, 0]


def test_the_committed_means_are_those_of_its_sessions(module: Any) -> None:
    (path,) = (BENCHMARKS / "results" / "0.1.0").glob("xray-methods--*.json")
    facts = json.loads(path.read_text(encoding="utf-8"))
    assert len(facts["answers"]) == facts["sessions"]["count"] == 36 and facts["sessions"]["first"] == 0
    assert module.summary(facts["answers"]) == facts["methods"]
    assert "BaSiC of all 17" in facts["methods"] and facts["basicpy"]
    (path,) = path.parent.glob("xray-acceptance--*.json")
    asked = json.loads(path.read_text(encoding="utf-8"))["answers"]["unseen"]
    same = [each[module.MODEL]["glare off"]["psnr"] for each in facts["answers"]]
    assert same == pytest.approx([row["psnr"] for row in asked], abs=0.02), "two scripts, one question"
