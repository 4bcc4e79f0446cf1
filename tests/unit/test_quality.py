r"""The ruler against another ruler, and what it must not see."""

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from relume.bench import psnr, ssim, tone_aligned
from relume.errors import UsageError


def pair(channels: int, noise: float, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:50, 0:61] / 60
    truth = np.stack([columns, rows, 0.5 + 0.4 * np.sin(20 * rows * columns)], axis=-1)[..., :channels]
    picture = np.clip(truth + noise * rng.standard_normal(truth.shape), 0, 1)
    return picture.astype(np.float32), truth.astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("noise", [0.004, 0.05, 0.4])
def test_psnr_and_ssim_agree_with_scikit_image(channels: int, noise: float) -> None:
    picture, truth = pair(channels, noise)
    assert psnr(picture, truth) == pytest.approx(
        peak_signal_noise_ratio(truth, picture, data_range=1), abs=1e-4
    )
    theirs = structural_similarity(
        truth.astype(np.float64),
        picture.astype(np.float64),
        data_range=1,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert ssim(picture, truth) == pytest.approx(theirs, abs=1e-6)


def test_equal_pictures() -> None:
    truth = pair(3, 0)[1]
    assert psnr(truth, truth) == float("inf")
    assert ssim(truth, truth) == pytest.approx(1, abs=1e-12)


def test_both_are_symmetric_and_fall_with_noise() -> None:
    pairs = [pair(3, noise) for noise in (0.01, 0.05, 0.2)]
    for measure in (psnr, ssim):
        values = [measure(*p) for p in pairs]
        assert values == sorted(values, reverse=True)
        for p in pairs:
            assert measure(*p) == pytest.approx(measure(*reversed(p)), rel=1e-12)


def test_ten_times_the_error_is_twenty_decibels() -> None:
    truth = np.full((16, 16, 3), 0.5)
    assert psnr(truth + 0.001, truth) - psnr(truth + 0.01, truth) == pytest.approx(20)


@pytest.mark.parametrize("measure", [psnr, ssim, tone_aligned])
def test_shapes_that_would_broadcast_are_refused(measure: object) -> None:
    picture, truth = pair(3, 0.1)
    with pytest.raises(UsageError, match="shapes"):
        measure(picture[..., :1], truth)  # type: ignore[operator]


def test_ssim_needs_its_window() -> None:
    with pytest.raises(UsageError, match="11"):
        ssim(np.zeros((10, 40, 3), np.float32), np.zeros((10, 40, 3), np.float32))
    assert ssim(np.zeros((11, 11, 1), np.float32), np.zeros((11, 11, 1), np.float32)) == pytest.approx(1)


def test_alignment_takes_away_gain_and_offset() -> None:
    truth = 0.2 + 0.6 * pair(3, 0)[1]
    gain, offset = np.array([0.5, 0.8, 0.3]), np.array([0.1, -0.05, 0.4])
    faded = (truth * gain + offset).astype(np.float32)
    assert psnr(faded, truth) < 20
    np.testing.assert_allclose(tone_aligned(faded, truth), truth, atol=1e-5)


def test_what_differs_after_alignment_does_not_depend_on_the_tone_before() -> None:
    picture, truth = pair(3, 0.05)
    picture, truth = 0.3 + 0.4 * picture, 0.3 + 0.4 * truth
    base = tone_aligned(picture, truth)
    other = tone_aligned((picture * np.array([0.4, 0.9, 0.6]) + 0.05).astype(np.float32), truth)
    np.testing.assert_allclose(other, base, atol=1e-5)
    assert np.abs(base - truth).mean() > 0.002  # noise is no tone: it stays


def test_alignment_never_makes_worse_and_is_the_least_squares_fit() -> None:
    picture, truth = pair(3, 0.3, seed=2)
    aligned = tone_aligned(picture, truth)
    assert psnr(aligned, truth) >= psnr(picture, truth)
    for c in range(3):
        gain, offset = np.polyfit(picture[..., c].ravel(), truth[..., c].ravel(), 1)
        np.testing.assert_allclose(aligned[..., c], np.clip(gain * picture[..., c] + offset, 0, 1), atol=1e-4)


def test_a_flat_picture_is_aligned_to_the_mean() -> None:
    truth = pair(3, 0)[1]
    aligned = tone_aligned(np.full_like(truth, 0.5), truth)
    np.testing.assert_allclose(
        aligned, np.broadcast_to(truth.mean((0, 1), np.float64), truth.shape), atol=1e-6
    )
