r"""The committed results keep their contract, and the script that makes them fulfils it."""

import importlib.util
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relume import image
from relume.bundle import Bundle
from relume.image import Image

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
RESULTS = sorted((BENCHMARKS / "results").rglob("*.json"))

# Key → what its value is.
EVERY: dict[str, type] = {"suite": str, "version": str, "commit": str, "machine": dict}
MACHINE: dict[str, type] = {"cpu": str, "cores": int, "system": str, "python": str}
MODEL: dict[str, type] = {"name": str, "hash": str}
QUALITY: dict[str, type] = {
    "model": dict,
    "engine": str,
    "damage": dict,
    "photographs": dict,
    "figures": dict,
    "lacking": dict,
    "rows": dict,
    "means": dict,
    "counts": dict,
    "differences": list,
    "pictures": dict,
}
ROW: dict[str, type | tuple[type, ...]] = {
    "title": str,
    "control": bool,
    "parameters": (int, type(None)),
    "evaluations": (int, float, type(None)),
    "seconds_median": float,
}


def holds(facts: dict[str, Any], keys: dict[str, Any]) -> None:
    for key, kind in keys.items():
        assert isinstance(facts.get(key), kind), f"{key}: {facts.get(key)!r}"


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from numbers(each)
    elif isinstance(value, float):
        yield value


def check(path: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    holds(facts, EVERY)
    holds(facts["machine"], MACHINE)
    assert len(facts["commit"]) == 40 or not facts["commit"]
    assert path.stem.split("--")[0] == facts["suite"] and len(path.stem.split("--")) == 3
    if "model" in facts:
        holds(facts["model"], MODEL)
        assert len(facts["model"]["hash"]) == 64
    assert all(math.isfinite(value) for value in numbers(facts))
    if facts["suite"] == "quality":
        check_quality(facts)
    return facts


def check_quality(facts: dict[str, Any]) -> None:
    holds(facts, QUALITY)
    count = len(facts["photographs"]["names"])
    assert any(row["control"] for row in facts["rows"].values()), "a table without a control"
    for name, row in facts["rows"].items():
        holds(row, ROW)
        if row["parameters"] is not None:
            assert row["evaluations"] >= 1
        for figure in facts["figures"]:
            values = facts["pictures"][name][figure]
            known = [value for value in values if value is not None]
            assert len(values) == count and len(known) == facts["counts"][name][figure]
            mean = facts["means"][name][figure]
            assert mean == (pytest.approx(np.mean(known), rel=1e-3, abs=1e-4) if known else None)
    for each in facts["differences"]:
        for interval in each["intervals"].values():
            assert interval["low"] <= interval["mean"] <= interval["high"]


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.name)
def test_committed_results_keep_the_contract(path: Path) -> None:
    check(path)
    assert path.parent.parent == BENCHMARKS / "results"


def test_the_script_makes_a_result_that_keeps_it(hollow_bundle: Bundle, tmp_path: Path) -> None:
    script = BENCHMARKS / "quality.py"
    if not script.is_file():
        pytest.skip("the benchmarks are not part of this copy")
    spec = importlib.util.spec_from_file_location("quality_benchmark", script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed in range(3):
        picture = np.random.default_rng(seed).random((40, 48, 3), dtype=np.float32)
        image.write(Image(picture), photos / f"{seed}.png")
    options = ["--photos", photos, "--count", 2, "--rows", "identity", "median", "--name", "Here"]
    options += ["--model", hollow_bundle.path, "--engine", "null", "--out", tmp_path / "results"]
    made = module.main([str(each) for each in options])
    assert made.name == "quality--here--cpu.json"
    facts = check(made)
    assert facts["photographs"]["names"] == ["0.png", "2.png"]
    assert list(facts["rows"]) == ["identity", "median", *module.SETTINGS]
    assert facts["rows"]["4-steps"]["evaluations"] == 4
    again = json.loads(module.main([str(each) for each in options]).read_text(encoding="utf-8"))
    for name in facts["rows"]:
        assert again["pictures"][name]["psnr"] == facts["pictures"][name]["psnr"]
