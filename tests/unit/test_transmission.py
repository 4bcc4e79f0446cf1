r"""The ruler for X-ray images: closed forms, invariants, and methods that must fail it."""

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from relume.bench.stitching import low_frequency_bias, pitch_peak, seam, seams
from relume.bench.transmission import (
    density_error,
    density_slope,
    fidelity,
    flatness,
    hallucination,
    masks,
    preservation,
    report,
    scaled,
    smoothed,
    step_bias,
)
from relume.bench.uncertainty import coverage, risk_coverage
from relume.degrade.phantoms import wedge
from relume.errors import UsageError

ALL = np.ones((96, 96), bool)


def sample(seed: int = 0) -> np.ndarray:
    """Two grainy discs with a fringe before an empty field."""
    rows, columns = np.mgrid[:96, :96]
    t = np.ones((96, 96))
    rng = np.random.default_rng(seed)
    for y, x, r in ((30, 30, 18), (64, 60, 22)):
        d = np.hypot(rows - y, columns - x)
        t = np.where(d < r, 0.6 + 0.02 * gaussian_filter(rng.normal(size=t.shape), 2) / 0.14, t)
        t += 0.25 * np.exp(-(((d - r - 2) / 1.5) ** 2))
    return t


def test_the_scale_is_the_best_factor() -> None:
    truth = sample()
    np.testing.assert_allclose(scaled(truth / 3.7, truth, ALL), truth, rtol=1e-12)
    noisy = truth + np.random.default_rng(0).normal(0, 0.1, truth.shape)
    best = scaled(noisy, truth, ALL)
    for factor in (0.99, 1.01):
        assert ((best - truth) ** 2).sum() < ((factor * best - truth) ** 2).sum()


def test_smoothing_agrees_with_scipy_and_keeps_constants_behind_any_mask() -> None:
    field = np.random.default_rng(0).normal(size=(50, 37))
    np.testing.assert_allclose(smoothed(field, 3), gaussian_filter(field, 3, truncate=8), atol=1e-9)
    valid = np.random.default_rng(1).random((50, 37)) < 0.3
    np.testing.assert_allclose(smoothed(np.where(valid, 2.5, 1e6), 4, valid)[valid], 2.5)
    with pytest.raises(UsageError, match="valid"):
        smoothed(field, 3, np.zeros(field.shape, bool))


def test_masks_share_out_the_image() -> None:
    parts = masks(sample(), ALL)
    assert sum(parts[name].astype(int) for name in ("empty", "edge", "sample")).min() == 1
    assert parts["empty"][5, 90] and parts["sample"][30, 30] and parts["edge"][30, 12]
    assert 0.2 < parts["empty"].mean() < 0.7


def test_a_perfect_image_has_perfect_figures() -> None:
    truth = sample()
    r = report(truth * 0.3, truth, ALL)
    assert r.psnr > 200 and r.ssim == pytest.approx(1)
    assert r.density_error == pytest.approx(0, abs=1e-9)
    assert r.density_slope == pytest.approx(1) and r.detail == pytest.approx(1)
    assert r.loss == pytest.approx(0, abs=1e-9) and r.flatness < 3e-3
    assert report(truth * 0.3, truth, ALL, scale=False).psnr < 20


def test_psnr_and_density_in_closed_form() -> None:
    truth = np.full((96, 96), 0.8)
    found = truth + 0.1 * (-1.0) ** np.arange(96)
    r = report(found, truth, ALL, scale=False)
    assert r.psnr == pytest.approx(20 * math.log10(1.2 / 0.1))
    assert r.density_error == pytest.approx(0.5 * (math.log(0.9 / 0.8) - math.log(0.7 / 0.8)))


def test_transmissions_above_one_are_not_clipped_away() -> None:
    truth = sample()
    assert truth.max() > 1.2
    assert report(np.minimum(truth, 1), truth, ALL).psnr < 40


def test_pixels_that_are_not_valid_do_not_count() -> None:
    truth, valid = sample(), ALL.copy()
    valid[:20, :20] = False
    spoilt = np.where(valid, truth, 40.0)
    r = report(spoilt, truth, valid)
    assert r.psnr > 200 and r.loss == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("gamma", [0.7, 1.0, 1.6])
def test_the_slope_is_the_exponent(gamma: float) -> None:
    truth = sample()
    assert density_slope(truth**gamma, truth, ALL) == pytest.approx(gamma)
    assert math.isnan(density_slope(truth, np.ones_like(truth), ALL))


def test_density_leaves_out_what_has_none() -> None:
    truth = sample()
    found = truth.copy()
    found[0, :5] = (0, -0.1, -3, 0, 0)
    assert density_error(found, truth, ALL) == 0
    with pytest.raises(UsageError, match="positive"):
        density_error(-truth, truth, ALL)


def test_the_bias_on_the_steps_of_a_wedge() -> None:
    line = np.arange(96, dtype=np.float32) + 0.5
    steps = (0.05, 0.2, 0.5, 1.0, 1.5)
    truth = np.exp(-wedge((96, 96)).thickness(line, line).astype(float))
    found = (truth + 0.04) / 1.04  # glare that was not taken off
    biases = step_bias(found, truth, steps, ALL)
    assert list(biases) == list(steps)
    for step, bias in biases.items():
        assert bias == pytest.approx(-math.log((math.exp(-step) + 0.04) / 1.04) - step, abs=1e-6)
    assert biases[1.5] < biases[0.05] < 0


def test_flatness_is_the_variation_of_the_smoothed_empty_field() -> None:
    columns = np.arange(96)
    wave = 1 + 0.02 * np.cos(2 * np.pi * (columns + 0.5) * 2 / 96)[None, :] * np.ones((96, 1))
    attenuation = math.exp(-2 * (math.pi * 4 * 2 / 96) ** 2)
    assert flatness(wave, ALL) == pytest.approx(0.02 * attenuation / math.sqrt(2), rel=1e-3)
    assert flatness(wave, ALL, sigma=0) == pytest.approx(0.02 / math.sqrt(2))
    assert math.isnan(flatness(wave, ~ALL))
    noise = 1 + np.random.default_rng(0).normal(0, 0.05, (96, 96))
    assert flatness(noise, ALL) < 0.1 * flatness(noise, ALL, sigma=0)


def test_a_method_that_flattens_the_sample_away_is_found_out() -> None:
    truth = gaussian_filter(sample(), 6)
    erased = truth / gaussian_filter(truth, 12)
    kept = preservation(truth * 0.5 + 0.5, truth, ALL)
    assert kept.detail == pytest.approx(1) and kept.loss == pytest.approx(0.5)
    assert preservation(erased, truth, ALL).loss > 0.5
    assert preservation(np.full_like(truth, 0.9), truth, ALL).loss == pytest.approx(1)
    nothing = preservation(truth, np.ones_like(truth), ALL)
    assert math.isnan(nothing.detail) and math.isnan(nothing.loss)


def test_hallucination_sees_shape_and_not_scale() -> None:
    light = np.exp(np.random.default_rng(0).normal(0, 0.1, (96, 96)))
    assert hallucination(light, 3 * light, ALL) == pytest.approx(0, abs=1e-12)
    change = np.where(np.arange(96) % 2, 0.01, -0.01)
    assert hallucination(light * np.exp(change), light, ALL) == pytest.approx(0.01, rel=0.5)


def test_shapes_have_to_agree() -> None:
    with pytest.raises(UsageError, match="cannot be compared"):
        report(np.ones((20, 20)), np.ones((20, 21)), np.ones((20, 20), bool))
    with pytest.raises(UsageError, match="cannot be compared"):
        seam(np.ones((3, 4)), np.ones((4, 3)))


def test_a_seam_is_the_log_of_the_gain_between_two_tiles() -> None:
    one = np.random.default_rng(0).uniform(0.5, 1, (20, 40))
    found = seam(1.1 * one, one)
    assert found.rms == pytest.approx(math.log(1.1)) and found.median == pytest.approx(math.log(1.1))
    holes = np.where(np.random.default_rng(1).random(one.shape) < 0.1, 0.0, one)
    assert seam(holes, one).rms == pytest.approx(0, abs=1e-9)
    with pytest.raises(UsageError, match="positive"):
        seam(-one, one)


def test_seams_are_registered_by_the_corners() -> None:
    canvas = np.random.default_rng(0).uniform(0.5, 1, (100, 120))
    corners = np.array([[0, 0], [3, 40], [48, 2], [50, 70], [-900, 0]])
    tiles = [canvas[y : y + 50, x : x + 50] for y, x in corners[:4]] + [canvas[:50, :50]]
    found = seams(tiles, corners.astype(float) + 0.2)
    assert len(found) == 1  # the others touch by less than 8 pixels, or not at all
    assert found[0].rms == pytest.approx(0, abs=1e-12)
    assert len(seams(tiles, corners, least=1)) == 4
    gained = [(1 + 0.05 * i) * tile for i, tile in enumerate(tiles)]
    assert seams(gained, corners)[0].median == pytest.approx(-math.log(1.05))


def test_a_grid_of_tiles_shows_as_a_peak_at_its_pitch() -> None:
    rng = np.random.default_rng(0)
    step, n = 31.3, 320
    drawn = np.exp(gaussian_filter(rng.normal(size=(n, n)), 3))
    assert pitch_peak(drawn, step) < 6
    tile = (np.arange(n) % step) / step - 0.5
    grid = np.exp(0.5 * (tile**2 - 1 / 12))
    assert pitch_peak(drawn * grid[None, :], step) > 20
    assert pitch_peak(drawn * grid[:, None], step) > 20
    ramp = np.exp(np.linspace(0, 1, n))
    assert pitch_peak(drawn * ramp, step) < 6  # a ramp is no grid
    with pytest.raises(UsageError, match="four tiles"):
        pitch_peak(drawn, 100)


def test_fidelity_is_that_of_the_report() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.3, 1, (64, 64))
    found, valid = 0.6 * truth * rng.normal(1, 0.03, truth.shape), rng.random(truth.shape) < 0.9
    whole = report(found, truth, valid)
    assert fidelity(found, truth, valid) == (whole.psnr, whole.density_error)


def test_low_frequency_bias_sees_a_ramp_and_neither_noise_nor_scale() -> None:
    truth = np.full((400, 400), 0.7)
    noise = truth * (1.3 + np.random.default_rng(0).normal(0, 0.05, truth.shape))
    assert low_frequency_bias(noise, truth, truth > 0) < 1e-3
    ramp = truth * (1 + 0.1 * np.linspace(-1, 1, 400))
    bias = low_frequency_bias(ramp, truth, truth > 0)
    assert bias == pytest.approx(
        gaussian_filter(0.1 * np.tile(np.linspace(-1, 1, 400), (400, 1)), 150, truncate=6).std(), rel=1e-3
    )


def test_an_honest_error_bar_covers_what_it_promises() -> None:
    rng = np.random.default_rng(0)
    sigma = rng.uniform(0.01, 0.1, (96, 96))
    found = 1 + sigma * rng.standard_normal((96, 96))
    truth = np.ones((96, 96))
    assert coverage(found, truth, sigma, ALL) == pytest.approx(0.9, abs=0.01)
    assert coverage(found, truth, sigma, ALL, level=0.5) == pytest.approx(0.5, abs=0.02)
    assert coverage(found, truth, 0.5 * sigma, ALL) < 0.7
    curve = risk_coverage(found, truth, sigma, ALL)
    assert curve.shape == (20, 2) and curve[-1, 0] == 1
    assert curve[-1, 1] == pytest.approx(np.sqrt(((found - truth) ** 2).mean()))
    assert (np.diff(curve[:, 1]) > 0).mean() > 0.9
    assert risk_coverage(found, truth, -sigma, ALL)[0, 1] > curve[-1, 1]
