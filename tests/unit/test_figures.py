r"""The figures beside PSNR and SSIM, against closed forms, brute force and peers."""

import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage, stats

from relume.bench import METRICS
from relume.bench.colour import delta_e2000
from relume.bench.detection import auc, best_f1, iou
from relume.bench.faces import faces_lacking, find_faces
from relume.bench.gmsd import gmsd
from relume.bench.haarpsi import haarpsi
from relume.bench.intervals import paired_bootstrap
from relume.bench.machine import machine
from relume.bench.metric import lacking, luma
from relume.bench.quality import psnr
from relume.bench.regions import Box, damaged, in_boxes, rms_where, undamaged
from relume.bench.seams import seam_energy
from relume.bench.spectrum import BANDS, band_energies, band_ratio, gradient_energy
from relume.errors import UsageError

Picture = NDArray[np.float32]
BY_NAME = {metric.name: metric for metric in METRICS}


def needs(name: str) -> None:
    reason = BY_NAME[name].lacking()
    if reason is not None:
        pytest.skip(reason)


def picture(seed: int, height: int = 64, width: int = 80) -> Picture:
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).random((height, width, 3)), (2, 2, 0))
    return ((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)


def wave(wavelength: float, size: int = 128) -> Picture:
    columns = np.arange(size)[None, :, None]
    return (0.5 + 0.4 * np.sin(2 * np.pi * columns / wavelength) * np.ones((size, 1, 3))).astype(np.float32)


# Perceptual metrics.


def test_gmsd_is_that_of_the_paper() -> None:
    needs("gmsd")
    a, b = picture(0), picture(1)
    prewitt = np.repeat([[1, 0, -1]], 3, axis=0) / 3

    def gradients(each: Picture) -> NDArray[np.float64]:
        plane = luma(each).astype(np.float64) * 255
        half = plane.reshape(plane.shape[0] // 2, 2, plane.shape[1] // 2, 2).mean(axis=(1, 3))
        return np.hypot(*(ndimage.convolve(half, kernel) for kernel in (prewitt, prewitt.T)))

    x, y = gradients(a), gradients(b)
    inner = np.s_[2:-2, 2:-2]  # borders are a matter of taste
    similarity = ((2 * x * y + 170) / (x * x + y * y + 170))[inner]
    assert gmsd(a, b) == pytest.approx(similarity.std(), rel=0.05)


def test_gmsd_and_haarpsi_do_not_care_which_picture_is_the_truth() -> None:
    for name, measure in (("gmsd", gmsd), ("haarpsi", haarpsi)):
        needs(name)
        assert measure(picture(0), picture(1)) == pytest.approx(measure(picture(1), picture(0)), abs=1e-6)


def test_haarpsi_lies_between_0_and_1_and_falls_with_what_is_lost() -> None:
    needs("haarpsi")
    flat = np.full_like(picture(0), 0.5)
    assert 0 <= haarpsi(flat, picture(0)) < haarpsi(0.5 + 0.5 * (picture(0) - 0.5), picture(0)) < 1


def test_haarpsi_is_loaded_without_the_rest_of_its_package() -> None:
    needs("haarpsi")
    code = "import sys; from relume.bench.haarpsi import library; print(library().__name__, *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    module, *loaded = done.stdout.split()
    assert module == "piq.haarpsi" and not {"piq", "torchvision"} & set(loaded)


def test_a_module_that_is_not_there_is_told_with_the_way_out() -> None:
    assert lacking("no_such_module", "pip install it") == (
        "no_such_module cannot be loaded (ModuleNotFoundError): pip install it"
    )


def test_delta_e_of_greys_is_the_weighted_difference_of_lightness() -> None:
    needs("delta_e2000")
    a, b = (np.full((4, 4, 3), value, np.float32) for value in (0.3, 0.5))

    def lightness(value: float) -> float:
        linear = ((value + 0.055) / 1.055) ** 2.4
        return 116 * linear ** (1 / 3) - 16

    one, other = lightness(0.3), lightness(0.5)
    middle = ((one + other) / 2 - 50) ** 2
    expected = abs(one - other) / (1 + 0.015 * middle / np.sqrt(20 + middle))
    assert delta_e2000(a, b) == pytest.approx(expected, rel=1e-3)
    assert delta_e2000(np.zeros_like(a), np.ones_like(a)) == pytest.approx(100, abs=0.01)


# Sharpness.


def test_gradient_energy_is_quadratic_in_contrast_and_blind_to_brightness() -> None:
    truth = picture(2)
    assert gradient_energy(0.3 * truth + 0.2, truth) == pytest.approx(0.09, rel=1e-5)
    assert gradient_energy(truth[:, ::-1], truth) == pytest.approx(1, rel=1e-12)


def test_gradient_energy_against_a_flat_truth() -> None:
    flat = np.full((8, 8, 3), 0.5, np.float32)
    assert gradient_energy(flat, flat) == 1 and gradient_energy(picture(0, 8, 8), flat) == float("inf")


@pytest.mark.parametrize("band", BANDS)
def test_a_wave_is_seen_in_its_own_band_and_no_other(band: tuple[int, int]) -> None:
    energies = band_energies(wave(float(np.sqrt(band[0] * band[1]))))
    share = energies / energies.sum()
    assert share[BANDS.index(band)] > 0.99


def test_the_bands_hold_the_energy_of_white_noise_by_their_area() -> None:
    rng = np.random.default_rng(0)
    noises = [rng.standard_normal((256, 256, 1)).repeat(3, axis=2).astype(np.float32) for _ in range(10)]
    energies = np.mean([band_energies(noise) for noise in noises], axis=0)
    areas = np.asarray([1 / short**2 - 1 / long**2 for short, long in BANDS])
    np.testing.assert_allclose(energies / energies.sum(), areas / areas.sum(), rtol=0.1)


def test_one_band_can_be_smoothed_alone() -> None:
    truth = 0.5 * wave(3) + 0.5 * wave(24)
    smoothed = 0.5 * (0.5 * (wave(3) - 0.5) + 0.5) + 0.5 * wave(24)
    assert band_ratio(smoothed, truth, (2, 4)) == pytest.approx(0.25, rel=1e-3)
    assert band_ratio(smoothed, truth, (16, 64)) == pytest.approx(1, rel=1e-3)


# Regions.


def test_the_squared_errors_of_two_regions_add_up() -> None:
    a, b = picture(0), picture(1)
    where = np.random.default_rng(0).random(a.shape[:2]) > 0.7
    inside, outside = rms_where(a, b, where), rms_where(a, b, ~where)
    assert inside is not None and outside is not None
    whole = where.mean() * inside**2 + (1 - where.mean()) * outside**2
    assert -10 * np.log10(whole) == pytest.approx(psnr(a, b), abs=1e-6)
    assert rms_where(a, b, np.zeros_like(where)) is None


def test_soft_borders_of_a_mask_belong_to_neither_side() -> None:
    mask = np.asarray([[0.0, 0.2, 0.5, 1.0]], np.float32)
    assert damaged(mask).tolist() == [[False, False, True, True]]
    assert undamaged(mask).tolist() == [[True, False, False, False]]


def test_boxes_are_measured_one_by_one() -> None:
    a, b = picture(0), picture(1)
    boxes = [Box(3, 5, 20, 30), Box(30, 40, 12, 14)]
    expected = np.mean([psnr(a[3:23, 5:35], b[3:23, 5:35]), psnr(a[30:42, 40:54], b[30:42, 40:54])])
    assert in_boxes(psnr, a, b, boxes) == pytest.approx(expected)
    assert in_boxes(psnr, a, b, []) is None


def test_a_face_is_found_where_it_is_and_none_in_a_plain_picture() -> None:
    reason = faces_lacking()
    if reason is not None:
        pytest.skip(reason)
    from skimage import data

    portrait = data.astronaut().astype(np.float32) / np.float32(255)
    largest = find_faces(portrait)[0]
    middle = largest.y + largest.height / 2, largest.x + largest.width / 2
    assert abs(middle[0] - 115) < 30 and abs(middle[1] - 225) < 30
    assert find_faces(picture(0)) == []


# Detection.


@pytest.mark.parametrize("levels", [None, 5])
def test_auc_is_the_chance_to_rank_a_true_pixel_above_a_false_one(levels: int | None) -> None:
    rng = np.random.default_rng(3)
    truth = rng.random((20, 15)) > 0.8
    scores = rng.random((20, 15)) + 0.4 * truth
    if levels is not None:
        scores = np.round(scores * levels) / levels  # many ties
    above = scores[truth][:, None] - scores[~truth][None, :]
    assert auc(scores, truth) == pytest.approx(np.mean((above > 0) + 0.5 * (above == 0)), abs=1e-12)
    peer = stats.mannwhitneyu(scores[truth], scores[~truth]).statistic / (truth.sum() * (~truth).sum())
    assert auc(scores, truth) == pytest.approx(peer, abs=1e-12)
    assert auc(-scores, truth) == pytest.approx(1 - peer, abs=1e-12)
    assert auc(np.exp(scores), truth) == pytest.approx(peer, abs=1e-12)


def test_auc_of_one_class_is_not_known() -> None:
    assert auc(np.zeros(4), np.zeros(4, bool)) is None and auc(np.zeros(4), np.ones(4, bool)) is None


@pytest.mark.parametrize("levels", [3, 50])
def test_best_f1_is_the_best_of_all_thresholds(levels: int) -> None:
    rng = np.random.default_rng(4)
    truth = rng.random(300) > 0.7
    scores = np.round((rng.random(300) + 0.5 * truth) * levels) / levels

    def f1(threshold: float) -> float:
        found = scores >= threshold
        return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))

    best = best_f1(scores, truth)
    assert best is not None
    assert best.f1 == pytest.approx(max(f1(each) for each in np.unique(scores)))
    assert f1(best.threshold) == pytest.approx(best.f1)
    assert best_f1(scores, np.zeros(300, bool)) is None


def test_iou_counts_pixels() -> None:
    truth = np.asarray([[True, True, False, False]])
    assert iou(np.asarray([[0.9, 0.1, 0.6, 0.2]]), truth) == pytest.approx(1 / 3)
    assert iou(truth.astype(float), truth) == 1 and iou(np.zeros((1, 4)), truth) == 0
    assert iou(np.zeros((1, 4)), ~np.ones((1, 4), bool)) is None


@pytest.mark.parametrize("measure", [auc, iou, best_f1])
def test_a_mask_of_another_size_is_refused(measure: object) -> None:
    with pytest.raises(UsageError, match="shape"):
        measure(np.zeros((4, 4)), np.zeros((4, 5), bool))  # type: ignore[operator]


# Seams.


def test_a_picture_with_steps_at_the_tiles_shows_and_one_without_does_not() -> None:
    rng = np.random.default_rng(0)
    truth = picture(3, 200, 240)
    result = (truth + 0.02 * rng.standard_normal(truth.shape)).astype(np.float32)
    bands = {"rows": [(96, 104)], "columns": [(76, 84), (156, 164)]}
    even = seam_energy(result, truth, **bands)
    assert even == pytest.approx(1, abs=0.1)
    result[:, 80:] += 0.1
    stepped = seam_energy(result, truth, **bands)
    elsewhere = seam_energy(result, truth, rows=[(96, 104)], columns=[(20, 28)])
    assert stepped is not None and stepped > 1.4
    assert elsewhere is not None and elsewhere < 1


def test_a_single_step_is_all_of_the_energy() -> None:
    truth = np.zeros((10, 10, 3), np.float32)
    result, quiet = truth.copy(), truth.copy()
    result[:, 5:] = 0.3  # between the columns 4 and 5
    result[3:, :] += 0.1  # between the rows 2 and 3, beside every seam
    # 9 row steps and 9 column steps; the band (5, 6) touches the steps 4 and 5.
    expected = (0.3**2 / 2) / (0.1**2 / 16)
    assert seam_energy(result, truth, rows=[], columns=[(5, 6)]) == pytest.approx(expected, rel=1e-5)
    assert seam_energy(result, truth, rows=[], columns=[]) is None
    assert seam_energy(quiet, truth, rows=[], columns=[(5, 6)]) is None


# Intervals.


def test_the_interval_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    theirs = rng.normal(20, 5, 40)
    ours = theirs + rng.gamma(2, 1, 40) - 1
    mine = paired_bootstrap(ours, theirs, resamples=20_000)
    peer = stats.bootstrap((ours - theirs,), np.mean, n_resamples=20_000, method="percentile", rng=rng)
    assert mine.mean == pytest.approx(np.mean(ours - theirs)) and mine.pictures == 40
    assert mine.low == pytest.approx(peer.confidence_interval.low, abs=0.02)
    assert mine.high == pytest.approx(peer.confidence_interval.high, abs=0.02)


def test_nineteen_of_twenty_intervals_hold_the_truth() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for trial in range(300):
        found = paired_bootstrap(rng.normal(0.5, 1, 60), np.zeros(60), seed=trial, resamples=500)
        held += found.low <= 0.5 <= found.high
    assert 0.90 < held / 300 < 0.98


def test_pairing_takes_out_what_pictures_have_in_common() -> None:
    rng = np.random.default_rng(2)
    theirs = rng.normal(20, 8, 30)
    ours = theirs + 1 + rng.normal(0, 0.1, 30)
    found = paired_bootstrap(ours, theirs)
    assert 0.9 < found.low < found.mean < found.high < 1.1
    shuffled = paired_bootstrap(ours, rng.permutation(theirs))
    assert shuffled.high - shuffled.low > 10 * (found.high - found.low)


def test_the_seed_decides_and_equal_lists_differ_by_nothing() -> None:
    values = list(np.random.default_rng(3).normal(size=25))
    assert paired_bootstrap(values, [0.0] * 25, seed=1) == paired_bootstrap(values, [0.0] * 25, seed=1)
    assert paired_bootstrap(values, [0.0] * 25, seed=1) != paired_bootstrap(values, [0.0] * 25, seed=2)
    assert paired_bootstrap(values, values)[:3] == (0, 0, 0)


def test_what_is_no_pairs_is_refused() -> None:
    for ours, theirs, level in (([1.0], [1.0, 2.0], 0.95), ([], [], 0.95), ([1.0], [1.0], 1.0)):
        with pytest.raises(UsageError):
            paired_bootstrap(ours, theirs, level=level)


def test_the_machine_is_described_without_its_name() -> None:
    import platform

    facts = machine()
    assert facts["cores"] >= 1 and facts["python"] == platform.python_version()
    assert platform.node() == "" or platform.node() not in str(facts)
