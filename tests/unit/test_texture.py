r"""What a denoiser erased comes back where it was texture, and nowhere else."""

import numpy as np
import pytest

from relume.tasks.texture import given_back

Picture = np.ndarray


def noisy(shape: tuple[int, int], sigma: float = 0.04) -> tuple[Picture, Picture]:
    """A ramp with noise all over, and the ramp: what a denoiser made of it."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0.2, 0.8, shape[1], dtype=np.float32)[None, :, None] * np.ones((*shape, 3), np.float32)
    return (ramp + sigma * rng.standard_normal((*shape, 3))).astype(np.float32), ramp.astype(np.float32)


@pytest.fixture
def meadow() -> tuple[Picture, Picture, Picture]:
    """Before, after, truth: grass in a quarter of a noisy picture that a denoiser took for noise."""
    before, after = noisy((320, 400), 0.02)
    grass = np.zeros_like(before)
    grass[160:, 200:] = 0.15 * np.sign(np.random.default_rng(1).standard_normal((160, 200, 1)))
    return before + grass, after, after + grass


def test_noise_that_lies_all_over_stays_taken_away() -> None:
    for sigma in (0.01, 0.04, 0.1):
        before, after = noisy((300, 260), sigma)
        made = given_back(before, after.copy(), np.zeros(before.shape[:2], np.float32))
        np.testing.assert_array_equal(made, after)


def test_erased_texture_comes_back_and_the_rest_stays(meadow: tuple[Picture, Picture, Picture]) -> None:
    before, after, truth = meadow
    made = given_back(before, after.copy(), np.zeros(before.shape[:2], np.float32))
    inside, outside = np.s_[200:300, 240:380], np.s_[:120, :160]
    np.testing.assert_array_equal(made[outside], after[outside])
    left = [np.sqrt(np.mean((each[inside] - truth[inside]) ** 2)) for each in (after, made)]
    assert left[0] > 0.14 and left[1] < 0.4 * left[0]


def test_where_damage_was_found_the_net_has_its_way(meadow: tuple[Picture, Picture, Picture]) -> None:
    before, after, _ = meadow
    found = np.zeros(before.shape[:2], np.float32)
    found[150:, 190:] = 0.9
    np.testing.assert_array_equal(given_back(before, after.copy(), found)[160:, 200:], after[160:, 200:])


def test_marks_that_are_thin_or_few_stay_mended() -> None:
    before, after = noisy((320, 400), 0.02)
    before[:, 100:103] = 0.95  # a scratch
    dice = np.random.default_rng(2).random((320, 400))
    before[dice < 0.02], before[dice > 0.98] = 0, 1  # salt and pepper
    made = given_back(before, after.copy(), np.zeros(before.shape[:2], np.float32))
    np.testing.assert_array_equal(made, after)


@pytest.mark.parametrize("shape", [(1, 1), (40, 500), (67, 131), (513, 70), (1030, 66)])
def test_any_size(shape: tuple[int, int]) -> None:
    before, after = noisy(shape)
    made = given_back(before, after.copy(), np.zeros(shape, np.float32))
    assert made.shape == after.shape and made.dtype == np.float32
    np.testing.assert_array_equal(given_back(after, after.copy(), np.zeros(shape, np.float32)), after)
