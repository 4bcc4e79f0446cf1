r"""``relume bench``: its table, its files and its refusals."""

import json
from pathlib import Path
from typing import Any

import pytest

from relume.bench.clock import latency
from relume.bench.report import Cold, Operation, Profile, Rate, Report, Row, load
from relume.bench.roofline import Peak, Work, place
from relume.bundle import Bundle
from relume.cli import main
from relume.cli.bench_table import profile_table, table
from relume.tasks.speed import model_subjects, peaks
from relume.tasks.speed.models import Wanted


def row(name: str, **changes: Any) -> Row:
    facts: dict[str, Any] = {
        **{"name": name, "kind": "model", "engine": "onnx", "version": "1", "device": "cpu"},
        **{"precision": "f32", "steps": 1, "evaluations": 1, "height": 64, "width": 64},
        **{"evaluation": latency([0.25]), "picture": latency([0.5]), "megapixels_per_s": 0.008},
        "place": place(Work(1e9, 1e9), 0.25, Peak(16e9, 1e9)),
        "cold": Cold(1.0, 2.0, 3.0, 0.5, 300 * 2**20, 0),
        **{"parity_db": 71.25, "parity_least_db": 60.0},
    }
    return Row(**{**facts, **changes})


def report(*rows: Row) -> Report:
    return Report(
        relume="0",
        machine={"cpu": "A processor", "threads": 2, "gpus": ["A board"]},
        model=None,
        settings={},
        peaks={"f32": Rate(16e9, "numpy")},
        copy_bytes_per_s=1e9,
        reference="pytorch f32",
        rows=list(rows),
        lacking={"gpu energy": "no GPU"},
    )


def cells(text: str, name: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(name)]
    return line.removeprefix(name).split()


def test_the_table_shows_what_was_measured() -> None:
    text = table(report(row("a model")))
    found = cells(text, "a model")
    assert found[:6] == ["500", "ms", "[500", "ms,", "500", "ms]"]
    assert found[-6:] == ["memory", "300", "6.00", "s", "–", "71.2"]
    assert {"4", "25%"} <= set(found)
    assert "A processor, 2 threads, A board: f32 16 GFLOP/s, copy 1.0 GB/s" in text
    assert "no gpu energy: no GPU" in text and "against pytorch f32" in text


def test_the_table_says_none_where_nothing_was_measured_and_marks_what_is_modelled_or_wrong() -> None:
    bare = row(
        "bare", picture=None, evaluation=None, place=None, cold=None, parity_db=None, megapixels_per_s=None
    )
    modelled = row("modelled", picture=None, modelled_picture_s=75.0)
    wrong = row("wrong", parity_db=20.0)
    text = table(report(bare, modelled, wrong))
    assert set(cells(text, "bare")) == {"–"}
    assert cells(text, "modelled")[0] == "~75.0"
    assert cells(text, "wrong")[-1] == "20.0!"
    assert "0" not in cells(text, "bare")


def test_columns_stand_below_their_heads() -> None:
    lines = table(report(row("short"), row("a much longer name"))).splitlines()
    assert len({len(line) for line in lines[1:4]}) == 1


def test_the_profile_adds_up_by_operation_and_by_layer() -> None:
    operations = [
        Operation("stem", "convolution", "conv a", 0.3),
        Operation("head", "convolution", "conv b", 0.5),
        Operation("", "layout", "reorder", 0.2),
    ]
    text = profile_table(Profile("onnx", "f32", "cpu", 64, 32, 5, operations))
    assert "onnx f32 on cpu, 32×64: 1.00 s an evaluation" in text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "800 ms 80.0% convolution" in lines and "500 ms 50.0% head" in lines
    assert "200 ms 20.0% (no layer)" in lines
    assert lines.index("500 ms 50.0% head") < lines.index("300 ms 30.0% stem")


@pytest.fixture
def few_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peaks of tiny matrices: what they are is not what these tests ask."""
    monkeypatch.setattr(
        "relume.tasks.speed.measured_peaks", lambda threads: peaks.measured_peaks(threads, side=64)
    )
    monkeypatch.setattr("relume.tasks.speed.copy_bandwidth", lambda threads: 1e10)


def test_a_run_writes_its_report_and_its_drawing(
    tiny_bundle: Bundle, tmp_path: Path, few_products: None, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    out, drawing = tmp_path / "b.json", tmp_path / "b.svg"
    call = [
        "bench",
        str(tiny_bundle.path),
        "--engines",
        "openvino,null",
        "--precisions",
        "f32",
        "--sizes",
        "64",
    ]
    call += ["--steps", "1,2", "--rounds", "2", "--no-cold", "--threads", "1", "--profile", "-q"]
    code = main([*call, "--json", str(out), "--plot", str(drawing)])
    written = load(json.loads(out.read_text()))
    names = [each.name for each in written.rows]
    assert names == [f"{e} f32, {s}, 64×64" for e in ("openvino", "null") for s in ("1 step", "2 steps")]
    assert [each.agrees for each in written.rows] == [True, True, False, False]
    assert [each.work_flop is None for each in written.rows] == [False, False, True, True]
    assert code == 3  # null is fast and wrong: its picture is not that of the net
    assert drawing.read_bytes().startswith(b"<?xml")
    shown = capsys.readouterr()
    assert all(name in shown.out for name in names) and "not that of the reference" in shown.err
    assert {each.engine for each in written.profiles} == {"openvino"}
    assert main([*call, "--json", str(out)]) == 2  # nothing is overwritten unasked


def test_steps_that_a_model_has_not_are_refused_before_anything_is_measured(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(threads: int) -> None:
        raise AssertionError("it was begun")

    monkeypatch.setattr("relume.tasks.speed.measured_peaks", measured)
    options = ["--steps", "1000", "--engines", "null", "--sizes", "64"]
    assert main(["bench", str(tiny_bundle.path), *options]) == 2
    assert "steps=1000" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--engines", "tensorflow"], 2, "no engine"),
        (["--engines", "openvino", "--device", "npu:9", "--precisions", "f32"], 6, "npu"),
        (["--engines", "onnx", "--precisions", "int4"], 2, "no precision"),
        (["--against", "photoshop"], 2, "no peer"),
        (["--steps", "3.5"], 2, "3.5"),
        (["--sizes", "0"], 2, "0"),
        (["--json", "/no/such/folder/b.json"], 2, "no folder"),
        (["no-such-model"], 5, "no model"),
    ],
)
def test_what_cannot_be_is_one_line(
    hollow_bundle: Bundle, options: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = [] if options == ["no-such-model"] else [str(hollow_bundle.path)]
    assert main(["bench", *model, *options]) == code
    shown = capsys.readouterr().err
    assert words in shown and "Traceback" not in shown


def test_a_plot_without_its_library_names_the_way_out(
    hollow_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("relume.bench.plot.plot_lacking", lambda: "gone")
    assert main(["bench", str(hollow_bundle.path), "--plot", str(tmp_path / "a.svg")]) == 6
    assert 'pip install "relume[plot]"' in capsys.readouterr().err


def test_an_engine_that_is_not_installed_is_left_out_of_all_and_refused_by_name(
    hollow_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    from relume.errors import EngineUnavailable

    def gone(*_: Any, **__: Any) -> Any:
        raise EngineUnavailable("not installed: pip install it")

    monkeypatch.setattr("relume.tasks.speed.models.Restorer", gone)
    failed: dict[str, str] = {}
    with pytest.raises(EngineUnavailable, match="nothing to measure"):
        model_subjects(Wanted(str(hollow_bundle.path)), [], failed)
    assert set(failed) >= {"openvino f32", "onnx f32", "pytorch f32"}
    with pytest.raises(EngineUnavailable, match="pip install it"):
        model_subjects(Wanted(str(hollow_bundle.path), engines=["onnx"], precisions=["f32"]), [], {})


def test_help_names_the_peers_that_there_are() -> None:
    from relume.cli import bench
    from relume.tasks.speed import PEERS

    assert list(PEERS) == list(bench._PEERS)
