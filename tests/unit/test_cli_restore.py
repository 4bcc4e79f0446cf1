r"""``relume restore`` with the null engine, whose result is its input: every pixel can be told."""

import io
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relume import engines, image
from relume.bundle import Bundle
from relume.cli import main
from relume.errors import EngineUnavailable
from relume.image import Image
from relume.tasks import Restorer

Restore = Callable[..., int]


@pytest.fixture
def restore(hollow_bundle: Bundle) -> Restore:
    def run(*arguments: object) -> int:
        defaults = ["--model", str(hollow_bundle.path), "--engine", "null"]
        return main(["restore", *defaults, *map(str, arguments)])

    return run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """a.png, b.jpg, sub/c.png, sub/deep/d.tif (16 bits), and a text file that is no picture."""
    folder = tmp_path / "photos"
    (folder / "sub" / "deep").mkdir(parents=True)
    for seed, name in enumerate(["a.png", "b.jpg", "sub/c.png", "sub/deep/d.tif"]):
        _make(folder / name, seed, bit_depth=16 if name.endswith("tif") else 8)
    (folder / "notes.txt").write_text("not a picture")
    return folder


def _make(path: Path, seed: int = 0, *, bit_depth: int = 8, side: int = 48) -> Path:
    levels = 2**bit_depth - 1
    pixels = np.random.default_rng(seed).integers(0, levels + 1, (side, side + 8, 3)) / levels
    return image.write(Image(pixels.astype(np.float32), bit_depth=bit_depth), path)


def _same(a: Path, b: Path) -> bool:
    first, second = image.read(a), image.read(b)
    return first.bit_depth == second.bit_depth and np.array_equal(first.pixels, second.pixels)


def _tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_one_file_stands_beside_its_picture(restore: Restore, photos: Path) -> None:
    assert restore(photos / "a.png") == 0
    assert _same(photos / "a.png", photos / "a-restored.png")


def test_a_file_under_another_name_and_format(restore: Restore, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "result.tiff"
    assert restore(photos / "a.png", "-o", out) == 0
    assert image.read(out).format == "TIFF" and _same(photos / "a.png", out)


def test_a_folder_keeps_its_tree(restore: Restore, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert restore(photos, "-r", "-o", out) == 0
    assert _tree(out) == {
        "a-restored.png",
        "b-restored.jpg",
        "sub/c-restored.png",
        "sub/deep/d-restored.tif",
    }
    assert _same(photos / "sub/deep/d.tif", out / "sub/deep/d-restored.tif")


def test_without_r_the_folders_below_are_left_alone(restore: Restore, photos: Path, tmp_path: Path) -> None:
    assert restore(photos, "-o", tmp_path / "out", "--suffix", "") == 0
    assert _tree(tmp_path / "out") == {"a.png", "b.jpg"}


def test_results_are_not_taken_for_inputs(restore: Restore, photos: Path) -> None:
    options = (photos, "-r", "--save-mask", "--skip-existing")
    assert restore(*options) == 0
    once = _tree(photos)
    assert "sub/c-restored.png" in once and "sub/c-restored-mask.png" in once
    assert restore(*options) == 0
    assert _tree(photos) == once


def test_an_output_folder_inside_the_input_is_not_walked(restore: Restore, photos: Path) -> None:
    for _ in range(2):
        assert restore(photos, "-r", "-o", photos / "done", "--suffix", "", "--overwrite") == 0
    assert _tree(photos / "done") == {"a.png", "b.jpg", "sub/c.png", "sub/deep/d.tif"}


def test_what_is_there_is_refused_skipped_or_replaced(
    restore: Restore, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = photos / "a-restored.png"
    result.write_bytes(b"mine")
    assert restore(photos / "a.png") == 2
    assert "--overwrite" in capsys.readouterr().err and result.read_bytes() == b"mine"
    assert restore(photos / "a.png", "--skip-existing") == 0
    assert result.read_bytes() == b"mine"
    assert restore(photos / "a.png", "--overwrite") == 0
    assert _same(photos / "a.png", result)


def test_an_input_is_replaced_only_when_asked_for_by_name(restore: Restore, photos: Path) -> None:
    a, b = photos / "a.png", photos / "b.jpg"
    before = a.read_bytes(), b.read_bytes()
    assert restore(a, "-o", a) == 2
    assert restore(a, b, "-o", photos, "--suffix", "", "--format", "png", "--overwrite") == 0  # a is named
    assert restore(b, a, "-o", photos / "b.png") == 2  # one file for two pictures
    assert b.read_bytes() == before[1]
    shutil.copy(a, photos / "x-restored.png")
    shutil.copy(a, photos / "x.png")
    kept = (photos / "x-restored.png").read_bytes()
    assert restore(photos / "x.png", photos / "x-restored.png", "--overwrite") == 3
    assert (photos / "x-restored.png").read_bytes() == kept


def test_two_results_never_share_a_name(restore: Restore, photos: Path, tmp_path: Path) -> None:
    _make(photos / "sub" / "a.png", 9)
    report = tmp_path / "report.json"
    out = tmp_path / "out"
    pictures = (photos / "a.png", photos / "sub" / "a.png")
    assert restore(*pictures, "-o", out, "--report", report, "--overwrite") == 3
    assert _same(photos / "a.png", out / "a-restored.png")
    assert [each["status"] for each in json.loads(report.read_text())["files"]] == ["done", "failed"]


def test_one_bad_file_does_not_stop_the_others(
    restore: Restore, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "aa.jpg").write_bytes((photos / "b.jpg").read_bytes()[:200])
    report = tmp_path / "report.json"
    assert restore(photos, "-o", tmp_path / "out", "--report", report) == 3
    assert _tree(tmp_path / "out") == {"a-restored.png", "b-restored.jpg"}
    assert "aa.jpg" in capsys.readouterr().err
    facts = json.loads(report.read_text())
    by_name = {Path(each["input"]).name: each for each in facts["files"]}
    assert by_name["aa.jpg"]["status"] == "failed" and "aa.jpg" in by_name["aa.jpg"]["error"]
    assert facts["exit_code"] == 3 and facts["counts"]["done"] == 2


def test_the_report_tells_everything(
    restore: Restore, hollow_bundle: Bundle, photos: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    assert restore(photos / "a.png", "-o", tmp_path / "r.png", "--report", report, "--seed", 5) == 0
    facts = json.loads(report.read_text())
    assert facts["model"] == {"name": "tiny", "version": "1.0.0", "hash": hollow_bundle.hash}
    assert facts["engine"]["name"] == "null" and facts["settings"]["seed"] == 5
    (only,) = facts["files"]
    assert (only["width"], only["height"]) == (56, 48)
    assert only["bytes_out"] == (tmp_path / "r.png").stat().st_size
    assert only["bytes_in"] == (photos / "a.png").stat().st_size
    assert {"read", "tone", "local", "write"} <= set(only["seconds"])


def test_a_report_does_not_replace_another_file(restore: Restore, photos: Path) -> None:
    notes = photos / "notes.txt"
    assert restore(photos / "a.png", "--report", notes) == 2
    assert notes.read_text() == "not a picture" and not (photos / "a-restored.png").exists()


def test_an_interruption_keeps_what_is_done_and_a_rerun_goes_on(
    restore: Restore,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real = Restorer.restore
    calls: list[Image] = []

    def second_interrupts(self: Restorer, picture: Image, *args: Any, **settings: Any) -> Any:
        calls.append(picture)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, picture, *args, **settings)

    monkeypatch.setattr(Restorer, "restore", second_interrupts)
    options = (photos, "-r", "-o", tmp_path / "out", "--skip-existing", "--report", tmp_path / "r.json")
    assert restore(*options) == 130
    assert "1 of 4 done" in capsys.readouterr().err
    assert _tree(tmp_path / "out") == {"a-restored.png"}
    facts = json.loads((tmp_path / "r.json").read_text())
    assert facts["exit_code"] == 130
    states = [each["status"] for each in facts["files"]]
    assert states == ["done", "interrupted", "pending", "pending"]
    assert restore(*options) == 0
    assert len(calls) == 2 + 3 and len(_tree(tmp_path / "out")) == 4


def test_stdin_to_stdout(
    restore: Restore, photos: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any
) -> None:
    data = (photos / "sub/deep/d.tif").read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert restore("-") == 0
    out = capfdbinary.readouterr().out
    back = image.read(out)
    assert (back.format, back.bit_depth) == ("TIFF", 16)
    assert np.array_equal(back.pixels, image.read(data).pixels)


def test_a_file_to_stdout_and_several_not(restore: Restore, photos: Path, capfdbinary: Any) -> None:
    assert restore(photos / "a.png", "-o", "-", "--format", "webp") == 0
    assert image.read(capfdbinary.readouterr().out).format == "WEBP"
    assert restore(photos / "a.png", photos / "b.jpg", "-o", "-") == 2
    assert capfdbinary.readouterr().out == b""


def test_no_usable_input_is_4(restore: Restore, tmp_path: Path, photos: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "zero.jpg").write_bytes(b"")
    assert restore(tmp_path / "empty") == 4
    assert restore(photos / "notes.txt") == 4
    assert restore(tmp_path / "zero.jpg", tmp_path / "missing.jpg") == 4


def test_a_missing_or_broken_model_is_5(restore: Restore, hollow_bundle: Bundle, photos: Path) -> None:
    assert main(["restore", str(photos / "a.png"), "--model", "nobody"]) == 5
    (hollow_bundle.path / "weights.safetensors").write_bytes(b"broken")
    assert restore(photos / "a.png") == 5
    assert not (photos / "a-restored.png").exists()


def test_device_and_memory_are_6(restore: Restore, photos: Path) -> None:
    assert restore(photos / "a.png", "--device", "gpu") == 6
    assert restore(photos / "a.png", "--max-memory", "1M") == 6
    assert not (photos / "a-restored.png").exists()


@pytest.mark.parametrize(
    "options",
    [("--engine", "abacus"), ("--format", "gif"), ("-o", "x.gif"), ("--mask", "nowhere"), ("--tile", "50")],
)
def test_wrong_values_are_2(restore: Restore, photos: Path, options: tuple[str, ...]) -> None:
    before = _tree(photos)
    assert restore(photos / "a.png", *options) == 2
    assert _tree(photos) == before


def test_an_error_inside_is_1_for_the_file_and_the_others_go_on(
    restore: Restore, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Restorer.restore

    def broken(self: Restorer, picture: Image, *args: Any, **settings: Any) -> Any:
        if picture.format == "PNG":
            raise ZeroDivisionError("oh")
        return real(self, picture, *args, **settings)

    monkeypatch.setattr(Restorer, "restore", broken)
    assert restore(photos / "a.png", "-o", tmp_path / "x.png") == 1
    assert restore(photos, "-o", tmp_path / "out") == 3
    assert _tree(tmp_path / "out") == {"b-restored.jpg"}


def test_a_format_that_the_name_does_not_tell(restore: Restore, photos: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "really-a-png.jpg"
    shutil.copy(photos / "a.png", wrong)
    assert restore(wrong) == 0
    assert _same(wrong, tmp_path / "really-a-png-restored.png")


def test_depth_and_metadata(restore: Restore, tmp_path: Path) -> None:
    source = tmp_path / "s.tif"
    pixels = np.full((48, 48, 1), 0.25, np.float32)
    image.write(Image(pixels, bit_depth=16, format="TIFF", dpi=(300.0, 300.0)), source)
    assert restore(source, "-o", tmp_path / "8.tif", "--bit-depth", 8, "--strip-metadata") == 0
    stripped = image.read(tmp_path / "8.tif")
    assert (stripped.bit_depth, stripped.dpi, stripped.gray) == (8, None, True)
    assert restore(source, "-o", tmp_path / "16.tif") == 0
    kept = image.read(tmp_path / "16.tif")
    assert kept.bit_depth == 16 and kept.dpi == pytest.approx((300, 300))
    assert restore(source, "-o", tmp_path / "x.jpg", "--bit-depth", 16) == 2


def test_masks_come_from_a_file_or_a_folder(
    restore: Restore, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    plane = np.zeros((48, 56, 1), np.float32)
    plane[10:20, 5:15] = 1
    image.write(Image(plane), masks / "a-mask.png")
    seen: list[Any] = []
    real = Restorer.restore

    def watch(self: Restorer, picture: Image, *args: Any, mask: Any = None, **settings: Any) -> Any:
        seen.append(mask)
        return real(self, picture, *args, mask=mask, **settings)

    monkeypatch.setattr(Restorer, "restore", watch)
    saved = tmp_path / "saved.png"
    options = ("-o", tmp_path / "1.png", "--mask", masks / "a-mask.png", "--save-mask", saved)
    assert restore(photos / "a.png", *options) == 0
    assert restore(photos / "a.png", "-o", tmp_path / "2.png", "--mask", masks) == 0
    assert all(np.array_equal(mask, plane[..., 0]) for mask in seen) and len(seen) == 2
    assert np.array_equal(image.read(saved).pixels, plane)
    assert restore(photos / "b.jpg", "-o", tmp_path / "3.png", "--mask", masks) == 2  # none of its name
    _make(tmp_path / "other.png", side=32)
    assert restore(tmp_path / "other.png", "--mask", masks / "a-mask.png") == 2  # of another size


def test_samples_and_uncertainty_get_files(restore: Restore, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert restore(photos / "a.png", "-o", f"{out}/", "--samples", 2, "--uncertainty", "--save-mask") == 0
    assert _tree(out) == {
        "a-restored.png",
        "a-restored-sample1.png",
        "a-restored-sample2.png",
        "a-restored-uncertainty.png",
        "a-restored-mask.png",
    }
    assert image.read(out / "a-restored-uncertainty.png").bit_depth == 16


def test_auto_names_the_engine_that_it_falls_back_to(
    hollow_bundle: Bundle,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def unavailable(*_: Any, **__: Any) -> None:
        raise EngineUnavailable("openvino is on holiday")

    status = engines.Status("openvino", False, "openvino is on holiday")
    monkeypatch.setattr(engines.openvino, "load", unavailable)
    monkeypatch.setattr(engines.openvino, "probe", lambda: status)
    monkeypatch.setattr(engines, "AUTO", [engines.openvino, engines.null])
    assert main(["restore", str(photos / "a.png"), "--model", str(hollow_bundle.path), "-q"]) == 0
    err = capsys.readouterr().err
    assert "on holiday" in err and "null runs instead" in err


def test_quiet_says_nothing_and_verbose_what_runs(
    restore: Restore, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert restore(photos / "a.png", "-o", tmp_path / "1.png", "-q") == 0
    assert capsys.readouterr() == ("", "")
    assert restore(photos / "a.png", "-o", tmp_path / "2.png", "-v") == 0
    out, err = capsys.readouterr()
    assert out == "" and "engine null" in err and "on cpu, f32" in err


def test_a_real_engine_gives_the_same_bytes_twice(tiny_bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        options = [
            "--model",
            str(tiny_bundle.path),
            "-w",
            "0.5",
            "--seed",
            "3",
            "--steps",
            "2",
            "--tile",
            "48",
        ]
        assert main(["restore", str(photos / "a.png"), "-o", str(tmp_path / name), *options]) == 0
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()
    assert not _same(photos / "a.png", tmp_path / "1.png")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send to another process")
def test_ctrl_c_leaves_whole_files_and_counts_them(hollow_bundle: Bundle, tmp_path: Path) -> None:
    """A process of its own, interrupted from outside while it reads, restores and writes at once."""
    (tmp_path / "in").mkdir()
    first = _make(tmp_path / "in" / "000.png")
    for number in range(1, 300):
        shutil.copy(first, tmp_path / "in" / f"{number:03}.png")
    out, report = tmp_path / "out", tmp_path / "report.json"
    command = [sys.executable, "-m", "relume", "restore", str(tmp_path / "in"), "-o", str(out)]
    command += ["--model", str(hollow_bundle.path), "--engine", "null", "--report", str(report), "-q"]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 100
    while not list(out.glob("*.png")) and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    running.send_signal(signal.SIGINT)
    said = running.communicate(timeout=100)[1]
    assert running.returncode == 130, said
    states = [entry["status"] for entry in json.loads(report.read_text())["files"]]
    done = states.count("done")
    assert 1 <= done < 300 and f"{done} of 300 done" in said
    assert states == ["done"] * done + ["interrupted"] + ["pending"] * (299 - done)
    names = sorted(path.name for path in out.iterdir())
    assert names == [f"{number:03}-restored.png" for number in range(done)], "whole files, in order, no parts"
    for path in out.iterdir():
        image.read(path)
