"""``relume xray correct --method series``: files of one session, as they come."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

pytest.importorskip("scipy")
pytest.importorskip("h5py")

import h5py

from relume.cli import main
from relume.degrade.illumination import VALIDATION, Simulator
from relume.scan import open_scan, provenance_of
from relume.tasks.background import BackgroundNet


def _main(*arguments: object) -> int:
    return main([str(each) for each in arguments])


@pytest.fixture(scope="module")
def shots() -> list[Any]:
    return [Simulator(VALIDATION[1], 64).shot(i) for i in range(4)]


@pytest.fixture(scope="module")
def files(shots: list[Any], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("series")
    found = [folder / f"{i}.tif" for i in range(len(shots))]
    for path, shot in zip(found, shots, strict=True):
        tifffile.imwrite(path, shot.raw)
    return found


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gets an entry whenever the net is asked."""
    times: list[int] = []
    answer = BackgroundNet.__call__

    def counted(self: BackgroundNet, *arguments: Any, **options: Any) -> Any:
        times.append(1)
        return answer(self, *arguments, **options)

    monkeypatch.setattr(BackgroundNet, "__call__", counted)
    return times


def test_a_stack_is_corrected_as_its_frames_in_files(
    files: list[Path], shots: list[Any], tmp_path: Path, asked: list[int]
) -> None:
    stack = tmp_path / "stack.tif"
    tifffile.imwrite(stack, np.stack([shot.raw for shot in shots]), photometric="minisblack")
    options = ("--method", "series", "--dark", float(np.mean(shots[0].dark)), "--uncertainty", "-q")
    assert _main("xray", "correct", stack, "-o", tmp_path / "stack.h5", *options) == 0
    assert _main("xray", "correct", *files, "-o", tmp_path / "each", *options) == 0
    assert len(asked) == 8
    with h5py.File(tmp_path / "stack.h5") as whole:
        for number, path in enumerate(files):
            with h5py.File(tmp_path / "each" / f"{path.stem}.h5") as one:
                np.testing.assert_allclose(
                    one["exchange/data"][0], whole["exchange/data"][number], rtol=1e-5, atol=1e-6
                )
    assert provenance_of(tmp_path / "stack.h5").method == "series"


def test_files_with_dark_frames_of_their_own_are_one_series(
    shots: list[Any], tmp_path: Path, asked: list[int]
) -> None:
    """Each frame less its own dark level, and the net is asked once a frame."""
    rng = np.random.default_rng(0)
    raws, whole = [], []
    for number, shot in enumerate(shots):
        light = np.asarray(shot.raw, np.float64) - shot.dark
        offset = 500.0 + 400 * number
        dark = offset + rng.normal(0, 2, (3, *light.shape))
        raws.append(tmp_path / f"{number}.h5")
        with h5py.File(raws[-1], "w") as file:
            file["exchange/data"] = (light + offset)[None].astype(np.float32)
            file["exchange/data_dark"] = dark.astype(np.float32)
        whole.append(light)
    assert _main("xray", "correct", *raws, "-o", tmp_path / "out", "--method", "series", "-q") == 0
    assert len(asked) == 4
    stack = tmp_path / "whole.tif"
    tifffile.imwrite(stack, np.stack(whole).astype(np.float32), photometric="minisblack")
    assert _main("xray", "correct", stack, "-o", tmp_path / "w.h5", "--method", "series", "-q") == 0
    with h5py.File(tmp_path / "w.h5") as file:
        for number in range(4):
            with h5py.File(tmp_path / "out" / f"{number}.h5") as one:
                ratio = one["exchange/data"][0] / file["exchange/data"][number]
                assert abs(np.median(ratio) - 1) < 0.01 and np.percentile(np.abs(ratio - 1), 90) < 0.05


def test_a_reference_that_no_one_would_use_is_refused(
    files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("series", "polynomial", "tile-median"):
        options = ("--method", name, "--reference", files[0], "-q")
        assert _main("xray", "correct", *files, "-o", tmp_path / "o", *options) == 2
        assert f"--method {name} takes no --reference; pix2pix" in capsys.readouterr().err
    assert not list((tmp_path / "o").glob("*.h5"))


def test_files_that_cannot_be_read_are_not_too_few_frames(
    files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = [tmp_path / f"no{i}.tif" for i in range(3)]
    assert _main("xray", "correct", *missing, "-o", tmp_path / "o", "--method", "series", "-q") == 3
    assert "three frames" not in capsys.readouterr().err
    assert _main("xray", "correct", *files[:2], "-o", tmp_path / "p", "--method", "series", "-q") == 2
    assert "not 2" in capsys.readouterr().err


def test_a_file_of_another_size_is_named_and_the_others_go_on(
    files: list[Path], shots: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = tmp_path / "small.tif"
    tifffile.imwrite(small, shots[0].raw[:50])
    out = tmp_path / "o"
    assert _main("xray", "correct", *files, small, "-o", out, "--method", "series", "-q") != 0
    assert "small.tif: its frames are 64×50, most of the others 64×64" in capsys.readouterr().err
    assert len(list(out.glob("*.h5"))) == 4


def test_many_frames_alone_are_told_of_the_series(
    files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main("xray", "correct", *files, "-o", tmp_path / "o", "--dark", 0) == 0
    assert "--method series knows their light better" in "".join(capsys.readouterr())
    assert len(open_scan(tmp_path / "o" / "0.h5").frames) == 1


def test_exposures_of_one_place_get_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    simulator = Simulator(VALIDATION[0], 96, kinds=("battery",))
    scene = simulator.scene(0)
    paths = [tmp_path / f"{i}.tif" for i in range(4)]
    for number, path in enumerate(paths):
        tifffile.imwrite(path, simulator.shot(number, scene=scene).raw)
    assert _main("xray", "correct", *paths, "-o", tmp_path / "o", "--method", "series", "--dark", 1500) == 0
    assert capsys.readouterr().err.count("look like exposures of one place") == 1
