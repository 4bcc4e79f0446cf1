r"""The frame of the command line: start, help, errors and exit codes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from relume import engines
from relume.bundle import Bundle
from relume.cli import COMMANDS, main, options
from relume.degrade import DEGRADATIONS, RECIPES
from relume.diffusion import NOISE_SAMPLERS

NAMES = [module.__name__.rpartition(".")[2].replace("evaluate", "eval") for module in COMMANDS]


def _run(*arguments: str, **settings: object) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run([sys.executable, *arguments], capture_output=True, timeout=60, **settings)  # type: ignore[call-overload, no-any-return]


def test_version_loads_nothing_heavy() -> None:
    program = (
        "import sys; from relume.cli import main; code = main(['--version']);"
        "heavy = {'numpy', 'PIL', 'torch', 'onnxruntime', 'openvino', 'onnx', 'tqdm'} & set(sys.modules);"
        "print(code, sorted(heavy))"
    )
    lines = _run("-c", program).stdout.decode().split("\n")
    assert lines[0].startswith("relume ") and lines[1].strip() == "0 []"


def test_python_m_relume_is_the_command_line() -> None:
    done = _run("-m", "relume", "restore", "/nowhere/at all.jpg")
    assert done.returncode == 4 and done.stdout == b""
    assert done.stderr.decode().startswith("relume: /nowhere/at all.jpg:") and b"Traceback" not in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert f"relume {name}" in capsys.readouterr().out


def _trainable() -> list[str]:
    pytest.importorskip("torch")
    from relume.train import TRAINABLE

    return list(TRAINABLE)


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("restore", lambda: ["auto", *engines.names()]),
        ("degrade", lambda: [*RECIPES, *DEGRADATIONS]),
        ("generate", lambda: list(NOISE_SAMPLERS)),
        ("train", _trainable),
    ],
)
def test_help_names_what_there_is(
    command: str, names: Callable[[], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    main([command, "--help"])
    words = capsys.readouterr().out.replace(",", " ").replace(".", " ").replace(":", " ").split()
    assert [name for name in names() if name not in words] == []


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["polish"],
        ["restore"],
        ["restore", "a.jpg", "--colour"],
        ["restore", "a.jpg", "--overwrite", "--skip-existing"],
        ["restore", "a.jpg", "--fidelity", "2"],
        ["restore", "a.jpg", "--steps", "0"],
        ["restore", "a.jpg", "--seed", "-1"],
        ["restore", "a.jpg", "--bit-depth", "12"],
        ["restore", "a.jpg", "--quality", "101"],
        ["restore", "a.jpg", "--max-memory", "much"],
        ["restore", "a.jpg", "--over"],
        ["models"],
    ],
)
def test_a_wrong_call_is_one_line_and_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("relume: ") and len(err.splitlines()) == 1


def test_an_error_inside_is_1_and_shows_where_only_if_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("relume.bundle.installed", broken)
    assert main(["models", "list"]) == 1
    err = capsys.readouterr().err
    assert "internal error: ZeroDivisionError: oh" in err and "Traceback" not in err
    assert main(["models", "list", "-v"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_interruption_anywhere_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("relume.bundle.installed", interrupted)
    assert main(["models", "list"]) == 130


def test_memory_that_runs_out_is_6(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise MemoryError

    monkeypatch.setattr("relume.bundle.installed", full)
    assert main(["models", "list"]) == 6


def test_a_reader_that_goes_away_is_no_error(hollow_bundle: Bundle) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "relume", "models", "info", str(hollow_bundle.path)]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, timeout=60)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(("text", "value"), [("1", 1), ("2G", 2**31), ("1.5 kib", 1536), ("3MB", 3 * 2**20)])
def test_sizes_of_memory(text: str, value: int) -> None:
    assert options.memory(text) == value


def test_models_are_listed_shown_and_verified(
    hollow_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = hollow_bundle.path.parent / "home"
    (home / "bundles").mkdir(parents=True)
    (home / "bundles" / "tiny").symlink_to(hollow_bundle.path)
    monkeypatch.setenv("RELUME_HOME", str(home))
    assert main(["models", "list", "--json"]) == 0
    facts = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert facts["tiny"]["hash"] == hollow_bundle.hash
    assert main(["models", "list"]) == 0
    assert "tiny" in capsys.readouterr().out
    assert main(["models", "info", "tiny"]) == 0
    assert hollow_bundle.hash in capsys.readouterr().out
    assert main(["models", "info", "tiny", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["card"] == hollow_bundle.card
    assert main(["models", "verify", "tiny"]) == 0
    (hollow_bundle.path / "local.onnx").write_bytes(b"another graph")
    assert main(["models", "verify", "tiny"]) == 5
    assert "local.onnx" in capsys.readouterr().err
    assert main(["models", "info", "nobody"]) == 5


def test_verify_without_a_name_sees_a_broken_default_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bundles" / "photo").mkdir(parents=True)
    (tmp_path / "bundles" / "photo" / "card.json").write_text("{")
    monkeypatch.setenv("RELUME_HOME", str(tmp_path))
    assert main(["models", "verify"]) == 5
    assert "card.json" in capsys.readouterr().err


def test_doctor_tells_what_runs(tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--model", str(tiny_bundle.path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["models"][0]["hash"] == tiny_bundle.hash
    found = {each["name"]: each for each in facts["engines"]}
    for status in engines.probe():
        assert found[status.name]["available"] == status.available
        if status.available:
            runs = found[status.name]["runs"]
            assert runs["device"] in status.devices and runs["precision"] in status.precisions
            assert runs["seconds_per_tile"] >= 0 and runs["precision"] in found[status.name]["passed"]
    assert found[facts["auto"]]["runs"] is not None
    assert facts["machine"]["usable_cores"] >= 1 and set(facts["extras"]) >= {"onnx", "heif", "raw", "train"}


def test_doctor_times_the_engines_and_auto_goes_by_it(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RELUME_HOME", str(tmp_path))
    call = ["doctor", "--model", str(tiny_bundle.path), "--threads", "1", "--json"]
    assert main(call) == 0
    assert json.loads(capsys.readouterr().out)["benchmark"] is None
    assert main([*call, "--benchmark"]) == 0
    fresh = json.loads(capsys.readouterr().out)
    assert fresh["benchmark"]["measured"] == "now"
    assert fresh["auto"] == fresh["benchmark"]["timings"][0]["engine"]
    assert main(call) == 0
    later = json.loads(capsys.readouterr().out)["benchmark"]
    assert (later["measured"], later["timings"]) == ("earlier", fresh["benchmark"]["timings"])
    assert main(call[:-1]) == 0
    assert "the first is what auto takes" in capsys.readouterr().out


def test_doctor_without_a_model_still_tells_and_is_5(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--model", "nobody"]) == 5
    out = capsys.readouterr().out
    assert "openvino" in out and "nobody" in out and "cannot run" in out


def test_doctor_names_the_line_that_installs_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("relume.cli.extras.EXTRAS", {"raw": ("no_such_module",)})
    monkeypatch.setattr("relume.cli.doctor.EXTRAS", {"raw": ("no_such_module",)})
    main(["doctor", "--model", "nobody"])
    assert 'pip install "relume[raw]"' in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "photo", "--data", ".", "--out", "x"],
        ["export", "a", "b", "-o", "x"],
        ["generate", "--checkpoint", "a", "-o", "x.png"],
    ],
)
def test_without_the_extra_the_line_that_installs_it_and_6(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("relume.cli.extras.EXTRAS", {"train": ("no_such_module",)})
    assert main(arguments) == 6
    assert 'pip install "relume[train]"' in capsys.readouterr().err
