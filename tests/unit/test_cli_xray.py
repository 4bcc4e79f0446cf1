r"""``relume xray``: from raw files to results, on simulated and on measured data, and through a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

pytest.importorskip("scipy")
pytest.importorskip("h5py")

from relume.background import ESTIMATORS, noise
from relume.bench.transmission import scaled
from relume.cli import main
from relume.errors import BundleNotFound, UsageError
from relume.files import digest
from relume.scan import open_scan, provenance_of, write_picture
from relume.scan.hdf5 import library
from relume.scan.output import Provenance
from relume.tasks.xray import correct, estimate_background, find_method, thickness

SHARED = Path(__file__).parents[3] / "shared" / "xray"
HOW = Provenance("test", {}, "none")


def _main(*arguments: object) -> int:
    return main([str(each) for each in arguments])


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("session")
    options = ("--images", 3, "--size", 64, "--seed", 12, "--mode", "absorption", "--kind", "battery")
    assert _main("xray", "simulate", "-o", folder, *options, "-q") == 0
    return folder


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiles")
    options = ("--mosaic", 3, "--size", 64, "--seed", 200_003, "--overlap", 0.2, "--kind", "porous")
    assert _main("xray", "simulate", "-o", folder, *options, "--mode", "absorption", "-q") == 0
    return folder


def test_simulated_files_are_what_they_say(session: Path, tiles: Path) -> None:
    truth = open_scan(session / "truth.h5")
    assert truth.frames.shape == (3, 64, 64)
    raw = tifffile.imread(session / "raw_0001.tif")
    assert raw.dtype == np.uint16 and raw.shape == (64, 64)
    assert len(open_scan(tiles).frames) == 9
    assert provenance_of(tiles / "truth.h5").parameters["seed"] == 200_003
    assert (
        _main("xray", "simulate", "-o", session, "--images", 1, "--size", 64, "-q") == 2
    )  # nothing is replaced
    assert _main("xray", "simulate", "-o", session / "new", "--kind", "cheese") == 2


def test_a_flat_field_gives_the_transmission_on_its_own_scale(session: Path, tmp_path: Path) -> None:
    references = ("--reference", session / "flat.tif", "--dark", session / "dark.tif")
    out = tmp_path / "a.nxs"
    call = ("xray", "correct", session / "raw_0000.tif", "-o", out, "--method", "flat", *references, "-q")
    assert _main(*call) == 0
    found, truth = open_scan(out).frames[0], open_scan(session / "truth.h5").frames[0]
    assert found.dtype == np.float32
    assert np.median(np.abs(np.log(found / truth))) < 0.1
    how = provenance_of(out)
    assert how.method == "flat"
    assert how.source == ("raw_0000.tif", "flat.tif (reference)", "dark.tif (dark)")
    assert how.checksums == tuple(digest(session / f"{name}.tif") for name in ("raw_0000", "flat", "dark"))
    assert _main(*call) == 2
    assert _main(*call, "--overwrite") == 0


def test_error_bars_thickness_and_background_stand_beside_the_frames(session: Path, tmp_path: Path) -> None:
    references = ("--reference", session / "flat.tif", "--dark", session / "dark.tif", "--method", "flat")
    wanted = ("--uncertainty", "--thickness", 80, "--mode", "absorption", "--report", tmp_path / "r.png")
    out = tmp_path / "a.h5"
    assert _main("xray", "correct", session / "raw_0000.tif", "-o", out, *references, *wanted, "-q") == 0
    with library().File(out) as file:
        group = file["exchange"]
        assert set(group) >= {"data", "background", "sigma", "thickness", "level"}
        t, sigma, thick = (group[name][0] for name in ("data", "sigma", "thickness"))
        np.testing.assert_allclose(np.median(group["background"][0]), 1, rtol=1e-5)
    positive = t > 0
    np.testing.assert_allclose(thick[positive], -np.log(t[positive]) / 80 * 1e4, rtol=1e-4, atol=1e-3)
    assert (sigma > 0).all()
    page = np.asarray(Image.open(tmp_path / "r.png"))
    assert page.shape[2] == 3 and page.std() > 10


@pytest.mark.parametrize("name", ["none", "polynomial", "gaussian", "rolling-ball", "tile-median", "series"])
def test_every_method_that_needs_no_reference_runs(name: str, session: Path, tmp_path: Path) -> None:
    inputs = sorted(session.glob("raw_*.tif"))
    report = tmp_path / "r.html"
    options = ("--method", name, "--dark", session / "dark.tif", "--report", report, "-q")
    assert _main("xray", "correct", *inputs, "-o", tmp_path / "out", *options) == 0
    for path in inputs:
        found = open_scan(tmp_path / "out" / f"{path.stem}.h5").frames[0]
        assert np.isfinite(found).all() and 0.3 < np.median(found) < 1.5
    text = report.read_text(encoding="utf-8")
    assert text.count("data:image/png;base64") == 3 and name in text


def test_one_bad_input_does_not_stop_the_others(session: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.tif"
    bad.write_bytes(b"II*\0 and then nothing")
    options = ("-o", tmp_path / "out", "--method", "polynomial", "-q")
    assert _main("xray", "correct", bad, session / "raw_0000.tif", *options) == 3
    assert (tmp_path / "out" / "raw_0000.h5").exists() and not (tmp_path / "out" / "bad.h5").exists()


def test_what_cannot_be_is_refused_with_the_way_out(
    session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, out = session / "raw_0000.tif", tmp_path / "o.h5"
    for options, code, message in [
        (("--method", "polynomial", "--thickness", 3, "--mode", "zernike"), 2, "Zernike"),
        (("--method", "polynomial", "--thickness", 3), 2, "needs --mode absorption"),
        (("--method", "magic"), 2, "there are: pix2pix"),
        (("--method", "flat"), 2, "give --reference"),
        (("--method", "tile-median"), 2, "three frames"),
        (("--method", "polynomial", "--report", tmp_path / "r.pdf"), 2, ".html or .png"),
        (("--method", "polynomial", "--uncertainty", "-o", tmp_path / "o.tif"), 2, "TIFF holds no sigma"),
    ]:
        assert _main("xray", "correct", raw, "-o", out, *options) == code
        assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("o.*"))


def test_without_the_model_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from relume import bundle

    def missing(name: str) -> None:
        raise BundleNotFound(name)

    monkeypatch.setattr(bundle, "find", missing)
    with pytest.raises(BundleNotFound, match="--method polynomial"):
        find_method("pix2pix")


def test_basic_is_handed_the_stack_and_its_flat_field_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    light = np.linspace(0.5, 1.5, 64)[None] * np.ones((64, 1))

    class Fake:
        def __init__(self, **settings: object) -> None:
            assert settings["get_darkfield"] is False

        def fit(self, stack: np.ndarray) -> None:
            assert stack.shape == (4, 64, 64)
            self.flatfield = light.astype(np.float32)

    monkeypatch.setitem(sys.modules, "basicpy", types.SimpleNamespace(BaSiC=Fake))
    found = ESTIMATORS["basic"](light * 100, [light * 100] * 4)
    np.testing.assert_allclose(found, light / np.median(light), rtol=1e-6)


def test_noise_is_measured_in_the_image_itself() -> None:
    rng = np.random.default_rng(0)
    light = 2000 * (1 + 0.5 * np.linspace(-1, 1, 128))[None] * np.ones((128, 1))
    white = rng.poisson(light).astype(np.float64)
    found = noise(white) * np.sqrt(0.905 / 1.25)  # of white noise, where the camera's is correlated
    np.testing.assert_allclose(found.mean(0), np.sqrt(light[0]), rtol=0.12)
    np.testing.assert_allclose(noise(np.full((2, 64), 5.0)), 0, atol=1e-5)


def test_an_empty_image_is_one_and_a_transmission_above_one_stays() -> None:
    y, x = np.mgrid[-1:1:128j, -1:1:128j]
    light = 4000 * np.exp(0.2 * x - 0.1 * y**2)
    (empty,) = correct([light + 90], method=find_method("polynomial"), dark=90)
    np.testing.assert_allclose(empty.transmission, 1, atol=0.01)
    bright = light.copy()
    bright[60:66, 60:66] *= 1.4
    (found,) = correct([bright], method=find_method("flat"), references=[light])
    assert found.transmission[62, 62] == pytest.approx(1.4, rel=1e-4)
    with pytest.raises(UsageError, match="attenuation"):
        thickness(found.transmission, 0)


def test_a_picture_in_bands_is_the_same_in_every_format(tmp_path: Path) -> None:
    whole = np.random.default_rng(0).normal(1, 0.2, (300, 517)).astype(np.float32)
    for name in ("a.h5", "a.nxs", "a.tif"):
        bands = ({"data": whole[top : top + 90]} for top in range(0, 300, 90))
        write_picture(tmp_path / name, whole.shape, bands, HOW)
        np.testing.assert_array_equal(open_scan(tmp_path / name).frames[0], whole)
        assert provenance_of(tmp_path / name).method == "test"
    with pytest.raises(UsageError, match="do not fill"):
        write_picture(tmp_path / "b.h5", (301, 517), iter([{"data": whole}]), HOW)
    assert not (tmp_path / "b.h5").exists()


def test_empty_parts_are_left_out_of_it_where_that_is_asked_for(tiles: Path, tmp_path: Path) -> None:
    whole, without = tmp_path / "a.h5", tmp_path / "b.h5"
    assert _main("xray", "mosaic", tiles, "-o", whole, "-q") == 0
    assert _main("xray", "mosaic", tiles, "-o", without, "--no-empty", "-q") == 0
    held = [provenance_of(path).parameters["fixed by"] for path in (whole, without)]
    assert "empty_sd" in held[0] and "empty_sd" not in held[1]
    x = (2 * np.arange(160) + 1) / 160 - 1
    light = np.exp(0.1 * x - 0.1 * x[:, None] ** 2)
    empty = np.random.default_rng(0).poisson(20_000 * light).astype(np.uint16)
    tifffile.imwrite(tmp_path / "empty.tif", empty)
    even = []
    for name, options in (("c.h5", ()), ("d.h5", ("--no-empty",))):
        assert _main("xray", "correct", tmp_path / "empty.tif", "-o", tmp_path / name, "-q", *options) == 0
        assert provenance_of(tmp_path / name).parameters["empty parts sought"] is (not options)
        with library().File(tmp_path / name) as file:
            t = file["exchange"]["data"][0]
        even.append(np.std(t.reshape(10, 16, 10, 16).mean((1, 3))))
    assert even[0] < 0.8 * even[1]


def test_a_mosaic_from_a_folder(tiles: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.h5"
    options = ("--dark", tiles / "dark.tif", "--mode", "absorption", "--uncertainty", "-q")
    assert _main("xray", "mosaic", tiles, "-o", out, *options) == 0
    assert not list(tmp_path.glob(".*"))
    how = provenance_of(out)
    assert how.parameters["open modes"] == 6 and len(how.checksums) == 10
    assert how.source[-1] == "dark.tif (dark)" and how.parameters["mode"] == "absorption"
    assert how.parameters["common"] == "gradients" and how.parameters["reference"] == "none"
    with library().File(out) as file:
        group = file["exchange"]
        t, sigma = group["data"][0], group["sigma"][0]
        assert group["positions"].shape == (9, 2) and group["gains"].shape == (9,)
        place = np.rint(group["positions"][4]).astype(int)
    inner = t[place[0] : place[0] + 64, place[1] : place[1] + 64]
    truth = open_scan(tiles / "truth.h5").frames[4]
    valid = np.isfinite(inner)
    ratio = scaled(np.where(valid, inner, 1), truth, valid) / truth
    assert np.median(np.abs(np.log(np.abs(ratio[valid])))) < 0.08
    assert np.nanmin(sigma) > 0
    assert _main("xray", "mosaic", tiles, "-o", out) == 2


def test_a_killed_mosaic_goes_on_and_ends_as_if_nothing_had_happened(tiles: Path, tmp_path: Path) -> None:
    options = ["--dark", str(tiles / "dark.tif"), "--mode", "absorption", "-q"]
    whole, killed = tmp_path / "whole.h5", tmp_path / "killed.h5"
    assert _main("xray", "mosaic", tiles, "-o", whole, *options) == 0
    work = tmp_path / ".killed.h5.relume"
    command = [sys.executable, "-m", "relume", "xray", "mosaic", str(tiles), "-o", str(killed), *options]
    process = subprocess.Popen(command, env=os.environ.copy())
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if (work / "links.jsonl").exists():
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    process.wait()
    assert not killed.exists() and work.exists(), "it was too quick to be killed"
    with (work / "links.jsonl").open("ab") as file:
        file.write(b"[0, 1, 3.5")  # a line that was cut off
    measured = len((work / "links.jsonl").read_text().splitlines())
    assert measured >= 1
    assert _main("xray", "mosaic", tiles, "-o", killed, *options) == 0
    assert not work.exists()
    with library().File(whole) as one, library().File(killed) as other:
        np.testing.assert_array_equal(one["exchange/data"], other["exchange/data"])


def test_the_model_is_what_runs_unless_told_otherwise(session: Path, tmp_path: Path) -> None:
    from relume import bundle

    inputs, dark = sorted(session.glob("raw_*.tif")), session / "dark.tif"
    options = ("--dark", dark, "--uncertainty", "-q")
    assert _main("xray", "correct", *inputs, "-o", tmp_path, *options) == 0
    how = provenance_of(tmp_path / "raw_0001.h5")
    assert how.method == "pix2pix" and how.bundle == bundle.find("xray").hash
    assert how.parameters["model"].startswith("xray ")
    raw, level = (tifffile.imread(path).astype(np.float64) for path in (inputs[1], dark))
    alone = estimate_background(raw, dark=level)
    assert alone.sigma is not None
    with library().File(tmp_path / "raw_0001.h5") as file:
        t, b, sigma = (file["exchange"][name][0] for name in ("data", "background", "sigma"))
    np.testing.assert_allclose(b, alone.field, rtol=1e-5)
    least = alone.sigma * np.abs(t)
    assert (sigma >= least * 0.999).all() and np.median(sigma / least) < 10
    assert np.std(alone.sigma) > 0


def test_a_reference_of_another_day_gives_the_model_the_pattern_of_the_detector(
    session: Path, tmp_path: Path
) -> None:
    raw, flat, dark = session / "raw_0000.tif", session / "flat.tif", session / "dark.tif"
    options = ("--dark", dark, "--reference", flat, "-q")
    assert _main("xray", "correct", raw, "-o", tmp_path / "a.h5", *options) == 0
    image, light, level = (tifffile.imread(path).astype(np.float64) for path in (raw, flat, dark))
    known = estimate_background(image, references=[light], dark=level)
    with library().File(tmp_path / "a.h5") as file:
        found = file["exchange/background"][0]
    np.testing.assert_allclose(found, known.field, rtol=1e-5)
    assert np.std(np.log(found / estimate_background(image, dark=level).field)) > 1e-3
    assert provenance_of(tmp_path / "a.h5").parameters["reference"] == str(flat)


def test_one_net_and_one_map_serve_all_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    from relume.tasks import background

    loaded, maps = [], []
    load, make = background.BackgroundNet, background.fixed_map
    monkeypatch.setattr(
        background, "BackgroundNet", lambda *given, **how: loaded.append(1) or load(*given, **how)
    )
    monkeypatch.setattr(background, "fixed_map", lambda flats: maps.append(1) or make(flats))
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    light = 4000 * np.exp(0.2 * x - 0.1 * y**2)
    found = list(correct([light] * 3, method=find_method("pix2pix"), references=[light]))
    assert len(found) == 3 and len(loaded) == 1 and len(maps) == 1


@pytest.mark.parametrize("name", ["tile-median", "flat", "stale-flat"])
def test_a_method_without_its_references_says_what_it_needs(name: str) -> None:
    with pytest.raises(UsageError, match="needs"):
        next(correct([np.full((16, 16), 100.0)], method=find_method(name)))


def test_dark_frames_in_the_file_stay_where_a_reference_is_given(tmp_path: Path) -> None:
    h5py = library()
    rng = np.random.default_rng(0)
    clean, light, dark = (
        rng.uniform(low, high, (24, 32)) for low, high in ((0.5, 1), (900, 1100), (90, 110))
    )
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file["exchange/data"] = (dark + light * clean)[None]
        file["exchange/data_dark"] = dark[None]
        file["exchange/data_white"] = (dark + 3 * light[::-1])[None]  # of another day
    tifffile.imwrite(tmp_path / "flat.tif", (dark + light).astype(np.float32))
    options = ("--method", "flat", "--reference", tmp_path / "flat.tif", "-q")
    assert _main("xray", "correct", tmp_path / "raw.h5", "-o", tmp_path / "out.h5", *options) == 0
    found = open_scan(tmp_path / "out.h5").frames[0]
    np.testing.assert_allclose(found, clean, rtol=1e-3)
    assert provenance_of(tmp_path / "out.h5").parameters["dark mean"] == pytest.approx(dark.mean(), rel=1e-4)


def test_the_engine_that_runs_the_model_may_be_chosen(
    session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, out = session / "raw_0001.tif", tmp_path / "out.h5"
    assert _main("xray", "correct", raw, "-o", out, "--engine", "abacus", "-q") != 0
    assert "abacus" in capsys.readouterr().err and not out.exists()
    assert find_method("pix2pix", engine="onnx").model is not None


def test_a_strip_is_no_area(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tifffile.imwrite(tmp_path / "strip.tif", np.full((2, 640), 900, np.uint16))
    assert _main("xray", "correct", tmp_path / "strip.tif", "-o", tmp_path / "o.h5") == 2
    assert "take --method flat" in capsys.readouterr().err
    assert not (tmp_path / "o.h5").exists()


def test_the_model_is_one_of_the_fields_of_a_mosaic(
    tiles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from relume import bundle

    out = tmp_path / "m.h5"
    options = ("--dark", tiles / "dark.tif", "--mode", "absorption", "--radius", 0, "-q")
    assert _main("xray", "mosaic", tiles, "-o", out, "--field", "pix2pix", *options) == 0
    assert provenance_of(out).bundle == bundle.find("xray").hash
    assert _main("xray", "mosaic", tiles, "-o", tmp_path / "n.h5", "--field", "magic", *options) == 2
    assert "hash-grid, pix2pix" in capsys.readouterr().err


def test_a_net_is_weighed_by_its_precision_tile_by_tile() -> None:
    from types import SimpleNamespace

    from relume.tasks.mosaic_field import learned_field

    rng = np.random.default_rng(0)
    x = np.linspace(-1, 1, 64)[None] * np.ones((64, 1))
    pattern = 0.01 * rng.standard_normal((64, 64))
    tilts, errors = (0.1, 0.4), (0.1, 0.2)
    answers = [
        SimpleNamespace(field=np.exp(tilt * x), sigma=np.full(x.shape, error))
        for tilt, error in zip(tilts, errors, strict=True)
    ]
    given = iter(answers)

    def net(image: np.ndarray, *, fixed: np.ndarray, glare: float) -> SimpleNamespace:
        one = next(given)
        return SimpleNamespace(field=one.field * np.exp(fixed), sigma=one.sigma)

    found = learned_field(net)(lambda number: pattern + number, 2, (64, 64))  # type: ignore[arg-type]
    weights = np.asarray(errors) ** -2.0
    slope = float(np.sum(weights * tilts) / weights.sum())
    fine = found - slope * x
    assert np.corrcoef(fine.ravel(), pattern.ravel())[0, 1] > 0.95
    np.testing.assert_allclose(np.polyfit(x.ravel(), found.ravel(), 1)[0], slope, atol=0.005)


def test_evaluation_tells_methods_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "e.json"
    options = ("--sessions", 1, "--size", 64, "--method", "none", "--method", "flat", "--json", report)
    assert _main("xray", "eval", *options) == 0
    table = capsys.readouterr().out
    means = json.loads(report.read_text())["means"]
    assert means["flat"]["psnr"] > means["none"]["psnr"] + 3
    assert means["flat"]["hallucination"] < 1e-6 and "| flat |" in table


def test_measured_files_from_end_to_end(tmp_path: Path) -> None:
    if not SHARED.exists():
        pytest.skip("the measured files are not beside the checkout")
    pytest.importorskip("olefile")
    chip, tooth, battery = (
        SHARED / "xrm" / "test_chip00.xrm",
        SHARED / "hdf5_tooth" / "tooth.h5",
        SHARED / "txm_sb_2x2",
    )
    report = tmp_path / "r.png"
    assert (
        _main("xray", "correct", chip, "-o", tmp_path / "c.h5", "--method", "flat", "--report", report, "-q")
        == 0
    )
    assert report.stat().st_size > 10_000 and open_scan(tmp_path / "c.h5").frames.shape == (1, 512, 512)
    assert _main("xray", "correct", tooth, "-o", tmp_path / "t.tif", "--method", "flat", "-q") == 0
    assert _main("xray", "correct", chip, "-o", tmp_path / "n.h5", "--uncertainty", "-q") == 0
    with library().File(tmp_path / "c.h5") as flat, library().File(tmp_path / "n.h5") as net:
        light, made = flat["exchange/background"][0], net["exchange/background"][0]
        assert provenance_of(tmp_path / "n.h5").bundle and (net["exchange/sigma"][0] > 0).all()
    inside = light > 0.3
    assert np.std(np.log(made / light)[inside]) < 0.85 * np.std(np.log(light[inside]))
    frames = open_scan(tmp_path / "t.tif").frames
    assert frames.shape == (181, 2, 640) and np.median(frames[0][:, :20]) == pytest.approx(1, abs=0.03)
    options = ("--method", "polynomial", "--dark", 1500, "-q")
    assert _main("xray", "correct", battery, "-o", tmp_path / "b.h5", *options) == 0
    found = open_scan(tmp_path / "b.h5").frames
    raw = open_scan(battery).frames[0] - 1500
    assert found.shape == (4, 512, 512)
    assert found[0].std() / found[0].mean() < 0.6 * raw.std() / raw.mean()
