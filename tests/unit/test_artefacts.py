"""What a camera adds to an image, and that it alone is taken off."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from relume.background import GLARE, NO_ARTEFACTS, Artefacts, mended, without_glare
from relume.cli import main
from relume.degrade.illumination import TEST, Simulator
from relume.degrade.illumination.arrays import blur
from relume.scan import open_scan, provenance_of
from relume.tasks.xray import Corrected, correct, estimate_background, find_method

RNG = np.random.default_rng(7)


def photons(light: np.ndarray) -> np.ndarray:
    return RNG.poisson(light).astype(np.float64)


def test_glare_is_taken_off_exactly_where_it_is_known() -> None:
    light = RNG.uniform(100, 1000, (40, 50))
    seen = light + 0.07 * light.mean()
    np.testing.assert_allclose(without_glare(seen, 0.07), light, rtol=1e-12)
    np.testing.assert_array_equal(without_glare(seen, 0.0), seen)
    holed = np.where(RNG.random(seen.shape) < 0.1, np.nan, seen)
    found = without_glare(holed, 0.07)
    assert np.isnan(found[np.isnan(holed)]).all()
    apart = (holed - found)[np.isfinite(holed)]
    np.testing.assert_allclose(apart, 0.07 / 1.07 * np.nanmean(holed))


def test_lone_bright_pixels_are_found_and_nothing_else_is_touched() -> None:
    y, x = np.mgrid[:128, :128] / 64 - 1
    light = photons(2000 * np.exp(0.3 * x - 0.2 * y**2))
    seen, where = light.copy(), RNG.choice(light.size, 12, replace=False)
    where = np.unique(
        np.concatenate([where[np.isin(where % 128, (0, 127), invert=True)], [129, 64 * 128 + 1]])
    )
    where = where[(where > 128) & (where < 127 * 128)]  # beside the border, but not on it
    seen.flat[where] += 1500
    found = mended(seen)
    np.testing.assert_array_equal(np.sort(found.where), where)
    kept = np.ones(light.size, bool)
    kept[where] = False
    np.testing.assert_array_equal(found.counts.ravel()[kept], seen.ravel()[kept])
    assert np.abs(found.counts.flat[where] - light.flat[where]).max() < 8 * np.sqrt(3000)
    assert (found.spread > 0.3 * np.sqrt(1000)).all() and (found.spread < 3 * np.sqrt(3000)).all()


def test_what_optics_can_draw_stays() -> None:
    """Points, the finest that a sample can show, ten times as bright as what is about them."""
    points = np.where(RNG.random((128, 128)) < 0.01, 1.0, 0.0)
    drawn = 500 + 5000 * blur(points, 0.87) / blur(np.eye(9)[4][:, None] * np.eye(9)[4], 0.87).max()
    for light in (drawn, photons(drawn)):
        assert len(mended(light).where) == 0


def test_pairs_go_clusters_lines_and_dark_pixels_stay() -> None:
    seen = photons(np.full((96, 96), 1000.0))
    seen[10, 10:12] += 2000
    for stays in (
        np.s_[30:32, 30:32],
        np.s_[10, 30:33],
        np.s_[50, 10:16],
        ([50, 51, 52], [40, 41, 42]),
        ([70, 71, 70], [20, 21, 22]),
    ):
        seen[stays] += 2000
    seen[80, 80] = 0
    found = mended(seen)
    assert {divmod(int(i), 96) for i in found.where} == {(10, 10), (10, 11)}


@pytest.mark.parametrize("share", [0.002, 0.02, 0.05])
def test_an_image_whose_sample_is_that_fine_is_left_alone(share: float) -> None:
    seen = photons(np.full((256, 256), 1000.0))
    seen.flat[RNG.choice(seen.size, int(share * seen.size), replace=False)] += 3000
    np.testing.assert_array_equal(mended(seen).counts, seen)


def test_single_quanta_are_no_outliers() -> None:
    half = np.where(np.arange(256)[:, None] < 128, 1000.0, 0.01) * np.ones((1, 256))
    even = np.full((64, 64), 1000.0)
    even[30, 30] += 0.001
    for light in (photons(half), photons(np.full((256, 256), 0.02)), photons(np.full((256, 256), 0.5)), even):
        np.testing.assert_array_equal(mended(light).counts, light)


def test_a_pixel_that_shines_in_the_reference_too_is_left_to_it() -> None:
    """A hot one is divided by itself; one of a larger gain seems to shine only where the noise is low."""
    light = np.full((64, 64), 1000.0)
    light[::16, ::16] *= 1.2
    light[8, 8] += 3000
    flats = [photons(light) for _ in range(20)]
    for reference in (flats, [np.mean(flats, axis=0)]):
        method = find_method("flat", artefacts=Artefacts(0.0, 0.0, True))
        t = next(correct([photons(light)], method=method, references=reference)).transmission
        assert abs(t[::16, ::16].mean() - 1) < 0.03 and abs(t[8, 8] - 1) < 0.1


def test_fine_parts_of_a_sample_that_lie_together_stay() -> None:
    """The middle of a Siemens star where a pixel is as large as what the optics resolve."""
    shot = Simulator(TEST[4], 256).shot(4)
    assert shot.scene.kind == "star"
    y, x = np.divmod(mended(shot.raw - shot.dark).where, 256)
    seen = shot.raw - shot.dark
    seen[20, 20] += 30 * np.median(seen)
    assert len(y) <= 6 and 20 * 256 + 20 in mended(seen).where
    assert all(np.sum(np.hypot(y - y[i], x - x[i]) < 12) <= 4 for i in range(len(y)))


def test_what_was_not_measured_stays_and_small_images_are_no_error() -> None:
    seen = photons(np.full((32, 32), 900.0))
    seen[4, 4], seen[20, 20] = np.nan, 5000
    found = mended(seen)
    assert np.isnan(found.counts[4, 4]) and found.counts[20, 20] < 1100 and len(found.where) == 1
    for shape in ((1, 1), (2, 40), (3, 3)):
        np.testing.assert_array_equal(mended(np.full(shape, 7.0)).counts, 7.0)
    assert np.isnan(mended(np.full((8, 8), np.nan)).counts).all()


def test_an_infinite_pixel_spoils_no_other() -> None:
    image, flat = photons(np.full((64, 64), 900.0)), np.full((64, 64), 900.0)
    image[5, 5] = np.inf
    for artefacts in (NO_ARTEFACTS, Artefacts()):
        method = find_method("flat", artefacts=artefacts)
        one = next(correct([image], method=method, references=[flat], uncertainty=True))
        assert one.sigma is not None
        held = np.isfinite(one.transmission) & np.isfinite(one.sigma)
        assert held.sum() == held.size - 1 and not held[5, 5]


@pytest.mark.parametrize("true", [0.0, 0.02, 0.055])
def test_no_more_glare_is_taken_off_than_the_image_can_hold(true: float) -> None:
    """Something nearly opaque stands in the light: what is seen there is more than the glare."""
    clean = np.ones((256, 256))
    clean[60:120, 60:120] = 0.03
    light = 20_000 * clean
    seen = photons(light + true * light.mean())
    t = next(correct([seen], method=find_method("none", artefacts=Artefacts()))).transmission
    opaque = np.median(t[70:110, 70:110])
    assert -0.002 < opaque < 0.035
    assert Artefacts().share(seen) < 0.06 and Artefacts(0.09, 0.0).share(seen) == 0.09
    if true == 0.055:
        assert abs(opaque - 0.03) < 0.005


def test_a_simulated_camera_loses_its_outliers_and_nothing_of_its_sample() -> None:
    """Six sessions: most of the hot pixels' energy is gone, and hardly a pixel without is touched."""
    from dataclasses import replace

    from relume.degrade.illumination.formation import expose, intensity
    from relume.degrade.illumination.streams import stream

    before, after, wrong = 0.0, 0.0, 0
    for seed in TEST[:6]:
        shot = Simulator(seed).shot(seed % 20)
        detector = shot.session.detector
        light = intensity(shot.clean, shot.background, shot.gain, detector.glare)
        quiet = expose(light, shot.session.flux, replace(detector, hot=0.0), stream(seed, "noise", seed % 20))
        counts, calm = shot.raw - detector.dark, quiet - detector.dark
        found = mended(counts)
        hot = counts > calm + 0.5
        before += float(np.sum((counts - calm)[hot] ** 2))
        after += float(np.sum((found.counts - calm)[hot] ** 2))
        wrong += int(np.sum(~hot.flat[found.where]))
    assert after < 0.1 * before
    assert wrong == 0


def test_methods_have_what_suits_them() -> None:
    assert find_method("pix2pix").artefacts == Artefacts() != NO_ARTEFACTS
    assert find_method("flat").artefacts == NO_ARTEFACTS
    assert find_method("gaussian", artefacts=Artefacts(0.03)).artefacts.glare == 0.03
    told = Artefacts().told(glare=0.06)
    assert (told.glare, told.deviation, told.outliers) == (0.06, 0.0, True)
    assert Artefacts().told(outliers=False) == Artefacts(outliers=False)


def test_a_background_of_one_image_knows_its_camera() -> None:
    image = photons(2000 * np.exp(0.3 * (np.mgrid[:64, :64][1] / 32 - 1)))
    image += 0.2 * image.mean()
    plain = estimate_background(image, "polynomial").field
    steep = estimate_background(image, "polynomial", artefacts=Artefacts(0.2, 0.0)).field
    assert 1.15 < np.ptp(np.log(steep[:, 4:-4])) / np.ptp(np.log(plain[:, 4:-4])) < 1.25


def test_transmission_is_exact_where_glare_and_light_are_known() -> None:
    """Glare of image and flat differ, as their means do: dividing does not take it off."""
    y, x = np.mgrid[:96, :96] / 48 - 1
    light, clean = 5000 * np.exp(0.3 * x), np.where(np.hypot(x, y) < 0.6, 0.2, 1.0)
    image, flat = (through + 0.06 * through.mean() for through in (light * clean, light))

    def found(artefacts: Artefacts) -> np.ndarray:
        method = find_method("flat", artefacts=artefacts)
        return next(correct([image], method=method, references=[flat])).transmission

    np.testing.assert_allclose(found(Artefacts(0.06, 0.0, False)), clean, rtol=1e-5)
    assert found(NO_ARTEFACTS)[48, 48] > 1.15 * 0.2


@pytest.mark.parametrize("name", ["flat", "stale-flat"])
def test_the_error_of_the_glare_is_what_transmission_is_off_with_another(name: str) -> None:
    y, x = np.mgrid[:64, :64] / 32 - 1
    field, clean = np.exp(0.4 * x), np.where(np.hypot(x, y) < 0.5, 0.2, 1.0)
    image, flat = 1e7 * field * clean, 1e7 * field
    image, flat = image + 0.055 * image.mean(), flat + 0.055 * flat.mean()

    def found(artefacts: Artefacts) -> Corrected:
        method = find_method(name, artefacts=artefacts)
        return next(correct([image], method=method, references=[flat], uncertainty=True))

    low, high = (found(Artefacts(0.055 + by, 0.0, False)).transmission for by in (-0.0144, 0.0144))
    sure, unsure = found(Artefacts(0.055, 0.0, False)), found(Artefacts(0.055, 0.0144, False))
    assert sure.sigma is not None and unsure.sigma is not None
    told = np.sqrt(np.maximum(unsure.sigma.astype(float) ** 2 - sure.sigma.astype(float) ** 2, 0))
    off = np.abs(high - low) / 2
    np.testing.assert_allclose(told[clean < 1], off[clean < 1], rtol=0.12)
    assert np.corrcoef(told.ravel(), off.ravel())[0, 1] > 0.8


def test_a_replaced_pixel_is_less_sure() -> None:
    image, flat = photons(np.full((64, 64), 4000.0)), np.full((64, 64), 4000.0)
    image[30, 30] = 30_000

    def found(artefacts: Artefacts) -> Corrected:
        method = find_method("flat", artefacts=artefacts)
        return next(correct([image], method=method, references=[flat], uncertainty=True))

    one, plain = found(Artefacts(0.0, 0.0, True)), found(NO_ARTEFACTS)
    assert one.outliers == 1 and 0.9 < one.transmission[30, 30] < 1.1
    assert plain.outliers == 0 and plain.transmission[30, 30] > 7
    assert one.sigma is not None and one.sigma[30, 30] > 1.05 * np.median(one.sigma)


def test_the_command_says_what_was_taken_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("h5py")
    shot = Simulator(TEST[1], 128).shot(0)
    raw = shot.raw.copy()
    raw[40, 40] = 60_000
    tifffile.imwrite(tmp_path / "raw.tif", raw)

    def run(name: str, *options: str) -> tuple[np.ndarray, dict[str, object], str]:
        out = tmp_path / f"{name}.h5"
        arguments = [str(tmp_path / "raw.tif"), "-o", str(out), "--dark", str(shot.dark), "-v", *options]
        assert main(["xray", "correct", *arguments]) == 0
        how = provenance_of(out)
        return open_scan(out).frames[0], dict(how.parameters), capsys.readouterr().err

    t, facts, said = run("usual")
    assert facts["glare"] == GLARE and facts["outliers"] == "mended" and "replaced" in said
    bare, facts, said = run("bare", "--glare", "0", "--outliers", "keep")
    assert facts["glare"] == 0 and facts["outliers"] == "kept" and "replaced" not in said
    assert t[40, 40] < 2 < bare[40, 40]
    dark = shot.clean < np.percentile(shot.clean, 5)
    assert np.median(t[dark]) < np.median(bare[dark])
    classical, facts, _ = run("classical", "--method", "gaussian")
    assert facts["glare"] == 0 and facts["outliers"] == "kept" and classical[40, 40] > 2
    out = str(tmp_path / "x.h5")
    assert main(["xray", "correct", str(tmp_path / "raw.tif"), "-o", out, "--glare", "1.5"]) == 2
    assert not Path(out).exists()


def test_a_flat_with_blocked_corners_and_a_dead_pixel_serves_a_mosaic(tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    h5py = pytest.importorskip("h5py")
    n, step, s = 96, 80, 0.055
    y, x = np.mgrid[:n, :n] * 2 / n - 1
    field = np.where(np.hypot(x, y) < 1.2, np.exp(0.2 * x), 0.0)
    world = 0.82 + 0.1 * np.sin(np.mgrid[: n + 2 * step, : n + 2 * step].sum(0) / 9)
    tiles = tmp_path / "tiles"
    tiles.mkdir()
    lines = ["dim = 2"]

    def counts(light: np.ndarray) -> np.ndarray:
        found = 100 + RNG.poisson(5000 * (light + s * light.mean()))
        found[40, 40] = 100
        return np.asarray(found, np.uint16)

    for i in range(9):
        top, left = step * (i // 3), step * (i % 3)
        tifffile.imwrite(tiles / f"t{i}.tif", counts(field * world[top : top + n, left : left + n]))
        lines.append(f"t{i}.tif; ; ({left}, {top})")
    (tiles / "TileConfiguration.txt").write_text("\n".join(lines) + "\n")
    flat = np.mean([counts(field) for _ in range(10)], axis=0).astype(np.float32)
    tifffile.imwrite(tmp_path / "flat.tif", flat)
    options = ["--dark", "100", "--reference", str(tmp_path / "flat.tif"), "--radius", "0", "--uncertainty"]
    out = tmp_path / "m.h5"
    assert main(["xray", "mosaic", str(tiles), "-o", str(out), *options, "-q"]) == 0
    t = np.asarray(open_scan(out).frames[0], float)
    # the gauge is the brightest part, not the reference
    ratio = t[: len(world), : len(world)] / world
    assert np.nanstd(ratio) / np.nanmedian(ratio) < 0.03
    assert np.nanmax(t) < 1.4 and np.nanmin(t) > -0.1
    with h5py.File(out) as file:
        sigma = file["exchange/sigma"][()]
    assert np.nanmedian(sigma) < 0.05 and np.nanmax(sigma) < 2
    glare = provenance_of(out).parameters["glare"]
    assert 0.045 < min(glare) <= max(glare) <= GLARE
