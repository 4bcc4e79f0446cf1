r"""The story's arithmetic, on reports made here: its factors multiply to the whole."""

import json
from pathlib import Path
from typing import Any

import pytest

from relume import engines
from relume.bench.clock import latency
from relume.bench.report import Cold, Operation, Profile, Rate, Report, Row
from relume.bundle import Bundle

SIDE = 512


@pytest.fixture
def story(script: Any) -> Any:
    return script("story")


def row(
    engine: str, precision: str, steps: int, *, once: float, picture: float | None, **changes: Any
) -> Row:
    facts: dict[str, Any] = {
        **{"name": f"{engine} {precision} {steps}", "kind": "model", "engine": engine, "version": "1"},
        **{"device": "cpu", "precision": precision, "steps": steps, "evaluations": steps},
        **{"height": SIDE, "width": SIDE, "evaluation": latency([once])},
        "picture": None if picture is None else latency([picture]),
    }
    return Row(**{**facts, **changes})


@pytest.fixture
def report() -> Report:
    founding = row(
        *("pytorch", "f32", 300),
        once=2.0,
        picture=None,
        name="founding shape (recipe), 300 steps, 512×512",
        kind="founding",
        modelled_picture_s=600.0,
        cold=Cold(1.0, 3.0, 2.0, 2.0, None, None),
    )
    rows = [founding]
    for steps in (1, 4):
        rows += [
            row("pytorch", "f32", steps, once=0.4, picture=0.5 * steps),
            row("onnx", "f32", steps, once=0.2, picture=0.25 * steps),
            row("openvino", "f32", steps, once=0.1, picture=0.125 * steps),
            row("openvino", "bf16", steps, once=0.05, picture=0.1 * steps),
        ]
    return Report("0", {"cpu": "x", "threads": 2}, None, {}, {"f32": Rate(1e11, "x")}, 1e10, "pytorch", rows)


@pytest.mark.parametrize(("steps", "whole"), [(1, 6000.0), (4, 1500.0)])
def test_the_factors_multiply_to_the_whole(story: Any, report: Report, steps: int, whole: float) -> None:
    rungs = story.ladder(report, SIDE, steps, "recipe")
    assert [rung["rung"] for rung in rungs] == ["start", "steps", "net", "engine", "precision"]
    product = 1.0
    for rung in rungs[1:]:
        product *= rung["factor"]
    assert product == pytest.approx(rungs[0]["seconds"] / rungs[-1]["seconds"]) == pytest.approx(whole)
    assert rungs[1]["factor"] == 300 / steps and rungs[0]["label"] == "modelled"
    assert rungs[3]["what"].endswith("openvino f32") and rungs[4]["what"].endswith("openvino bf16")


def test_the_engine_alone_is_compared_at_one_step(story: Any, report: Report) -> None:
    found = story.engine_alone(report, SIDE)
    assert found["engine"] == "openvino bf16" and found["factor"] == pytest.approx(8.0)


def test_a_cold_process_stands_against_a_cold_process(story: Any, report: Report) -> None:
    found = story.against_cold({"modes": {"fast": {"steps": 1, "median_s": 2.0}}}, report, SIDE)
    assert found["founding_s"] == {"recipe": 604.0}  # start, load and 300 steps, each counted once
    assert found["modes"]["fast"]["factor"] == {"recipe": 302.0}


def test_the_page_marks_what_is_modelled_and_what_was_not_trained(story: Any, report: Report) -> None:
    told = {
        "file": "a.json",
        "report": {"machine": report.machine, "rows": []},
        "ladders": {"recipe": {"fast": story.ladder(report, SIDE, 1, "recipe")}},
        "cold": story.against_cold({"modes": {"fast": {"steps": 1, "median_s": 2.0}}}, report, SIDE),
        "quality": {
            "photographs": 12,
            "rows": {
                "founding shape": {"psnr_db": None, "ssim": None, "why": story.NOT_TRAINED},
                "fast": {"psnr_db": 24.5, "ssim": 0.8},
            },
        },
        "engine_alone": story.engine_alone(report, SIDE),
        "module_alone": {"PyTorch": 0.4, "engine pytorch f32": 0.2, "engine openvino bf16": 0.1},
        "check": [{"side": 128, "ratio": 1.02}],
        "convolutions": {"openvino bf16": {"flop_per_s": 5e10, "of_peak": None, "time_share": {"norm": 0.5}}},
    }
    text = story.page(told)
    assert "| start | 300 steps of its U-Net, PyTorch eager f32 | 600 s | modelled |  |" in text
    assert "took 400 ms (PyTorch, as a module comes), 200 ms (engine pytorch f32: 2.0×) and" in text
    assert "**6000×**" in text and "302× (recipe)" in text
    assert "| founding shape | None (not trained) | None |" in text and "| fast | 24.50 | 0.800 |" in text
    assert "| openvino bf16 | 50 | – | norm 50% |" in text


def test_a_whole_story(
    story: Any, tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from relume.tasks.speed import founding

    for shape in ("recipe", "lean"):
        monkeypatch.setitem(founding.SHAPES, shape, {"base": 8, "multipliers": (1, 2)})
    made = Rate(1e11, "x")
    monkeypatch.setattr("relume.tasks.speed.measured_peaks", lambda threads: {"f32": made, "bf16": made})
    monkeypatch.setattr("relume.tasks.speed.copy_bandwidth", lambda threads: 1e10)
    monkeypatch.setattr("relume.tasks.speed.measure.alone", lambda job: Cold(0.1, 0.2, 0.3, 0.1, 2**20, None))
    monkeypatch.setattr("relume.tasks.speed.measure.warm_up", lambda call: [call(), 1.0][1:])
    monkeypatch.setattr("relume.tasks.speed.layers.EVALUATIONS", 1)
    monkeypatch.setattr("relume.engines.AUTO", [engines.openvino, engines.pytorch])
    monkeypatch.setattr(story, "CHECK_SIDE", 32)
    monkeypatch.setattr(story, "git", lambda *words: "0" * 40)
    page = tmp_path / "speed.md"
    page.write_text("before\n<!-- story: begin -->\nstale\n<!-- story: end -->\nafter\n")
    options = ["--quick", "--model", str(tiny_bundle.path), "--threads", "1", "--name", "here"]
    target = story.main([*options, "--out", str(tmp_path), "--page", str(page)])
    facts = json.loads(target.read_text())
    assert target.name == "story--here--cpu.json" and facts["suite"] == "story"
    assert {rung["rung"] for rung in facts["ladders"]["lean"]["balanced"]} >= {"steps", "engine"}
    assert all(each["of_peak"] > 0 for name, each in facts["convolutions"].items())
    assert len(facts["cold"]["modes"]["fast"]["runs_s"]) == 1 and facts["check"][0]["measured_s"] > 0
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "stale" not in text


def test_convolutions_are_set_against_the_peak_of_their_precision(
    story: Any, report: Report, tiny_bundle: Bundle
) -> None:
    from relume.tasks.speed import pattern
    from relume.tasks.speed.flops import graph_work
    from relume.tasks.speed.models import tile_inputs

    operations = [Operation("stem", "convolution", "c", 0.25), Operation("", "layout", "r", 0.75)]
    profile = Profile("onnx", "f32", "cpu", 64, 64, 5, operations)
    given = Report(**{**vars(report), "profiles": [profile]})

    class Held:
        bundle = tiny_bundle

    found = story.convolutions(given, Held, pattern(64, 64))["onnx f32"]
    arrays = tile_inputs(pattern(64, 64), 64)
    shapes = dict(zip(("x", "condition", "t"), (array.shape for array in arrays), strict=True))
    layers = graph_work(tiny_bundle.graph("local"), shapes)
    flop = sum(each.flop for each in layers if each.operation.endswith("Convolution"))
    assert found["flop_per_s"] == pytest.approx(flop / 0.25)
    assert found["of_peak"] == pytest.approx(flop / 0.25 / 1e11)
    assert found["time_share"] == {"layout": 0.75, "convolution": 0.25}
