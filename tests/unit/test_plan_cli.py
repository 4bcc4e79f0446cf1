r"""``relume plan`` on the command line, and the page that shows it."""

import json
import re
import shlex
from pathlib import Path
from xml.etree import ElementTree

import pytest

from relume.cli import main

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "plan.md"
BLOCKS = re.findall(r"```console\n\$ (relume [^\n]*)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
SHEET = ["plan", "sheet", "--cpu-cores", "128", "--gpus", "1", "--speedup", "85.0", "--price", "0.18"]


@pytest.mark.parametrize(("command", "shown"), BLOCKS, ids=[str(i) for i in range(len(BLOCKS))])
def test_the_page_shows_what_the_commands_print(
    command: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(shlex.split(command)[1:]) == 0
    printed = iter(capsys.readouterr().out.splitlines())
    if "benchmarks/" in command:  # its figures change when it is measured anew
        return
    for line in shown.splitlines():
        assert line == "…" or line in printed, line  # in this order


def test_the_page_has_an_example_of_each() -> None:
    commands = " ".join(command for command, _ in BLOCKS)
    assert all(word in commands for word in ("--speedup", "--measured", "plan capacity", "--row"))


def test_the_chart_of_the_page_is_what_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "chart.svg"
    assert main([*SHEET, "--chart", str(target), "-q"]) == 0
    assert target.read_text() == (PAGE.parent / "plan.svg").read_text()
    assert ElementTree.parse(target).getroot().tag.endswith("svg")
    assert main([*SHEET, "--chart", str(target)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*SHEET, "--chart", str(target), "--overwrite"]) == 0


def test_json_holds_units_kinds_and_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SHEET, "--set", "cpu_node_w=900", "--json"]) == 0
    tables = json.loads(capsys.readouterr().out)["tables"]
    assert tables["constants"]["rows"]["cpu_node_w"]["value"] == {
        "value": 900.0,
        "shown": "900",
        "unit": "W",
        "kind": "given",
        "source": "--set",
    }
    assert tables["year"]["rows"]["compute_before_w"]["as given"]["value"] == 612_000


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["plan"], 2, "PLAN"),
        (["plan", "sheet"], 2, "--cpu-cores, --gpus, --speedup, --price"),
        (SHEET[:-2], 2, "--price"),
        ([*SHEET[:-1], "free"], 2, "no number"),
        ([*SHEET, "--speedup", "-3"], 2, "--speedup"),
        ([*SHEET, "--gpus", "0"], 2, "--gpus"),
        ([*SHEET, "--set", "cpu_node_w"], 2, "KEY=VALUE"),
        ([*SHEET, "--set", "watts=3"], 2, "cpu_node_w"),
        ([*SHEET, "--country", "TWN"], 2, "without --measured"),
        ([*SHEET, "--measured", "x.json"], 2, "the file says that"),
        ([*SHEET, "--published", "restoration"], 2, "has its own"),
        (["plan", "sheet", "--published", "mine"], 2, "without-fft"),
        (["plan", "sheet", "--measured", "/nowhere.json"], 4, "/nowhere.json"),
        (["plan", "capacity"], 2, "--photos-per-day"),
        (["plan", "capacity", "--photos-per-day", "9"], 2, "--seconds-per-photo"),
        (["plan", "capacity", "--photos-per-day", "0", "--seconds-per-photo", "1"], 2, "--photos-per-day"),
        (["plan", "capacity", "--photos-per-day", "9", "--seconds-per-photo", "1", "--row", "x"], 2, "--row"),
        (
            ["plan", "capacity", "--photos-per-day", "9", "--seconds-per-photo", "1", "--machine", "toaster"],
            2,
            "cpu-node",
        ),
        (
            ["plan", "capacity", "--photos-per-day", "9", "--seconds-per-photo", "1", "--country", "Oz"],
            2,
            "--co2-g-per-kwh",
        ),
        (["plan", "capacity", "--photos-per-day", "9", "--seconds-per-photo", "1", "--pue", "0"], 2, "pue"),
    ],
)
def test_a_wrong_call_is_one_line(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and message in err


def test_published_is_the_same_as_its_inputs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(SHEET) == 0
    written_out = capsys.readouterr().out
    assert main(["plan", "sheet", "--published", "restoration"]) == 0
    assert capsys.readouterr().out == written_out
