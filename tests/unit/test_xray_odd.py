r"""``relume xray`` on what scientists really have: dead pixels, dark frames, odd names and places."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

pytest.importorskip("scipy")
pytest.importorskip("h5py")

from relume.background import ESTIMATORS, camera, filled, noise
from relume.cli import main
from relume.errors import UsageError
from relume.mosaic.looks import Looks
from relume.mosaic.overlap import groups
from relume.scan import open_scan, provenance_of
from relume.scan.hdf5 import library
from relume.tasks.xray import correct, find_method

DARK = 100.0


def _main(*arguments: object) -> int:
    return main([str(each) for each in arguments])


def _counts(seed: int = 0, side: int = 64) -> np.ndarray:
    """An uneven light with photon noise on a dark level."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    return (rng.poisson(4000 * (1 + 0.3 * x - 0.2 * y)) + DARK).astype(np.float32)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    tifffile.imwrite(tmp_path / "raw.tif", _counts(), photometric="minisblack")
    return tmp_path / "raw.tif"


def test_a_hole_takes_the_nearest_pixel_of_its_row() -> None:
    image = np.arange(20.0).reshape(4, 5)
    holed = image.copy()
    holed[1, 1:3], holed[2], holed[0, 0] = np.nan, np.inf, -np.inf
    found = filled(holed)
    np.testing.assert_array_equal(found[1], [5, 5, 8, 8, 9])
    np.testing.assert_array_equal(found[2], found[1])
    assert found[0, 0] == 1 and (found[3] == image[3]).all()
    np.testing.assert_array_equal(filled(image), image)
    with pytest.raises(UsageError, match="finite"):
        filled(np.full((3, 3), np.nan))


def test_one_dead_pixel_changes_no_error_bar_elsewhere() -> None:
    image = _counts(side=128) - DARK
    holed = image.copy()
    holed[40, 50] = np.nan
    slope, _ = camera(holed)
    assert slope == pytest.approx(camera(image)[0], rel=0.01) and 0.5 < slope < 2
    spread = noise(holed)
    assert np.isnan(spread[40, 50]) and np.isfinite(np.delete(spread, 40 * 128 + 50)).all()
    assert camera(np.full((5, 5), np.nan)) == (0, 0)


@pytest.mark.parametrize("name", ["none", "gaussian", "polynomial", "rolling-ball", "flat", "stale-flat"])
def test_a_dead_pixel_spoils_itself_alone(name: str) -> None:
    image, flat = _counts() - DARK, _counts(1) - DARK
    holed, dead = image.copy(), flat.copy()
    holed[20, 30], dead[10, 11] = np.nan, np.nan
    method = find_method(name)
    clean, found = (
        next(correct([one], method=method, references=[two] if method.needs == "flats" else []))
        for one, two in ((image, flat), (holed, dead))
    )
    assert np.isnan(found.transmission[20, 30])
    lost = np.isnan(found.transmission)
    assert lost.sum() == (2 if method.needs == "flats" else 1)
    apart = np.abs(found.transmission - clean.transmission)[~lost]
    assert apart.max() < 0.01
    if method.needs == "flats":
        assert lost[10, 11] and np.isnan(found.background[10, 11])
        both = ESTIMATORS[name](image, [flat, dead])  # one of two measured it
        assert np.isfinite(both).all()


def test_frames_without_light_come_back_as_nan_and_the_others_go_on(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dump = np.random.default_rng(5).normal(DARK + 0.5, 5, (64, 64)).astype(np.float32)
    stack = np.stack([_counts(1), dump, _counts(2)])
    tifffile.imwrite(raw, stack, photometric="minisblack")
    out = raw.with_name("out.h5")
    call = ("xray", "correct", raw, "-o", out, "--dark", DARK, "--method")
    assert _main(*call, "polynomial", "--uncertainty") == 3
    assert "raw.tif, frame 2" in capsys.readouterr().err
    found = open_scan(out).frames
    assert [bool(np.isnan(frame).all()) for frame in found] == [False, True, False]
    with library().File(out) as file:
        level = file["exchange/level"][()]
    assert np.isnan(level[1]) and (level[[0, 2]] > 1000).all()
    # Where a flat says what empty is, a frame without light is a sample that nothing passes.
    tifffile.imwrite(raw.with_name("flat.tif"), _counts(3), photometric="minisblack")
    flat = ("flat", "--reference", raw.with_name("flat.tif"), "--overwrite")
    assert _main(*call, *flat) == 0
    assert np.abs(open_scan(out).frames[1]).max() < 0.01
    tifffile.imwrite(raw, stack[[1, 1]], photometric="minisblack")
    assert _main(*call, "polynomial", "--overwrite") == 2
    assert np.abs(open_scan(out).frames[1]).max() < 0.01, "what stood there is still there"
    tifffile.imwrite(raw, np.stack([_counts(i) for i in (1, 2, 3, 4)] + [dump]), photometric="minisblack")
    assert _main(*call, "tile-median", "--overwrite") == 3
    assert np.isnan(open_scan(out).frames[4]).all() and np.isfinite(open_scan(out).frames[0]).all()
    with pytest.raises(UsageError, match="frame 2"):
        list(correct([stack[0], stack[1]], method=find_method("gaussian"), dark=DARK))


@pytest.mark.parametrize("level", ["nan", "inf"])
def test_a_dark_level_is_a_finite_number(raw: Path, level: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = raw.with_name("out.h5")
    assert _main("xray", "correct", raw, "-o", out, "--dark", level, "--method", "none") == 2
    assert "in counts" in capsys.readouterr().err and not out.exists()
    assert _main("xray", "correct", raw, "-o", out, "--dark", 0, "--method", "none") == 0
    assert "no dark level is known" not in capsys.readouterr().err


def test_dark_frames_with_a_dead_pixel(raw: Path) -> None:
    dark = np.full((64, 64), DARK, np.float32)
    dark[3, 4] = np.nan
    tifffile.imwrite(raw.with_name("dark.tif"), dark, photometric="minisblack")
    out = raw.with_name("out.h5")
    call = ("xray", "correct", raw, "-o", out, "--dark", raw.with_name("dark.tif"), "--method", "none")
    assert _main(*call) == 0
    assert provenance_of(out).parameters["dark mean"] == pytest.approx(DARK)
    assert np.flatnonzero(np.isnan(open_scan(out).frames[0])).tolist() == [3 * 64 + 4]


def test_names_that_ask_for_another_sort_of_file(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("out.png", "out.npy"):
        assert _main("xray", "correct", raw, "-o", raw.with_name(name), "--method", "none") == 2
        assert ".h5" in capsys.readouterr().err and not raw.with_name(name).exists()
    blocked = raw / "below" / "a.h5"  # a file stands where a folder would have to be
    assert _main("xray", "correct", raw, "-o", blocked, "--method", "none") == 3
    assert "cannot make the folder" in capsys.readouterr().err


def test_a_folder_gives_its_whole_name(raw: Path) -> None:
    for name in ("s-0.88V", "s-0.91V"):
        folder = raw.parent / name
        folder.mkdir()
        shutil.copy(raw, folder / "t.tif")
    given = (raw.parent / "s-0.88V", raw.parent / "s-0.91V")
    assert _main("xray", "correct", *given, "-o", raw.parent / "o", "--method", "none", "-q") == 0
    assert sorted(p.name for p in (raw.parent / "o").iterdir()) == ["s-0.88V.h5", "s-0.91V.h5"]


def test_no_raw_file_is_written_over(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flat, folder = raw.with_name("flat.tif"), raw.parent / "tiles"
    tifffile.imwrite(flat, _counts(3), photometric="minisblack")
    folder.mkdir()
    for number in range(4):
        shutil.copy(raw, folder / f"t{number}.tif")
    before = {path: path.read_bytes() for path in (raw, flat, *folder.iterdir())}
    method = ("--method", "flat", "--reference", flat, "--overwrite", "--dark", DARK)
    for given, out in ((raw, raw), (raw, flat), (folder, folder / "t1.tif")):
        assert _main("xray", "correct", given, "-o", out, *method) == 2
        assert "choose another -o" in capsys.readouterr().err
    lines = [f"t{i}.tif; ; ({50 * i}, 0)" for i in range(4)]
    layout = folder / "TileConfiguration.txt"
    layout.write_text("\n".join(["dim = 2", *lines]))
    before[layout] = layout.read_bytes()
    for given, name in ((folder, "t2.tif"), (layout, "t2.tif"), (folder, "new.h5")):
        assert _main("xray", "mosaic", given, "-o", folder / name, "--overwrite") == 2
    assert not (folder / "new.h5").exists()
    assert before == {path: path.read_bytes() for path in before}


def test_a_mosaic_refuses_its_name_before_it_begins(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = raw.parent / "tiles"
    folder.mkdir()
    for number in range(4):
        tifffile.imwrite(folder / f"t{number}.tif", _counts(number), photometric="minisblack")
    for name, more in (("m.png", ()), ("m", ()), ("m.tif", ("--uncertainty",))):
        assert _main("xray", "mosaic", folder, "-o", raw.parent / name, *more) == 2
        assert ".h5" in capsys.readouterr().err
    assert not list(raw.parent.glob(".*"))


def test_a_mosaic_that_does_not_hang_together_says_so(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = raw.parent / "tiles"
    folder.mkdir()
    for number in range(4):  # four of one place: their noise has nothing in common
        tifffile.imwrite(folder / f"t{number}.tif", _counts(number), photometric="minisblack")

    def laid(step: float) -> str:
        lines = [f"t{i}.tif; ; ({step * (i % 2)}, {step * (i // 2)})" for i in range(4)]
        (folder / "TileConfiguration.txt").write_text("\n".join(["dim = 2", *lines]))
        out = raw.parent / "m.h5"
        assert _main("xray", "mosaic", folder, "-o", out, "--dark", DARK, "--overwrite") == 0
        return capsys.readouterr().err

    assert "4 groups" in laid(500) and "pixels" in laid(500)
    near = laid(50)
    assert "groups" not in near and "of 4 shifts" in near and "--overlap" in near
    places = np.array([[0.0, 0], [0, 50], [0, 100], [300, 0], [300, 50]])
    assert groups(places, (64, 64)) == 2 and groups(places[:3], (64, 64)) == 1


def test_tiles_of_a_mosaic_may_have_holes_and_are_named() -> None:
    tiles = [_counts(number) for number in range(2)]
    tiles[0][5, 6] = np.nan
    looks = Looks(tiles, DARK)
    assert np.isfinite(looks[0]).all() and looks[0][5, 6] == looks[0][5, 5]
    tiles[1][:] = DARK
    with pytest.raises(UsageError, match=r"tile 2 \(b.tif\) is dark"):
        Looks(tiles, DARK, names=("a.tif", "b.tif"))[1]


def test_what_cannot_be_measured_or_simulated_is_refused(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite(raw.with_name("flat.tif"), _counts(3), photometric="minisblack")
    call = ("xray", "eval", raw, "--reference", raw.with_name("flat.tif"), "--dark", DARK)
    assert _main(*call, "--method", "flat") == 2
    assert "image alone" in capsys.readouterr().err
    assert _main(*call, "--method", "gaussian") == 0
    assert _main("xray", "simulate", "-o", raw.parent / "s", "--size", 1) == 2
    assert "16 pixels" in capsys.readouterr().err and not (raw.parent / "s").exists()


def test_a_reference_is_what_its_file_marks_as_one(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A measurement given as --reference lends its flats, and not its sample."""
    flat, sample = _counts(3), _counts(4) * 0.5
    whole, out = raw.with_name("tomo.h5"), raw.with_name("out.h5")
    with library().File(whole, "w") as file:
        group = file.create_group("exchange")
        group["data"], group["data_white"] = sample[None], flat[None]
        group["data_dark"] = np.full((1, 64, 64), DARK, np.float32)
    call = ("xray", "correct", raw, "-o", out, "--method", "flat", "--overwrite")
    assert _main(*call, "--reference", whole, "--dark", whole) == 0
    assert "flat frames in it" in capsys.readouterr().err
    found = open_scan(out).frames[0]
    np.testing.assert_allclose(found, (_counts() - DARK) / (flat - DARK), rtol=1e-4)
    assert provenance_of(out).source == ("raw.tif", "tomo.h5 (reference)", "tomo.h5 (dark)")
    with library().File(whole, "a") as file:  # nothing but flats is a reference all the same
        del file["exchange/data"], file["exchange/data_dark"]
    assert _main(*call, "--reference", whole, "--dark", DARK) == 0
    np.testing.assert_allclose(open_scan(out).frames[0], found, rtol=1e-4)
    assert _main(*call, "--reference", raw, "--dark", whole) == 3
    assert "no dark ones" in capsys.readouterr().err


def test_flats_that_do_not_fit_take_no_darks_with_them(raw: Path) -> None:
    whole, out = raw.with_name("tomo.h5"), raw.with_name("out.h5")
    with library().File(whole, "w") as file:
        group = file.create_group("exchange")
        group["data"], group["data_white"] = _counts()[None], np.ones((1, 8, 8), np.float32)
        group["data_dark"] = np.full((1, 64, 64), DARK, np.float32)
        group["theta"] = [30.0]
    assert _main("xray", "correct", whole, "-o", out, "--method", "none") == 0
    assert provenance_of(out).parameters["dark mean"] == DARK
    assert open_scan(out).angles == [30.0]
    assert _main("xray", "correct", out, "-o", raw.with_name("b.h5"), "--method", "none") == 2


def test_a_folder_of_any_number_of_images_is_corrected_and_no_mosaic(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, flats = raw.parent / "five", raw.parent / "flats"
    for number, each in enumerate((folder, flats)):
        each.mkdir()
        for i in range(5):
            name = each / f"p{i}.tif"
            tifffile.imwrite(name, _counts(10 * number + i), photometric="minisblack")
    out = raw.with_name("o.h5")
    call = ("xray", "correct", folder, "-o", out, "--method", "flat", "--reference", flats, "--dark", DARK)
    assert _main(*call) == 0
    assert len(open_scan(out).frames) == 5 and len(provenance_of(out).source) == 10
    assert _main("xray", "mosaic", folder, "-o", raw.with_name("m.h5")) == 2
    assert "5 tiles are no square" in capsys.readouterr().err


def test_simulations_do_not_mix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ("xray", "simulate", "-o", tmp_path, "--size", 32, "-q", "--images")
    assert _main(*call, 3, "--seed", 1) == 0
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert _main(*call, 3, "--seed", 2) == 2 and "exists" in capsys.readouterr().err
    assert _main(*call, 2, "--seed", 2, "--overwrite") == 2
    assert "raw_0002.tif of another simulation" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert _main(*call, 4, "--seed", 2, "--overwrite") == 0
    assert (tmp_path / "raw_0001.tif").read_bytes() != before[tmp_path / "raw_0001.tif"]


def test_a_stale_reference_in_the_file_may_be_of_another_exposure(raw: Path) -> None:
    """Its shape is used, and not its counts."""
    whole, out = raw.with_name("tomo.nxs"), raw.with_name("out.h5")
    flat = (_counts(3) - DARK) * 3 + DARK
    with library().File(whole, "w") as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        entry["definition"] = "NXtomo"
        detector = entry.create_group("instrument/detector")
        entry["instrument"].attrs["NX_class"] = "NXinstrument"
        detector.attrs["NX_class"] = "NXdetector"
        detector["data"] = np.stack([flat, _counts()])
        detector["image_key"], detector["count_time"] = [1, 0], [3.0, 1.0]
    call = ("xray", "correct", whole, "-o", out, "--dark", DARK, "--overwrite", "--method")
    assert _main(*call, "flat") == 3
    assert _main(*call, "stale-flat") == 0
    assert np.abs(np.log(open_scan(out).frames[0])).mean() < 0.05


def test_flats_with_a_dead_half_give_the_scale_of_what_they_measured() -> None:
    x = np.linspace(2000, 500, 64) * np.ones((64, 1))
    dead = x.copy()
    dead[:, :28] = np.nan
    found = next(correct([0.5 * x], method=find_method("flat"), references=[dead]))
    np.testing.assert_allclose(found.transmission[:, 28:], 0.5, rtol=1e-5)
    both = next(correct([0.5 * x], method=find_method("flat"), references=[dead, np.full_like(x, np.nan), x]))
    np.testing.assert_allclose(both.transmission[:, 28:], 0.5, rtol=1e-5)
    with pytest.raises(UsageError, match="no reference holds light"):
        next(correct([x], method=find_method("flat"), references=[np.zeros_like(x)]))


def test_a_stale_method_takes_no_sample_for_a_reference(raw: Path) -> None:
    whole, out = raw.with_name("tomo.h5"), raw.with_name("out.h5")
    with library().File(whole, "w") as file:
        group = file.create_group("exchange")
        group["data"], group["data_dark"] = _counts()[None], np.ones((1, 8, 8), np.float32)
    assert _main("xray", "correct", whole, "-o", out, "--method", "stale-flat") == 3
    assert not out.exists()


def test_tiles_in_folders_of_their_own_have_checksums(raw: Path) -> None:
    lines = []
    for number in range(4):
        folder = raw.parent / f"row{number // 2}"
        folder.mkdir(exist_ok=True)
        tifffile.imwrite(folder / f"t{number % 2}.tif", _counts(number), photometric="minisblack")
        lines.append(f"row{number // 2}/t{number % 2}.tif; ; ({50 * (number % 2)}, {50 * (number // 2)})")
    layout = raw.with_name("TileConfiguration.txt")
    layout.write_text("\n".join(["dim = 2", *lines]))
    out = raw.parent / "out" / "o.h5"
    assert _main("xray", "correct", layout, "-o", out, "--method", "none", "--dark", DARK) == 0
    assert provenance_of(out).source == ("row0/t0.tif", "row0/t1.tif", "row1/t0.tif", "row1/t1.tif")
    assert len(set(provenance_of(out).checksums)) == 4
