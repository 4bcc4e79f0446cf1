"""Detail brought back: the transform is exact, flat places stay flat, and lost sharpness is found again."""

import numpy as np
import pytest

from relume.bench import psnr
from relume.bench.spectrum import gradient_energy
from relume.tasks.calibrate import fit_detail
from relume.tasks.detail import BANDS, Detail, amplify, features, starlet


def texture(seed: int, side: int = 64) -> np.ndarray:
    """Smooth shapes and fine texture of a strength that differs from picture to picture."""
    rng = np.random.default_rng(seed)
    field = rng.standard_normal((side, side, 1)).astype(np.float32)
    details, _ = starlet(field)
    rough, _ = starlet(rng.standard_normal((side, side, 1)).astype(np.float32), 5)
    mixed = 0.1 * details[1] + 0.6 * rough[4] + 0.05 * rng.uniform(0.7, 1) * details[0]
    return np.clip(0.5 + mixed, 0, 1).astype(np.float32).repeat(3, axis=2)


def softened(picture: np.ndarray) -> np.ndarray:
    return picture - np.float32(0.6) * starlet(picture, 1)[0][0]


@pytest.fixture(scope="module")
def learned() -> Detail:
    return fit_detail([(softened(t), t, t) for t in map(texture, range(24))])


@pytest.mark.parametrize("shape", [(40, 37, 3), (5, 9, 1), (1, 1, 3), (16, 16)])
def test_starlet_adds_up_to_the_picture(shape: tuple[int, ...]) -> None:
    picture = np.random.default_rng(0).random(shape, dtype=np.float32)
    details, left = starlet(picture)
    assert len(details) == BANDS
    assert np.abs(sum(details) + left - picture).max() < 1e-6


def test_starlet_details_of_a_flat_picture_are_none() -> None:
    details, left = starlet(np.full((32, 32, 3), 0.3, np.float32))
    assert max(np.abs(d).max() for d in details) < 1e-6 and np.abs(left - 0.3).max() < 1e-6


def test_no_amount_changes_nothing(learned: Detail) -> None:
    picture = texture(99)
    assert amplify(picture, picture, learned, 0.0) is picture


def test_lost_sharpness_comes_back_on_unseen_pictures(learned: Detail) -> None:
    before, after, errors = [], [], []
    for truth in map(texture, range(50, 74)):
        soft = softened(truth)
        sharp = np.clip(amplify(soft, truth, learned), 0, 1)
        before.append(gradient_energy(soft, truth))
        after.append(gradient_energy(sharp, truth))
        errors.append(psnr(sharp, truth) - psnr(soft, truth))
    assert np.mean(before) < 0.7
    assert abs(np.mean(after) - 1) < 0.15
    assert np.mean(errors) > 0  # this softening was linear, so that sharpening mends it


def test_sharpness_grows_with_the_amount(learned: Detail) -> None:
    truth = texture(70)
    soft = softened(truth)
    energy = [gradient_energy(amplify(soft, truth, learned, a), truth) for a in (0.0, 0.3, 0.6, 1.0)]
    assert energy == sorted(energy) and energy[-1] > energy[0]


def test_what_restoring_left_alone_stays_as_it_is(learned: Detail) -> None:
    picture = texture(74)
    assert np.abs(amplify(picture, picture, learned) - picture).max() < 1e-6


def test_a_flat_sky_stays_flat_and_damage_is_left_alone(learned: Detail) -> None:
    rng = np.random.default_rng(3)
    sky = np.full((64, 64, 3), 0.6, np.float32)
    noisy = np.clip(sky + 0.1 * rng.standard_normal(sky.shape), 0, 1).astype(np.float32)
    assert np.abs(amplify(sky, noisy, learned) - sky).max() < 1e-6
    soft = softened(texture(71))
    everywhere = np.ones(soft.shape[:2], np.float32)
    assert np.abs(amplify(soft, texture(71), learned, 1.0, everywhere) - soft).max() < 1e-6


def test_grey_stays_grey_and_gains_are_bounded(learned: Detail) -> None:
    soft = softened(texture(72))
    out = amplify(soft, texture(72), learned)
    assert np.abs(out - out.mean(axis=2, keepdims=True)).max() < 1e-6
    extreme = Detail(np.full((BANDS, features(soft, soft).shape[2]), 1e3, np.float32))
    gains = extreme.gains(soft, soft)
    assert np.isfinite(gains).all() and gains.min() >= 1 and gains.max() <= 4.001


def test_reading_a_card_gives_the_same_gains(learned: Detail) -> None:
    again = Detail.from_card(learned.weights.tolist())
    soft = softened(texture(73))
    assert np.array_equal(again.gains(soft, soft), learned.gains(soft, soft))
