r"""Schedules, grids and parametrisations."""

import math

import numpy as np
import pytest

from relume.diffusion import (
    CLEAN,
    NOISE_SAMPLERS,
    PARAMETRIZATIONS,
    SCHEDULES,
    Discrete,
    LogSNR,
    ResidualShift,
    begin,
    cosine,
    denoiser,
    gaussian_noise,
    linear,
    predictor,
    residual_shift,
    sample,
    scaled_linear,
    target,
)
from relume.diffusion.schedules import SPACINGS
from relume.errors import UsageError

# Golden values.


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (
            residual_shift(15, smallest=0.04),
            "02 1172 1763 2336 2916 3510 4124 4759 5417 6099 6807 7540 8300 9086 99",
        ),
        (residual_shift(4), "1 5201 7614 99"),
        (residual_shift(2), "1 99"),
        (residual_shift(1), "99"),
    ],
)
def test_residual_shift_levels_are_the_golden_ones(schedule, expected):
    np.testing.assert_allclose(schedule.sqrt_eta, [float("." + d) for d in expected.split()], atol=1e-4)


def test_linear_reaches_noise_at_any_size_and_the_plain_one_does_not():
    betas = linear(300).betas
    assert (betas[0], betas[-1]) == pytest.approx((1e-4 / 0.3, 2e-2 / 0.3), rel=1e-12)
    np.testing.assert_allclose(linear(1000).betas, np.linspace(1e-4, 2e-2, 1000), rtol=1e-12)
    assert linear(1000).alphas[-1] ** 2 == pytest.approx(4.0358e-5, rel=1e-4)
    assert all(linear(size).alphas[-1] ** 2 < 5e-5 for size in (50, 300, 1000))
    assert Discrete(tuple(np.linspace(1e-4, 2e-2, 300).tolist())).alphas[-1] ** 2 == pytest.approx(
        0.05, abs=0.003
    )


def test_cosine_and_scaled_linear_follow_their_formulas():
    t, s = np.arange(1, 100) / 100, 0.008
    expected = np.cos((t + s) / (1 + s) * np.pi / 2) ** 2 / np.cos(s / (1 + s) * np.pi / 2) ** 2
    np.testing.assert_allclose(cosine(100).alphas[:-1] ** 2, expected, rtol=1e-10)
    betas = scaled_linear(1000).betas
    assert (betas[0], betas[-1]) == pytest.approx((8.5e-4, 1.2e-2), rel=1e-12)


# Levels and grids.

EVERY = [*(make(300) for make in SCHEDULES.values()), LogSNR(-4, 6)]


@pytest.mark.parametrize("schedule", EVERY)
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [1, 2, 7, 10, 11, 250, 300])
def test_a_grid_falls_from_noise_to_the_clean_picture(schedule, spacing, steps):
    levels = schedule.levels(steps, spacing=spacing)
    assert len(levels) == steps + 1 and levels[-1] == CLEAN
    # LogSNR evaluates at t = 0, too: there the clean picture is the answer, not a time.
    assert np.all(np.diff([level.t for level in levels[:-1]]) < 0)
    assert np.all(np.diff([level.log_snr for level in levels[:-1]]) > 0)
    assert levels[0].t > 0.99 and levels[0].alpha < 0.07  # scaled-linear is known to stop short of noise
    assert all(level.alpha**2 + level.sigma**2 == pytest.approx(1, abs=1e-12) for level in levels)


@pytest.mark.parametrize("schedule", EVERY)
def test_time_and_log_snr_are_two_names_of_one_level(schedule):
    for t in (1.0, 0.7513, 0.5, 0.01):
        there = schedule.at_time(t)
        back = schedule.at_log_snr(there.log_snr)
        assert (back.t, back.alpha, back.sigma) == pytest.approx((t, there.alpha, there.sigma), abs=1e-9)


def test_the_discrete_levels_stand_at_i_over_size():
    schedule = linear(300)
    assert schedule.levels(300) == (*(schedule.level(i) for i in range(300, 0, -1)), CLEAN)
    assert schedule.at_time(150 / 300) == schedule.level(150)
    assert [round(level.t * 300) for level in schedule.levels(20, spacing="time")[:3]] == [300, 285, 270]


def test_karras_is_even_in_the_seventh_root():
    levels = linear().levels(9, spacing="karras")[:-1]
    root = [(level.sigma / level.alpha) ** (1 / 7) for level in levels]
    np.testing.assert_allclose(np.diff(root), root[1] - root[0], rtol=1e-9)


def test_residual_levels_may_be_skipped():
    assert [level.t for level in residual_shift(4).levels(2)] == [1.0, 0.5, 0.0]
    assert [level.t for level in residual_shift(4).levels(1)] == [1.0, 0.0]
    assert [level.t for level in residual_shift(4).levels(4)] == [1.0, 0.75, 0.5, 0.25, 0.0]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: linear(10), "beta"),
        (lambda: linear(300).at_time(0.001), "outside"),
        (lambda: linear(300).at_log_snr(50.0), "outside"),
        (lambda: linear(300).levels(5, spacing="odd"), "karras"),
        (lambda: LogSNR(1.0, -1.0), "log-SNR"),
        (lambda: ResidualShift((0.5, 0.4)), "rise"),
        (lambda: ResidualShift((0.5, 1.4)), "rise"),
        (lambda: ResidualShift((0.5,), kappa=-1.0), "kappa"),
        (lambda: denoiser(lambda x, t, c: x, linear(), predicts="noise"), "x0"),
    ],
)
def test_nonsense_is_refused(call, words):
    with pytest.raises(UsageError, match=words):
        call()


# Parametrisations.


def curve(x, t, condition):
    return np.tanh(x * (0.5 + t)) * 0.7 + 0.1 * condition


@pytest.mark.parametrize("schedule", [linear(), LogSNR(-3, 4)])
@pytest.mark.parametrize("name", NOISE_SAMPLERS)
def test_every_parametrisation_walks_the_same_path(schedule, name):
    table = NOISE_SAMPLERS[name](schedule, 10)
    noise = gaussian_noise(3, (4, 5), dtype=np.float64)
    condition = noise(99)
    paths = {}
    for predicts in PARAMETRIZATIONS:
        net = predictor(curve, schedule, predicts=predicts)
        states = paths[predicts] = []

        def look(k, x, x0, states=states):
            states.append(x)

        denoise = denoiser(net, schedule, predicts=predicts)
        sample(table, denoise, begin(table, noise=noise), condition=condition, noise=noise, callback=look)
    for predicts in ("eps", "v"):
        np.testing.assert_allclose(paths[predicts], paths["x0"], rtol=0, atol=1e-10)


@pytest.mark.parametrize("predicts", PARAMETRIZATIONS)
def test_the_target_of_training_is_what_the_denoiser_undoes(predicts):
    schedule = linear()
    x0, eps = np.random.default_rng(0).standard_normal((2, 6))
    for t in (1.0, 0.5, 1 / 300):
        level = schedule.at_time(t)
        answer = target(predicts, x0, eps, level.alpha, level.sigma)
        noisy = level.alpha * x0 + level.sigma * eps
        denoise = denoiser(lambda x, t, c, answer=answer: answer, schedule, predicts=predicts)
        np.testing.assert_allclose(denoise(noisy, t, None), x0, atol=1e-11)


def test_clipping_is_off_unless_asked_for():
    schedule, wild = linear(), np.array([-3.0, 0.5, 2.0])
    assert np.array_equal(denoiser(lambda x, t, c: wild, schedule, predicts="x0")(wild, 1.0, None), wild)
    held = denoiser(lambda x, t, c: wild, schedule, predicts="x0", clip=1.0)(wild, 1.0, None)
    assert held.tolist() == [-1.0, 0.5, 1.0]


def test_a_noise_prediction_is_ill_conditioned_at_the_noisy_end_and_a_velocity_is_not():
    schedule = linear()
    level = schedule.at_time(1.0)
    slip = {
        predicts: abs(PARAMETRIZATIONS[predicts].to_x0(0.0, 1e-3, level.alpha, level.sigma))
        for predicts in ("eps", "v")
    }
    assert slip["eps"] == pytest.approx(1e-3 * math.exp(-level.log_snr), rel=1e-9) and slip["eps"] > 0.15
    assert slip["v"] <= 1e-3
