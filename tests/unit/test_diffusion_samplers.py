r"""What single samplers promise beyond the contract: Bayes, identities, statistics."""

import math
from itertools import pairwise

import numpy as np
import pytest

from relume.diffusion import (
    LogSNR,
    NoiseSchedule,
    ResidualShift,
    begin,
    cosine,
    ddim,
    ddpm,
    dpm_1,
    dpm_2m,
    dpm_3m,
    dpm_sde_1,
    gaussian_noise,
    linear,
    residual_shift,
    residual_shift_deterministic,
    residual_shift_posterior,
    sample,
    unipc,
)
from relume.diffusion.exponential import tail
from relume.errors import UsageError

NOISE_SCHEDULES = [linear(), cosine(), LogSNR()]


def rows(table):
    """A table of one-state steps as a matrix: base, newest answer, y, noise."""
    return np.array([(m.base, m.data[0], m.y, m.noise) for m in (step.x for step in table.steps)])


def run_to_end(table, denoise, **given):
    states = []
    sample(table, denoise, callback=lambda k, x, x0: states.append(x), **given)
    return np.array(states)


# Noise samplers.


@pytest.mark.parametrize("schedule", NOISE_SCHEDULES)
@pytest.mark.parametrize("steps", [4, 30, 300])
def test_the_ancestral_step_is_the_posterior_of_bayes(schedule: NoiseSchedule, steps):
    # A Gaussian joint of (x_s, x_t) given x0 is its two marginals and one covariance: the step must keep all.
    levels = schedule.levels(steps)
    for (s, t), (a, c, _, noise) in zip(pairwise(levels), rows(ddpm(schedule, steps)), strict=True):
        assert a * s.alpha + c == pytest.approx(t.alpha, abs=1e-10)
        assert a**2 * s.sigma**2 + noise**2 == pytest.approx(t.sigma**2, abs=1e-10)
        assert a * s.sigma**2 == pytest.approx(s.alpha / t.alpha * t.sigma**2, abs=1e-10)


def test_three_hundred_steps_are_the_original_ones():
    # x ← (x - β/√(1-ᾱ) ε)/√(1-β) + √β̃ z, with β̃ = β (1-ᾱ′)/(1-ᾱ).
    schedule = linear(300)
    beta, bar = np.array(schedule.betas), np.cumprod(1 - np.array(schedule.betas))
    noise = gaussian_noise(5, (6,), dtype=np.float64)
    table = ddpm(schedule, 300)
    x = begin(table, noise=noise)

    def eps(x, i):
        return np.tanh(x) * i / 300

    def denoise(x, t, condition):
        i = round(t * 300)
        return (x - math.sqrt(1 - bar[i - 1]) * eps(x, i)) / math.sqrt(bar[i - 1])

    ours = run_to_end(table, denoise, x=x, noise=noise)
    for k, i in enumerate(range(300, 0, -1), start=1):
        previous = bar[i - 2] if i > 1 else 1.0
        spread = math.sqrt(beta[i - 1] * (1 - previous) / (1 - bar[i - 1]))
        x = (x - beta[i - 1] / math.sqrt(1 - bar[i - 1]) * eps(x, i)) / math.sqrt(1 - beta[i - 1])
        x = x + spread * noise(k) if i > 1 else x
        np.testing.assert_allclose(ours[k - 1], x, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("schedule", NOISE_SCHEDULES)
@pytest.mark.parametrize("steps", [5, 50, 300])
def test_three_names_of_the_ancestral_sampler_and_two_of_the_deterministic_one(schedule, steps):
    np.testing.assert_allclose(rows(ddim(schedule, steps, eta=1.0)), rows(ddpm(schedule, steps)), atol=1e-9)
    np.testing.assert_allclose(rows(dpm_sde_1(schedule, steps)), rows(ddpm(schedule, steps)), atol=1e-9)
    np.testing.assert_allclose(rows(dpm_1(schedule, steps)), rows(ddim(schedule, steps)), atol=1e-12)
    assert not np.allclose(rows(ddim(schedule, steps, eta=0.5)), rows(ddpm(schedule, steps)), atol=1e-3)


def test_a_line_and_a_parabola_of_answers_are_integrated_exactly():
    # x_t = σ_t/σ_s x_s + σ_t ∫ e^λ D dλ, with D a polynomial of λ of the degree that the method follows.
    schedule = LogSNR(-2.0, 2.0, clean=False)
    levels = schedule.levels(5)
    for table, degree in ((dpm_2m(schedule, 5, lower_order_final=False), 1),
                          (dpm_3m(schedule, 5, lower_order_final=False), 2)):  # fmt: skip
        for k in range(3, 5):
            s, t = levels[k], levels[k + 1]
            nodes, weights = np.polynomial.legendre.leggauss(20)
            value = (s.log_snr + t.log_snr) / 2 + (t.log_snr - s.log_snr) / 2 * nodes
            integral = (t.log_snr - s.log_snr) / 2 * float(weights @ (np.exp(value) * value**degree))
            mix = table.steps[k].x
            found = sum(c * levels[k - i].log_snr ** degree for i, c in enumerate(mix.data))
            if degree == 2:
                assert found == pytest.approx(t.sigma * integral, abs=1e-12)
            else:
                # The published 2M keeps one factor for both terms: exact up to the next order only.
                assert found == pytest.approx(t.sigma * integral, abs=0.2 * (t.log_snr - s.log_snr) ** 3)
            assert mix.base == pytest.approx(t.sigma / s.sigma)


@pytest.mark.parametrize(("p", "corrector"), [(1, True), (1, False), (2, False), (3, True)])
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
def test_unipc_has_the_order_that_it_declares(p, corrector, variant):
    # For one Gaussian the flow is known in closed form.
    schedule, data = LogSNR(-3.0, 4.0, clean=False), 0.3

    def spread(level):
        return math.sqrt(level.alpha**2 * data + level.sigma**2)

    def denoise(x, t, condition):
        level = schedule.at_time(t)
        return level.alpha * data / spread(level) ** 2 * (x - level.alpha) + 1.0

    def start(level):
        return level.alpha + 1.7 * spread(level)

    first, last = schedule.at_time(1.0), schedule.at_time(0.0)
    errors, tables = [], []
    for steps in (80, 160):
        tables.append(unipc(schedule, steps, p=p, corrector=corrector, variant=variant))
        errors.append(abs(sample(tables[-1], denoise, start(first)) - start(last)))
    assert tables[0].order == (p + 1 if corrector else p)
    assert math.log2(errors[0] / errors[1]) == pytest.approx(tables[0].order, abs=0.2), errors


def test_the_corrector_is_free():
    assert unipc(linear(), 10).evaluations == unipc(linear(), 10, corrector=False).evaluations == 10
    assert all(step.base.x == 1.0 for step in unipc(linear(), 10, corrector=False).steps)
    assert all(step.base.x == 0.0 for step in unipc(linear(), 10).steps[1:])


@pytest.mark.parametrize("k", [0, 1, 2, 3])
@pytest.mark.parametrize("z", [-1e-9, -1e-4, -0.3, -0.999, -1.001, -7.0, -40.0])
def test_tails_of_the_exponential(z, k):
    # Σ z^j/(j+k)! as the integral z ∫ e^{z(1-u)} u^k/k! du.
    nodes, weights = np.polynomial.legendre.leggauss(60)
    u = (nodes + 1) / 2
    expected = z * float(weights / 2 @ (np.exp(z * (1 - u)) * u**k)) / math.factorial(k)
    assert tail(z, k) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("spread", [0.3, 1.0])
@pytest.mark.parametrize("build", [dpm_2m, unipc])
@pytest.mark.parametrize(("steps", "slack"), [(10, 0.11), (20, 0.03), (50, 0.005)])
def test_gaussian_data_keeps_its_variance(build, steps, slack, spread):
    schedule = linear()

    def denoise(x, t, condition):
        level = schedule.at_time(t)
        return level.alpha * spread**2 / (level.alpha**2 * spread**2 + level.sigma**2) * x

    assert sample(build(schedule, steps), denoise, 1.0) ** 2 == pytest.approx(spread**2, rel=slack)


def test_options_out_of_range_are_refused():
    for call in (
        lambda: ddim(linear(), 5, eta=1.5),
        lambda: gaussian_noise(-1, (2,)),
        lambda: unipc(linear(), 5, p=4),
        lambda: unipc(linear(), 5, variant="bh3"),
        lambda: residual_shift_posterior(residual_shift(), 2, kappa=-0.5),
    ):
        with pytest.raises(UsageError):
            call()


# Residual shift.

SHIFTS = [residual_shift(4), residual_shift(15, smallest=0.04, kappa=2.0), residual_shift(4, kappa=0.0)]


@pytest.mark.parametrize("schedule", SHIFTS)
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_residual_step_is_the_posterior_of_bayes(schedule: ResidualShift, steps):
    # Given x0 and y the marginals are N(x0 + η (y - x0), κ² η), with covariance κ² η_s between s and t.
    k2 = schedule.kappa**2
    table = residual_shift_posterior(schedule, steps)
    for (t, s), (a, c, y, noise) in zip(pairwise(schedule.levels(steps)), rows(table), strict=True):
        assert (a * (1 - t.eta) + c, a * t.eta + y) == pytest.approx((1 - s.eta, s.eta), abs=1e-12)
        assert a**2 * k2 * t.eta + noise**2 == pytest.approx(k2 * s.eta, abs=1e-12)
        assert a * k2 * t.eta == pytest.approx(k2 * s.eta, abs=1e-12)


@pytest.mark.parametrize("schedule", SHIFTS)
def test_the_deterministic_chain_is_exact_when_the_answer_is(schedule):
    x0, y, z = np.random.default_rng(2).standard_normal((3, 5))
    levels = schedule.levels(4)
    expected = [x0 + s.eta * (y - x0) + schedule.kappa * math.sqrt(s.eta) * z for s in levels]
    table = residual_shift_deterministic(schedule, 4)
    states = run_to_end(table, lambda x, t, condition: x0, x=expected[0], y=y)
    np.testing.assert_allclose(states, expected[1:], atol=1e-12)


def test_the_start_is_the_damaged_picture_and_fidelity_mode_adds_nothing():
    y, noise = np.full((2, 2), 0.5), gaussian_noise(1, (2, 2), dtype=np.float64)
    for build in (residual_shift_posterior, residual_shift_deterministic):
        faithful = build(residual_shift(4), 4, kappa=0.0)
        assert np.array_equal(begin(faithful, y=y), y) and not faithful.stochastic
        np.testing.assert_allclose(begin(build(residual_shift(4), 4), y=y, noise=noise), y + 0.99 * noise(0))


class Toy:
    """x0 ~ N(0, s²), y = x0 + n: a picture is its weights over (x0/s, n/τ, z₀, z₁, …), so MSE is exact."""

    def __init__(self, steps: int) -> None:
        self.noises = np.eye(steps + 3)
        self.s2, self.tau2 = 1.0, 0.5
        self.x0 = math.sqrt(self.s2) * self.noises[0]
        self.y = self.x0 + math.sqrt(self.tau2) * self.noises[1]
        self.mmse = 1 / (1 / self.s2 + 1 / self.tau2)
        self.noise = self.noises[2:]

    def answer(self, sight, precision):
        """E[x0 | y, sight], where ``sight`` is x0 seen with the given precision."""
        total = 1 / self.mmse + precision
        return (self.y / self.tau2 + precision * sight) / total

    def error(self, picture):
        return float(((picture - self.x0) ** 2).sum())


def shifted(toy, schedule):
    def denoise(x, t, condition):
        eta = schedule.sqrt_eta[round(t * schedule.size) - 1] ** 2
        if eta == 1.0:
            return toy.answer(0.0, 0.0)
        return toy.answer((x - eta * toy.y) / (1 - eta), (1 - eta) ** 2 / (schedule.kappa**2 * eta))

    return denoise


@pytest.mark.parametrize("last", [0.99, 1.0])
def test_one_step_reaches_the_least_mean_square_error(last):
    schedule, toy = residual_shift(1, last=last), Toy(1)
    for table in (residual_shift_posterior(schedule, 1), residual_shift_deterministic(schedule, 1)):
        end = sample(table, shifted(toy, schedule), begin(table, y=toy.y, noise=toy.noise), y=toy.y)
        assert toy.error(end) == pytest.approx(toy.mmse, rel=1e-3 if last < 1 else 1e-12)


def test_a_posterior_sampler_pays_twice_the_least_mean_square_error():
    steps = 300
    schedule, toy = ResidualShift(tuple(np.linspace(0.01, 1.0, steps).tolist())), Toy(steps)
    for build in (residual_shift_posterior, residual_shift_deterministic):
        table = build(schedule, steps)
        x = begin(table, y=toy.y, noise=toy.noise)
        end = sample(table, shifted(toy, schedule), x, y=toy.y, noise=toy.noise)
        assert toy.error(end) == pytest.approx(2 * toy.mmse, rel=0.02), build


@pytest.mark.parametrize("build", [ddpm, ddim, dpm_2m])
def test_a_noise_sampler_pays_it_too(build):
    schedule, toy = linear(300), Toy(300)

    def denoise(x, t, condition):
        level = schedule.at_time(t)
        return toy.answer(x / level.alpha, (level.alpha / level.sigma) ** 2)

    table = build(schedule, 300)
    end = sample(table, denoise, begin(table, noise=toy.noise), noise=toy.noise)
    assert toy.error(end) == pytest.approx(2 * toy.mmse, rel=0.03)


def test_few_steps_lie_between_the_mean_and_a_sample():
    # More steps buy variety with error: the price list that --steps stands for.
    toy, errors = Toy(4), []
    for steps in (1, 2, 4):
        schedule = residual_shift(4)
        table = residual_shift_posterior(schedule, steps)
        x = begin(table, y=toy.y, noise=toy.noise)
        errors.append(toy.error(sample(table, shifted(toy, schedule), x, y=toy.y, noise=toy.noise)))
    assert toy.mmse * 0.999 < errors[0] < errors[1] < errors[2] < 2 * toy.mmse


def test_noise_is_seeded_standard_and_fresh_at_every_step():
    noise = gaussian_noise(11, (64, 64), dtype=np.float64)
    assert np.array_equal(noise(3), gaussian_noise(11, (64, 64), dtype=np.float64)(3))
    draws = np.array([noise(k).ravel() for k in range(5)] + [gaussian_noise(12, (64, 64))(0).ravel()])
    np.testing.assert_allclose(draws @ draws.T / 4096, np.eye(6), atol=0.1)
