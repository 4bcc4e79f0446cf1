r"""Every sampler in the list: what its table promises, it does."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from relume.diffusion import (
    NOISE_SAMPLERS,
    RESIDUAL_SAMPLERS,
    SAMPLERS,
    LogSNR,
    ResidualShift,
    Table,
    begin,
    cosine,
    gaussian_noise,
    linear,
    mixture_denoiser,
    residual_shift,
    sample,
    scaled_linear,
)
from relume.errors import UsageError

EVERY = pytest.mark.parametrize("name", SAMPLERS)
SHAPE = (2, 3, 4)


def tables(name: str, steps: int) -> list[Table]:
    """The sampler on every kind of schedule that it walks."""
    if name in NOISE_SAMPLERS:
        return [NOISE_SAMPLERS[name](s, steps) for s in (linear(), cosine(), scaled_linear(), LogSNR())]
    sizes = [size for size in (1, 2, 4, 15) if size >= steps]
    return [RESIDUAL_SAMPLERS[name](residual_shift(size), steps) for size in sizes]


def bent(x, t, condition):
    """A denoiser that depends on everything, in operations that numpy and torch share."""
    return (0.3 + t) * x * x / (1 + x * x) + 0.2 * condition + 0.1 * x


@EVERY
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 12])
def test_an_oracle_leads_to_the_clean_picture(name, steps):
    x0, y = np.random.default_rng(0).standard_normal((2, *SHAPE))
    noise = gaussian_noise(1, SHAPE, dtype=np.float64)
    for table in tables(name, steps):
        x = begin(table, y=y, noise=noise)
        out = sample(table, lambda x, t, condition: x0, x, y=y, noise=noise)
        np.testing.assert_allclose(out, x0, rtol=0, atol=1e-10)


@EVERY
def test_declared_evaluations_and_times_are_the_real_ones(name):
    for table in tables(name, 4):
        times = []

        def denoise(x, t, condition, times=times):
            times.append(t)
            return x * 0.5

        noise = gaussian_noise(1, SHAPE)
        sample(table, denoise, begin(table, y=np.ones(SHAPE), noise=noise), y=np.ones(SHAPE), noise=noise)
        assert len(times) == table.evaluations >= 4
        assert all(0 <= t <= 1 for t in times) and times == sorted(times, reverse=True)


@EVERY
def test_a_table_is_stochastic_exactly_when_it_says_so(name):
    table = tables(name, 4)[0]
    y = np.zeros(SHAPE)
    ends = [
        sample(table, bent, np.ones(SHAPE), condition=y, y=y, noise=gaussian_noise(s, SHAPE)) for s in (1, 2)
    ]
    assert (not np.array_equal(*ends)) == table.stochastic


@EVERY
def test_numpy_and_torch_agree(name):
    table = tables(name, 4)[0]
    y, c = np.random.default_rng(5).standard_normal((2, *SHAPE))
    noise = gaussian_noise(7, SHAPE, dtype=np.float64)

    def as_torch(k):
        return torch.from_numpy(noise(k))

    ours = sample(table, bent, begin(table, y=y, noise=noise), condition=c, y=y, noise=noise)
    yt, ct = torch.from_numpy(y), torch.from_numpy(c)
    theirs = sample(table, bent, begin(table, y=yt, noise=as_torch), condition=ct, y=yt, noise=as_torch)
    assert isinstance(theirs, torch.Tensor)
    np.testing.assert_allclose(theirs.numpy(), ours, rtol=0, atol=1e-12)


@EVERY
def test_single_precision_stays_single(name):
    y = np.zeros(SHAPE, np.float32)
    noise = gaussian_noise(7, SHAPE)
    for table in tables(name, 4):
        out = sample(table, bent, begin(table, y=y, noise=noise), condition=y, y=y, noise=noise)
        assert out.dtype == np.float32


@EVERY
def test_a_picture_does_not_know_its_batch(name):
    table = tables(name, 4)[0]
    ys = np.random.default_rng(5).standard_normal((3, *SHAPE)).astype(np.float32)

    def run(seeds, y):
        noise = gaussian_noise(seeds, SHAPE)
        return sample(table, bent, begin(table, y=y, noise=noise), condition=y, y=y, noise=noise)

    assert np.array_equal(run([3, 7, 9], ys)[1], run([7], ys[1:2])[0])
    assert not np.array_equal(run([3, 7, 9], ys)[1], run([8], ys[1:2])[0])


@EVERY
@pytest.mark.parametrize("steps", [0, -1, 301])
def test_impossible_steps_are_refused(name, steps):
    schedule = linear(300) if name in NOISE_SAMPLERS else residual_shift(4)
    with pytest.raises(UsageError, match="steps"):
        SAMPLERS[name](schedule, steps)


# Declared order = measured order.


@dataclass(frozen=True)
class Graded(LogSNR):
    """An even grid whose first interval is halved towards its start, so that no start-up error is left."""

    def levels(self, steps, *, spacing="auto"):
        even = super().levels(steps, spacing=spacing)
        h = even[1].log_snr - even[0].log_snr
        extra = [self.at_log_snr(self.first + h * 2.0**-k) for k in range(12, 0, -1)]
        return (even[0], *extra, *even[1:])


class Mixture:
    """Eight Gaussians in eight dimensions; their exact denoiser, and the exact end of the flow."""

    def __init__(self, schedule: LogSNR) -> None:
        rng = np.random.default_rng(3)
        means = 0.5 * rng.standard_normal((8, 8))
        self.denoise = mixture_denoiser(schedule, means, rng.uniform(0.1, 0.4, 8))
        self.schedule = schedule
        self.x = rng.standard_normal((4, 8))
        self.end = self._end()

    def _end(self):
        # d(x/σ)/dλ = e^λ D, by another integrator.
        first, last = (self.schedule.at_time(t) for t in (1.0, 0.0))

        def flow(value, u):
            level = self.schedule.at_log_snr(value)
            return math.exp(value) * self.denoise(u.reshape(4, 8) * level.sigma, level.t, None).ravel()

        span = (self.schedule.first, self.schedule.last)
        found = solve_ivp(flow, span, self.x.ravel() / first.sigma, method="DOP853", rtol=1e-10, atol=1e-9)
        return found.y[:, -1].reshape(4, 8) * last.sigma


@pytest.fixture(scope="module")
def mixture():
    return Mixture(LogSNR(-3.0, 4.0, clean=False))


def flow_error(name, steps, mixture):
    table = NOISE_SAMPLERS[name](Graded(-3.0, 4.0, clean=False), steps)
    return float(np.abs(sample(table, mixture.denoise, mixture.x) - mixture.end).max())


def variance_error(name, steps):
    """Of Gaussian data, exactly: a state is the row of its weights over all the independent noises."""
    schedule, data = LogSNR(-3.0, 4.0, clean=False), 0.3
    table = NOISE_SAMPLERS[name](schedule, steps)

    def denoise(x, t, condition):
        level = schedule.at_time(t)
        return level.alpha * data / (level.alpha**2 * data + level.sigma**2) * x

    noises = np.eye(steps + 1)
    first, last = schedule.at_time(1.0), schedule.at_time(0.0)
    x = math.sqrt(first.alpha**2 * data + first.sigma**2) * noises[0]
    end = sample(table, denoise, x, noise=noises)
    return abs(float(end @ end) - (last.alpha**2 * data + last.sigma**2))


def residual_error(name, steps):
    """Of a Gaussian posterior given y: the state is (mean, weights over the noises)."""
    etas = np.linspace(0.1, 0.99, steps)
    schedule = ResidualShift(tuple(etas.tolist()), kappa=0.7)
    table = RESIDUAL_SAMPLERS[name](schedule, steps)
    variance, basis = 0.5, np.eye(steps + 2)
    center, y = 0.4 * basis[0], 1.3 * basis[0]

    def moments(eta):
        return (1 - eta) * center + eta * y, (1 - eta) ** 2 * variance + schedule.kappa**2 * eta

    def denoise(x, t, condition):
        eta = etas[round(t * steps) - 1] ** 2
        mean, spread = moments(eta)
        return center + (1 - eta) * variance / spread * (x - mean)

    mean, spread = moments(etas[-1] ** 2)
    end = sample(table, denoise, mean + math.sqrt(spread) * basis[1], y=y, noise=basis[1:])
    eta = etas[0] ** 2
    expected = ((1 - eta) * variance) ** 2 / moments(eta)[1]
    return abs(end[0] - 0.4) + abs(float(end[1:] @ end[1:]) - expected)


@EVERY
def test_declared_order_is_the_measured_order(name, mixture):
    grid = (20, 40, 80)
    if name in RESIDUAL_SAMPLERS:
        grid = (100, 200, 400)
        errors, table = [residual_error(name, n) for n in grid], tables(name, 4)[0]
    else:
        table = NOISE_SAMPLERS[name](linear(), 4)
        grid = (100, 200, 400) if table.stochastic else grid
        errors = [variance_error(name, n) if table.stochastic else flow_error(name, n, mixture) for n in grid]
    measured = math.log(errors[-2] / errors[-1], 2)
    assert measured == pytest.approx(table.order, abs=0.2), errors


def test_the_third_order_term_that_is_widely_copied_is_second_order(mixture, monkeypatch):
    monkeypatch.setattr("relume.diffusion.dpm_solver_pp.THIRD_ORDER_TERM", 1.0)
    errors = [flow_error("dpm++3m", n, mixture) for n in (40, 80)]
    assert math.log(errors[0] / errors[1], 2) == pytest.approx(2.0, abs=0.2)


def test_a_weight_that_is_not_a_plain_finite_float_is_refused():
    table = tables("ddim", 2)[0]
    for weight in (math.nan, math.inf, np.float64(1.0)):
        with pytest.raises(UsageError, match="finite"):
            replace(table, start=replace(table.start, noise=weight))


def test_what_a_table_needs_it_asks_for():
    noisy, shifted = tables("ddpm", 4)[0], tables("residual-shift-deterministic", 2)[0]
    with pytest.raises(UsageError, match="noise"):
        begin(noisy)
    with pytest.raises(UsageError, match="noise"):
        sample(noisy, bent, np.ones(SHAPE), condition=0.0)
    with pytest.raises(UsageError, match="'y'"):
        sample(shifted, bent, np.ones(SHAPE), condition=0.0)
