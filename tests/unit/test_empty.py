r"""Parts where nothing stands in the light: found by their agreement, and made even."""

import numpy as np
import pytest

from relume.background import evened
from relume.background.empty import densest

N = 256
Y, X = (np.mgrid[:N, :N] * 2 + 1) / N - 1
LIGHT = np.exp(0.3 * X - 0.2 * Y**2)
SLOPE = np.exp(0.01 * X - 0.008 * Y + 0.006 * X * Y)


def blobs(count: int, seed: int = 0, depth: float = 0.5) -> np.ndarray:
    """T of discs, a tenth of the image wide at most."""
    rng, t = np.random.default_rng(seed), np.ones((N, N))
    for y, x, r in zip(
        rng.uniform(-1, 1, count), rng.uniform(-1, 1, count), rng.uniform(0.03, 0.1, count), strict=True
    ):
        t[np.hypot(Y - y, X - x) < r] *= 1 - depth
    return t


def counts(t: np.ndarray, level: float = 5000.0, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).poisson(level * LIGHT * t).astype(np.float64)


def slow(field: np.ndarray, where: np.ndarray | bool = True) -> float:
    """How uneven ln B is against the light."""
    return float(np.std((np.log(field) - np.log(LIGHT))[np.broadcast_to(where, LIGHT.shape)]))


@pytest.mark.parametrize("count", [0, 12, 40])
def test_what_is_uneven_where_nothing_is_goes(count: int) -> None:
    estimate = LIGHT * SLOPE
    found = evened(counts(blobs(count)), estimate)
    assert slow(found) < 0.2 * slow(estimate)
    assert np.median(found) == pytest.approx(1)
    np.testing.assert_allclose(evened(7 * counts(blobs(count)), 3 * estimate), found, rtol=1e-9)


def test_a_good_estimate_stays_good() -> None:
    assert slow(evened(counts(blobs(20)), LIGHT)) < 0.002


def test_a_sample_that_fills_the_image_keeps_its_own_slopes() -> None:
    """It is bright nowhere alike."""
    far = np.hypot(np.fft.fftfreq(N)[:, None], np.fft.fftfreq(N))
    for seed in range(6):
        noise = np.fft.fft2(np.random.default_rng(seed).standard_normal((N, N)))
        sample = np.fft.ifft2(noise / np.maximum(far, 1 / N) ** 1.3).real
        sample = np.exp(0.1 * sample / sample.std() - 0.5)
        estimate = LIGHT * SLOPE
        np.testing.assert_array_equal(evened(counts(sample), estimate), estimate)


def test_steps_of_a_wedge_are_no_slope_of_the_light() -> None:
    steps = np.exp(-0.2 * np.floor(4 * (X + 1)))
    np.testing.assert_array_equal(evened(counts(steps), LIGHT), LIGHT)


@pytest.mark.parametrize("depth", [0.02, 0.03, 0.05])
def test_a_faint_slab_with_a_sharp_edge_is_no_slope_of_the_light(depth: float) -> None:
    for edge in (-0.4, 0.0, 0.3, 0.6):
        slab = np.where(edge > X, 1.0, 1 - depth)
        assert slow(evened(counts(slab), LIGHT)) < 0.005


def test_a_lens_with_an_empty_rim_is_kept() -> None:
    lens = 1 - 0.05 * np.maximum(0, 1 - (X**2 + Y**2) / 0.64)
    assert slow(evened(counts(lens), LIGHT)) < 0.003


def test_dark_corners_holes_and_hot_pixels_say_nothing() -> None:
    corner, estimate = np.hypot(X, Y) > 1.2, LIGHT * SLOPE
    image, vignetted = counts(blobs(12)), np.where(corner, 0.05, 1.0) * estimate
    image[corner] *= 0.3  # and not 0.05: what is seen there is stray light
    image[::37, ::41] = 60_000
    whole = evened(image, vignetted)
    assert slow(whole, ~corner) < 0.25 * slow(estimate, ~corner)
    image[100:130, 60:90] = np.nan
    holed = evened(image, vignetted)
    assert np.isfinite(holed).all()
    np.testing.assert_allclose(holed, whole, rtol=3e-3)


@pytest.mark.parametrize("shape", [(256, 64), (5, 300), (3, 3), (64, 500)])
def test_any_shape_is_taken(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).poisson(1000, shape).astype(np.float64)
    found = evened(image, np.ones(shape))
    assert found.shape == shape and np.abs(np.log(found)).max() < 0.02


def test_the_densest_part_of_a_mixture_is_the_part_that_agrees() -> None:
    rng = np.random.default_rng(0)
    agreeing, other = rng.normal(3.0, 0.01, 500), rng.uniform(2.0, 3.0, 500)
    middle, sigma = densest(np.concatenate([other, agreeing]))
    assert abs(middle - 3.0) < 0.003 and 0.008 < sigma < 0.03
    assert densest(np.full(9, 1.5)) == (1.5, pytest.approx(0.003))
    assert densest(np.array([2.0])) == (2.0, pytest.approx(0.003))
