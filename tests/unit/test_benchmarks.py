r"""The committed results keep their contract, and the script that makes them fulfils it."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relume import image
from relume.bench import METRICS
from relume.bench.report import load
from relume.bundle import Bundle, find
from relume.image import Image

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
RESULTS = sorted((BENCHMARKS / "results").rglob("*.json"))

# Page of the docs → a suite whose figures it quotes; figures of another bundle than the embedded one say so.
QUOTED = {"engines.md": "fewer", "provenance.md": "edit"}

# What the scripts import beside the light environment.
OPTIONAL = ("torch", "accelerate", "onnx", "scipy", "skimage", "cv2", "matplotlib", "monai", "diffusers")
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
STUDY: dict[str, type] = {
    **{key: kind for key, kind in QUALITY.items() if key not in ("model", "engine")},
    "budget_samples": int,
    "seed": int,
    "training": dict,
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
        holds(facts, QUALITY)
        check_rows(facts)
    if facts["suite"] == "study":
        check_study(facts)
    if facts["suite"] == "story":
        check_story(facts)
    if facts["suite"] == "serving":
        check_serving(facts)
    if facts["suite"] == "ops":
        check_ops(facts)
    if facts["suite"] == "inversion-photographs":
        check_inversion(facts)
    if facts["suite"] == "decoder-shape":
        check_decoder_shape(facts)
    return facts


def check_inversion(facts: dict[str, Any]) -> None:
    holds(facts, {"model": dict, "tolerance": float, "damage": dict, "cells": list, "runs": list})
    allowed = 20 * math.log10(facts["tolerance"])
    for run in facts["runs"]:  # said again by a forward run of the script's own, to two decimals
        margin = run["picture_nmse_db"] - allowed
        assert run["converged"] == (margin <= 0) or abs(margin) < 0.02
    cells = {(c["sampler"], c["steps"], c["guidance"], c["method"]): c for c in facts["cells"]}
    assert len(cells) == len(facts["cells"]) and {key[3] for key in cells} == {"naive", "published", "ours"}
    assert sum(len(c["noise_nmse_db"]["runs"]) for c in cells.values()) == len(facts["runs"])


def check_decoder_shape(facts: dict[str, Any]) -> None:
    for row in facts["rows"]:
        free, slope = row["gradient-free"], row["gradient"]
        assert free["weights_mib"] == slope["weights_mib"] < free["peak_mib"] < slope["peak_mib"]
        saved = 100 * (1 - free["above_mib"] / slope["above_mib"])
        assert row["less_above_percent"] == pytest.approx(saved, abs=0.06)


def check_ops(facts: dict[str, Any]) -> None:
    assert {each["op"] for each in facts["cases"]} == {"group-norm-silu", "gelu", "attention", "conv3x3"}
    for case in facts["cases"]:
        rows, counts = case["rows"], ("peak_forward_bytes", "peak_training_bytes", "waiting_bytes")
        assert len(rows) > 1 and "reference" in rows, "nothing to compare with"
        for name, row in rows.items():
            assert all(isinstance(row[key], int) and row[key] >= 0 for key in counts)
            assert row["relative_error"] < 1e-5 and row["peak_forward_bytes"] > 0
            if case["op"] != "conv3x3" and name != "reference":
                assert row["peak_forward_bytes"] <= rows["reference"]["peak_forward_bytes"]
                assert row["waiting_bytes"] <= rows["reference"]["waiting_bytes"]
    assert [row["m"] for row in facts["winograd"]] == [1, 2, 4, 6]


def check_story(facts: dict[str, Any]) -> None:
    assert all(row.agrees is not False for row in load(facts["report"]).rows), "a fast row of a wrong picture"
    for modes in facts["ladders"].values():
        for rungs in modes.values():
            product = math.prod(rung["factor"] for rung in rungs[1:])
            assert product == pytest.approx(rungs[0]["seconds"] / rungs[-1]["seconds"])
            assert {rung["label"] for rung in rungs} <= {"measured", "modelled"}


def check_serving(facts: dict[str, Any]) -> None:
    holds(facts, {"model": dict, "workload": dict, "capacity": dict, "cells": list})
    cells = {(cell["way"], cell["load"]): cell for cell in facts["cells"]}
    assert len(cells) == len(facts["cells"]) and len({way for way, _ in cells}) >= 2
    for (_, share), cell in cells.items():
        assert cell["rate"] == pytest.approx(share * facts["capacity"]["one at a time"]["requests_per_s"])
        assert cell["sent"] == cells["one at a time", share]["sent"], "the same requests for every way"
        counted = cell["thumbnails"]["count"] + cell["scans"]["count"] + cell["refused"]
        assert counted == cell["sent"] >= cell["done"]
        for kind in ("all", "thumbnails", "scans"):
            known = [cell[kind][f"p{p}_s"] for p in (50, 95, 99) if cell[kind][f"p{p}_s"] is not None]
            assert known == sorted(known)


def check_study(facts: dict[str, Any]) -> None:
    holds(facts, STUDY)
    check_rows(facts)
    assert facts["machine"]["threads"] == 1 and "default" in facts["rows"]
    for name, each in facts["training"].items():
        batch = each["recipe"]["batch"]
        assert 0 <= each["samples"] - facts["budget_samples"] < batch, f"{name} had another budget"
        assert each["samples"] == batch * each["recipe"]["steps"]
        assert each["recipe"]["seed"] == facts["seed"] and len(each["checkpoint_sha256"]) == 64
        assert any(row.split("/")[0] == name for row in facts["rows"])
    against = {each["ours"] for each in facts["differences"] if each["theirs"] == "default"}
    assert against == set(facts["rows"]) - {"default"}


def check_rows(facts: dict[str, Any]) -> None:
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


@pytest.mark.parametrize("page", QUOTED)
def test_figures_of_another_bundle_say_so(page: str) -> None:
    measured = json.loads(next(path for path in RESULTS if path.name.startswith(QUOTED[page])).read_text())
    wanted = measured["model"]["hash"]
    text = (BENCHMARKS.parent / "docs" / page).read_text(encoding="utf-8")
    assert wanted == find("photo").hash or wanted[:8] in text


def test_tables_of_the_pages_are_those_of_the_results(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = script("pages")
    old = [name for name in module.TABLES if module.stale(name, RESULTS[0].parent)]
    assert not old, f"python benchmarks/pages.py writes {', '.join(old)} anew"


def test_a_table_is_put_where_it_belongs_and_nowhere_else(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module, page = script("pages"), tmp_path / "page.md"
    page.write_text(marked("one") + marked("two"), encoding="utf-8")
    module.placed(page, "one", module.grid(["a", "b"], [["1", "2"]]))
    table = "| a | b |\n|---|---|\n| 1 | 2 |"
    assert page.read_text(encoding="utf-8") == marked("one").replace("old", table) + marked("two")
    with pytest.raises(SystemExit, match="three: begin"):
        module.placed(page, "three", table)


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.name)
def test_committed_results_keep_the_contract(path: Path) -> None:
    check(path)
    assert path.parent.parent == BENCHMARKS / "results"


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.stem)
def test_a_script_finds_what_it_imports(script: Any, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    try:
        script(path.stem)
    except ModuleNotFoundError as error:
        if error.name not in OPTIONAL:
            raise
        pytest.skip(f"{error.name} is not installed")


def photographs(folder: Path, count: int) -> Path:
    folder.mkdir()
    for seed in range(count):
        picture = np.random.default_rng(seed).random((40, 48, 3), dtype=np.float32)
        image.write(Image(picture), folder / f"{seed}.png")
    return folder


def test_the_script_makes_a_result_that_keeps_it(script: Any, hollow_bundle: Bundle, tmp_path: Path) -> None:
    module = script("quality")
    photos = photographs(tmp_path / "photos", 3)
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


def marked(name: str) -> str:
    """A page with a table of that name."""
    return f"before\n<!-- {name}: begin -->\nold\n<!-- {name}: end -->\nafter\n"


def test_the_operations_are_measured(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module, threads = script("ops"), torch.get_num_threads()
    page = tmp_path / "page.md"
    page.write_text(marked("ops"), encoding="utf-8")
    options = ["--quick", "--name", "here", "--out", tmp_path / "results", "--page", page]
    try:
        facts = check(module.main([str(each) for each in options]))
    finally:
        torch.set_num_threads(threads)
    rows = {each["op"]: each["rows"] for each in facts["cases"]}
    assert all(row["seconds"]["training"]["rounds"] == 3 for each in rows.values() for row in each.values())
    values = 4 * 96 * 32 * 32  # bytes of the norm's result: two are held before, and one after
    assert rows["group-norm-silu"]["torch"]["peak_forward_bytes"] >= 2 * values
    assert values <= rows["group-norm-silu"]["saving"]["peak_forward_bytes"] < 1.1 * values
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert text.count("| reference |") == 4 and "not yet" not in text


SMALL: dict[str, dict[str, Any]] = {
    "restorer": {"widths": (8, 12), "encoder": (1,), "middle": 1, "decoder": (1,), "time_width": 8},
    "tone": {"width": 8},
    "unet": {"base": 8, "multipliers": (1, 2)},
}


def few_figures(cls: Any, *, clean: bool = True) -> Any:
    """What needs no optional library."""
    kept = ("psnr", "ssim", "tone_aligned_psnr", "gradient_energy")
    return cls(tuple(each for each in METRICS if each.name in kept), False, clean, {})


@pytest.fixture
def study(script: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script with nets that are small enough for a test."""
    pytest.importorskip("torch")
    pytest.importorskip("accelerate")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = script("study")
    monkeypatch.setattr(module, "CONTROLS", ("identity",))
    monkeypatch.setattr(module.Ruler, "here", classmethod(few_figures))
    for name, variant in module.VARIANTS.items():
        recipe = replace(variant.recipe, config=SMALL[variant.recipe.net], size=16, batch=4)
        monkeypatch.setitem(module.VARIANTS, name, replace(variant, recipe=recipe))
    return module


def asked(tmp_path: Path, *variants: str, samples: int = 8) -> list[str]:
    options = ["--data", tmp_path / "learn", "--photos", tmp_path / "held", "--runs", tmp_path / "runs"]
    options += ["--variants", *variants, "--budget-samples", samples, "--count", 2, "--side", 32]
    options += ["--chain-steps", 10, "--name", "Here", "--out", tmp_path / "results"]
    return [str(each) for each in options]


def test_a_study_is_whole_and_goes_on_where_it_was_left(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photographs(tmp_path / "learn", 8)
    photographs(tmp_path / "held", 2)
    begun: list[str] = []
    learn = study.train

    def counted(config: Any, run: Any, **rest: Any) -> Path:
        begun.append(run.out.name)
        if len(begun) == 3:
            raise KeyboardInterrupt
        return learn(config, run, **rest)

    monkeypatch.setattr(study, "train", counted)
    with pytest.raises(KeyboardInterrupt):
        study.main(asked(tmp_path, "ddpm", "distilled"))
    assert begun == ["default", "ddpm", "distilled"] and not (tmp_path / "results").exists()
    made = study.main(asked(tmp_path, "ddpm", "distilled"))
    assert begun[3:] == ["distilled"], "what was finished is not trained again"
    facts = check(made)
    assert made.name == "study--here--cpu.json"
    chains = ["ddpm/ddim-10", "ddpm/dpm++2m-10"]
    rows = ["default", "default/2", "default/4", "default/4-sampled", *chains, "distilled"]
    assert [name for name in facts["rows"] if not facts["rows"][name]["control"]][-7:] == rows
    assert [facts["rows"][name]["evaluations"] for name in rows] == [1, 2, 4, 4, 10, 10, 1]
    assert facts["training"]["distilled"]["samples_before"] == 8
    assert facts["training"]["distilled"]["recipe"]["settings"] == {"teacher": "default"}
    table = made.with_suffix(".md").read_text(encoding="utf-8").splitlines()
    assert len(table) == len(facts["rows"]) + 2 and len({line.count(" | ") for line in table[2:]}) == 1
    assert study.main(asked(tmp_path, "tone")) == made and begun[4:] == ["tone"]
    assert [name for name in check(made)["rows"] if name.startswith("tone")] == ["tone"]
    with pytest.raises(SystemExit, match="another recipe or budget"):
        study.main(asked(tmp_path, "default", samples=12))


def test_every_variant_is_one_change_of_what_can_be_trained(script: Any, study: Any, tmp_path: Path) -> None:
    from relume.nets import build
    from relume.train.objectives import objective

    variants = script("variants").VARIANTS
    recipes = []
    for name, variant in variants.items():
        config = variant.config(tmp_path, samples=1000, seed=3)
        assert 0 <= config.steps * config.batch - 1000 < config.batch and config.seed == 3
        assert config.warmup <= config.steps / 10
        objective(config.objective, config.settings)
        build(config.net, config.config)
        assert study.order([name])[0] == "default"
        recipes.append(json.dumps(asdict(config)))
    assert len(set(recipes)) == len(recipes), "two variants are the same"
    learned = [variant.recipe for name, variant in variants.items() if name != "tone"]
    assert len({recipe.batch for recipe in learned}) == 1
    assert {recipe.pair for name, recipe in zip(variants, learned, strict=False) if name != "no-split"} == {
        "photo"
    }


def test_half_a_study_halves_local_nets_alone(script: Any, study: Any, tmp_path: Path) -> None:
    from relume.nets import build

    variants, sizes = script("variants").VARIANTS, {}
    for name in ("default", "conv", "half-width", "ddpm", "tone"):
        whole, half = (
            variants[name].config(tmp_path, samples=1000, seed=3, half=half) for half in (False, True)
        )
        assert replace(half, config=whole.config) == whole
        counts = [sum(each.numel() for each in build(c.net, c.config).parameters()) for c in (half, whole)]
        sizes[name] = counts[0] / counts[1]
    assert sizes.pop("tone") == 1 and all(0.2 < size < 0.4 for size in sizes.values())
    photographs(tmp_path / "learn", 8)
    photographs(tmp_path / "held", 2)
    made = study.main([*asked(tmp_path, "default"), "--half"])
    facts = check(made)
    assert made.name == "study-half--here--cpu.json" and facts["half"] is True
    assert facts["training"]["default"]["recipe"]["config"]["widths"] == [4, 6]


def test_equal_seeds_and_sizes_mean_equal_batches(study: Any, tmp_path: Path) -> None:
    import torch

    from relume.train.pairs import Batches
    from relume.train.photos import Photos

    photos = Photos(sorted(photographs(tmp_path / "learn", 3).iterdir()))
    drawn = []
    for name in ("default", "ddpm", "unet-few-step", "l1", "distilled"):
        config = study.VARIANTS[name].config(tmp_path, samples=8, seed=5)
        data = Batches(photos, pair=config.pair, size=config.size, batch=config.batch, seed=config.seed)
        drawn.append(data[1])
    assert all(torch.equal(each[key], drawn[0][key]) for each in drawn for key in each)


def test_serving_is_measured_and_goes_on_where_it_was_left(
    script: Any, hollow_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fastapi")
    pytest.importorskip("sqlalchemy")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = script("serving")
    page = tmp_path / "page.md"
    page.write_text(marked("serving"), encoding="utf-8")
    options = [
        "--page",
        page,
        "--probe",
        1,
        "--model",
        hollow_bundle.path,
        "--engine",
        "null",
        "--quick",
        "--name",
        "Here",
        "--jobs",
        2,
    ]
    options += ["--scan", 100, "--out", tmp_path]
    argv = [str(each) for each in options]
    real = module.load
    cells: list[float] = []

    def counted(args: Any, extra: list[str], rate: float, sent: Any) -> Any:
        cells.append(rate)
        if len(cells) == 2:
            raise KeyboardInterrupt
        args.seconds = min(args.seconds, 5 / rate)
        return real(args, extra, rate, sent)

    monkeypatch.setattr(module, "LOADS", [0.5])
    monkeypatch.setattr(module, "load", counted)
    with pytest.raises(KeyboardInterrupt):
        module.main(argv)
    made = module.main(argv)
    assert len(cells) == 1 + 1 + 3, "what was finished is not measured again"
    facts = check(made)
    assert made.name == "serving--here--cpu.json" and all(
        cell["done"] == cell["sent"] for cell in facts["cells"]
    )
    assert "| step by step |" in page.read_text("utf-8") and "old" not in page.read_text("utf-8")
    assert page.read_text("utf-8").startswith("before\n") and page.read_text("utf-8").endswith("\nafter\n")
    with pytest.raises(SystemExit, match="another workload"):
        module.main([*argv, "--seed", "1"])


def test_arrivals_are_a_poisson_process_and_quantiles_keep_what_was_not_done(script: Any) -> None:
    module = script("serving")
    args = module.options(["--seconds", "4000", "--scans", "0.25"])
    found = module.arrivals(args, 2.0)
    gaps = np.diff([0.0, *(each.due for each in found)])
    assert found == module.arrivals(args, 2.0) and len({each.seed for each in found}) == len(found)
    assert gaps.mean() == pytest.approx(0.5, rel=0.05) and gaps.std() == pytest.approx(0.5, rel=0.05)
    assert np.mean([each.scan for each in found]) == pytest.approx(0.25, abs=0.02)
    seconds = [float(k) for k in range(1, 100)]
    assert module.quantiles([*seconds, math.inf]) == {"count": 100, "p50_s": 50, "p95_s": 95, "p99_s": 99}
    assert module.quantiles([*seconds[:90], *[math.inf] * 10])["p95_s"] is None
    found = module.spread([(float(k), 1.0 + (k >= 50)) for k in range(100)])
    assert found["p50_s"] == 1 and found["intervals"]["p50_s"] == [1, 2], "ten stretches, not a hundred"
    assert module.spread([(0.0, math.inf)] * 2)["intervals"]["p50_s"] == []
    assert module.quantiles([]) == {"count": 0, "p50_s": None, "p95_s": None, "p99_s": None}


def test_what_latents_are_told_apart_by_is_right_where_the_answer_is_known(script: Any) -> None:
    torch = pytest.importorskip("torch")
    latent = script("latent")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        z, other = torch.randn(2, 80, 3, 12, 12, dtype=torch.float64)
    assert latent.frechet(z, z) == pytest.approx(0, abs=1e-6)
    # Twice the differences: (2 - 1)² of the variance; a ramp moves the mean and nothing else.
    assert latent.frechet(z, 2 * z) == pytest.approx(1, rel=1e-4)
    ramp = torch.arange(12, dtype=torch.float64)
    trace = z.diff(dim=3).movedim(1, 3).flatten(0, 2).T.cov().trace()
    assert latent.frechet(z, z + ramp) == pytest.approx(3 / float(trace), rel=1e-6)
    assert latent.probe(z, 1.3 * other) > 0.95
    assert abs(latent.probe(z, other) - 0.5) < 0.12
    assert latent.probe(z, other[:20] * 1.3) > 0.9  # few against many count as much


def test_grain_is_measured_beside_structure(script: Any) -> None:
    pytest.importorskip("torch")
    latent = script("latent")
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 1, 255)[:, None, None] * np.ones((1, 201, 3))
    ramp[:, 100:] += 0.3
    for sigma in (0.0, 0.02, 0.1):
        noisy = ramp + sigma * rng.standard_normal((255, 201, 1))
        assert latent.grain(noisy) == pytest.approx(255 * sigma, rel=0.03, abs=1e-6)


def test_a_claim_is_met_by_its_whole_interval_alone(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = script("xray_table")
    claim = module.Claim("asked", "question", "figure", "{:.1%}", low=0.85, high=0.95)
    for low, mean, high, told in (
        (0.86, 0.9, 0.94, "85 to 95%, met"),
        (0.84, 0.9, 0.94, "85 to 95%, met by the mean, not by the interval"),
        (0.86, 0.9, 0.96, "85 to 95%, met by the mean, not by the interval"),
        (0.80, 0.84, 0.9, "85 to 95%, **missed**"),
    ):
        assert module.verdict(claim, {"low": low, "mean": mean, "high": high}) == told
    free = module.Claim("asked", "question", "figure", "{:.1f} dB")
    assert module.verdict(free, {"low": 0.0, "mean": 1.0, "high": 2.0}) == ""
