r"""Where results go: decided before any work, and refused there in one line."""

from pathlib import Path

import numpy as np
import pytest

from relume import Restorer, Settings, bundle, image
from relume.bundle import Bundle
from relume.cli import main
from relume.errors import UsageError
from relume.image import Image

COMMANDS = {"mask": "-mask.png", "edit": "-edited.png", "degrade": "-damaged.png"}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    image.write(Image(np.random.default_rng(0).random((70, 80, 3), np.float32)), path)
    drawn = np.zeros((70, 80, 1), np.float32)
    drawn[20:30, 20:30] = 1
    image.write(Image(drawn), tmp_path / "drawn.png")
    return path


def call(command: str, photo: Path, *options: object, model: Bundle | None = None) -> int:
    words: list[object] = [command, photo, *options]
    if command == "edit":
        words += ["--mask", photo.parent / "drawn.png"]
    if command != "degrade":
        words += ["--engine", "null", "--model", model.path if model is not None else "photo"]
    return main([str(word) for word in words])


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_takes_the_result_under_its_own_name(
    command: str, photo: Path, tmp_path: Path, hollow_bundle: Bundle
) -> None:
    (tmp_path / "out").mkdir()
    assert call(command, photo, "-o", tmp_path / "out", model=hollow_bundle) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"a{COMMANDS[command]}"]
    assert call(command, photo, "-o", tmp_path / "out", model=hollow_bundle) == 2


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("output", ["result.xyz", "nowhere/result.png", "a.png", "drawn.png"])
def test_what_cannot_be_written_is_refused_before_the_work(
    command: str, output: str, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worked(*_: object, **__: object) -> None:
        raise AssertionError("it was begun")

    monkeypatch.setattr(f"relume.cli.{command}.read_from", worked)
    before = sorted(photo.parent.iterdir())
    overwrite = ["--overwrite"] if output == "a.png" else []
    assert call(command, photo, "-o", photo.parent / output, *overwrite) == 2
    assert sorted(photo.parent.iterdir()) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_is_no_picture(command: str, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, str(photo.parent), *(["--mask", str(photo)] if command == "edit" else [])]) == 2
    assert "is a folder: name one picture" in capsys.readouterr().err


def test_the_default_name_ends_as_the_format_asks(photo: Path) -> None:
    assert main(["degrade", str(photo), "--format", "TIFF"]) == 0
    made = [path for path in photo.parent.iterdir() if path.stem == "a-damaged"]
    assert [path.suffix for path in made] == [".tif"] and image.read(made[0]).format == "TIFF"


@pytest.mark.parametrize(
    "words",
    [
        ["restore", "{a}", "--engine", "null", "--report", "{no}/r.json"],
        ["eval", "{dir}", "--engine", "null", "--report", "{no}/r.json"],
        ["eval", "{dir}", "--engine", "null", "--pictures", "{a}"],
        ["plan", "sheet", "--published", "restoration", "--chart", "{no}/c.svg"],
    ],
)
def test_a_report_that_cannot_be_written_is_refused_before_the_work(
    words: list[str], photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [word.format(a=photo, dir=photo.parent, no=photo.parent / "no") for word in words]
    before = sorted(photo.parent.iterdir())
    assert main(given) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1
    assert sorted(photo.parent.iterdir()) == before


def test_calibrate_writes_a_model_that_brings_detail_back(tiny_bundle: Bundle, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    rng = np.random.default_rng(3)
    for name in ("a", "b"):
        image.write(Image(rng.random((64, 64, 3), np.float32)), photos / f"{name}.png")
    words = ["calibrate", tiny_bundle.path, "--photos", photos, "-o", tmp_path / "made", "-q"]
    assert main([str(word) for word in words]) == 0
    made = bundle.find(tmp_path / "made")
    assert made.weights_hash == tiny_bundle.weights_hash and made.card["detail"]["photographs"] == 2
    model = Restorer(made.path, engine="pytorch", precision="f32", threads=1)
    damaged = image.read(photos / "a.png")
    plain, sharp = (model.restore(damaged, Settings(fidelity=w)).image.pixels for w in (1.0, 0.0))
    energy = [float((np.diff(picture, axis=0) ** 2).mean()) for picture in (plain, sharp)]
    assert energy[1] > energy[0]


def test_calibrate_refuses_a_folder_that_is_there_before_it_learns(
    tiny_bundle: Bundle, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def learned(*_: object, **__: object) -> None:
        raise AssertionError("it was begun")

    monkeypatch.setattr("relume.tasks.calibrate.calibrate", learned)
    words = ["calibrate", tiny_bundle.path, "--photos", photo.parent, "-o", photo.parent]
    assert main([str(word) for word in words]) == UsageError.exit_code
