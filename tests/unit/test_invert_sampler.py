r"""The sampler run backwards, against denoisers that are known exactly."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from relume.diffusion import (
    NOISE_SAMPLERS,
    RESIDUAL_SAMPLERS,
    LogSNR,
    Mix,
    Step,
    Table,
    begin,
    cosine,
    gaussian_noise,
    guided,
    linear,
    mixture_denoiser,
    residual_shift,
    sample,
    scaled_linear,
)
from relume.errors import UsageError
from relume.invert import (
    anderson,
    edit,
    fixed_point,
    forward_step,
    gradient,
    invert_sampler,
    naive_inversion,
)
from relume.invert.chain import unroll
from relume.invert.inversion import relative

SCHEDULE = scaled_linear(1000)
DETERMINISTIC = [name for name, build in NOISE_SAMPLERS.items() if not build(SCHEDULE, 4).stochastic]
STOCHASTIC = [name for name in NOISE_SAMPLERS if name not in DETERMINISTIC]
EXACT = 1e-15


def mixture(seed=0, components=5, dimensions=16, schedule=SCHEDULE):
    rng = np.random.default_rng(seed)
    means = rng.standard_normal((components, dimensions))
    denoise = mixture_denoiser(schedule, means, np.full(components, 0.3**2))
    return denoise, rng.standard_normal((1, dimensions))


def decibels(found, truth):
    return 20 * math.log10(relative(found - truth, truth) + 1e-300)


def bent(x, t, condition):
    """A denoiser that depends on everything, in operations that numpy and torch share."""
    return (0.3 + t) * x / (1 + x * x) + 0.2 * condition + 0.1 * x


# The equation of each step.


@pytest.mark.parametrize("name", [*NOISE_SAMPLERS, *RESIDUAL_SAMPLERS])
@pytest.mark.parametrize("steps", [1, 2, 4, 13])
def test_the_links_walk_the_states_of_the_sampler(name, steps):
    noisy = name in NOISE_SAMPLERS
    schedule = linear() if noisy else residual_shift(15)
    table = NOISE_SAMPLERS[name](schedule, steps) if noisy else RESIDUAL_SAMPLERS[name](schedule, steps)
    noise, y = gaussian_noise(3, (6,), dtype=np.float64), np.linspace(0, 1, 6)
    states = [begin(table, y=y, noise=noise)]
    answers = []

    def keep(k, x, x0):
        states.append(x)
        answers.append(x0)

    sample(table, bent, states[0], condition=0.5, y=y, noise=noise, callback=keep)
    for k, link in enumerate(unroll(table, schedule)):
        made = link.state * states[k] + link.y * y + sum(weight * noise(i) for i, weight in link.noise)
        made = made + sum(weight * answers[k - i] for i, weight in enumerate(link.answers))
        np.testing.assert_allclose(made, states[k + 1], rtol=0, atol=1e-11)
        # An answer that does not change must lead to the next level exactly.
        if noisy and not link.noise:
            assert link.state * link.source.alpha + link.lead == pytest.approx(link.target.alpha)
            assert link.state * link.source.sigma == pytest.approx(link.target.sigma)


def test_a_table_with_two_free_states_is_refused():
    rows = (Step(t=1.0, x=Mix(data=(1.0,))), Step(t=0.5, base=Mix(base=1.0), x=Mix(base=0.5, data=(0.5,))))
    with pytest.raises(UsageError, match="single state"):
        unroll(Table(name="forked", start=Mix(noise=1.0), steps=rows, order=1), linear())


# Round trips.


@pytest.mark.parametrize("steps", [10, 50])
@pytest.mark.parametrize("solver", [forward_step, fixed_point, anderson])
def test_ddim_is_inverted_to_rounding(steps, solver):
    denoise, noise = mixture()
    table = NOISE_SAMPLERS["ddim"](SCHEDULE, steps)
    picture = sample(table, denoise, noise)
    found = invert_sampler(table, SCHEDULE, denoise, picture, solver=solver, tolerance=1e-13)
    assert found.converged and relative(found.x - noise, noise) < 1e-11
    naive = naive_inversion(table, SCHEDULE, denoise, picture)
    assert not naive.converged and relative(naive.x - noise, noise) > 0.05


@pytest.mark.parametrize("spacing", ["time", "log-snr"])
def test_every_sweep_brings_a_second_order_run_nearer(spacing):
    denoise, noise = mixture()
    table = NOISE_SAMPLERS["dpm++2m"](SCHEDULE, 10, spacing=spacing)
    picture = sample(table, denoise, noise)
    levels = []
    for sweeps in (0, 1, 2, 4, 8):
        found = invert_sampler(
            table, SCHEDULE, denoise, picture, refine=fixed_point, sweeps=sweeps, tolerance=EXACT
        )
        assert found.sweeps == sweeps
        levels.append(decibels(found.x, noise))
    assert levels == sorted(levels, reverse=True)
    accelerated = invert_sampler(table, SCHEDULE, denoise, picture, sweeps=8, tolerance=EXACT)
    if spacing == "time":
        assert levels[0] < -50 and levels[-1] < -200
    assert decibels(accelerated.x, noise) < levels[-1] - 30
    assert decibels(naive_inversion(table, SCHEDULE, denoise, picture).x, noise) > -20


@pytest.mark.parametrize("name", DETERMINISTIC)
@pytest.mark.parametrize("schedule", [cosine(), LogSNR(-4.0, 4.0), LogSNR(-3.0, 3.0, clean=False)])
def test_every_deterministic_sampler_is_inverted_on_schedules_of_every_kind(name, schedule):
    rng = np.random.default_rng(4)
    denoise = mixture_denoiser(schedule, rng.standard_normal((3, 8)), [0.1, 0.3, 0.5])
    noise = rng.standard_normal((4, 8))
    table = NOISE_SAMPLERS[name](schedule, 12)
    picture = sample(table, denoise, noise)
    found = invert_sampler(table, schedule, denoise, picture, sweeps=40, tolerance=1e-10)
    assert found.converged and relative(found.x - noise, noise) < 1e-8
    assert len(found.states) == table.evaluations == len(found.misses)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_a_stochastic_sampler_is_inverted_for_known_noise(name):
    denoise, start = mixture()
    noise = gaussian_noise(5, start.shape, dtype=np.float64)
    table = NOISE_SAMPLERS[name](SCHEDULE, 20)
    picture = sample(table, denoise, start, noise=noise)
    found = invert_sampler(table, SCHEDULE, denoise, picture, noise=noise, sweeps=40, tolerance=1e-11)
    assert found.converged and relative(found.x - start, start) < 1e-6
    with pytest.raises(UsageError, match="known noise"):
        invert_sampler(table, SCHEDULE, denoise, picture)


@pytest.mark.parametrize("name", RESIDUAL_SAMPLERS)
def test_the_residual_shift_is_inverted(name):
    schedule = residual_shift(4)
    table = RESIDUAL_SAMPLERS[name](schedule, 4)
    y = np.random.default_rng(0).uniform(size=(2, 3, 8, 8))
    noise = gaussian_noise(1, y.shape, dtype=np.float64)
    start = begin(table, y=y, noise=noise)

    def denoise(x, t, condition):
        # The posterior mean for pixels N(1/2, 1/8²), given the state alone.
        eta = schedule.sqrt_eta[round(t * 4) - 1] ** 2
        spread = (1 - eta) ** 2 / 64
        return 0.5 + (1 - eta) / 64 / (spread + eta) * np.tanh(x - eta * condition - (1 - eta) / 2)

    picture = sample(table, denoise, start, condition=y, y=y, noise=noise)
    found = invert_sampler(table, schedule, denoise, picture, condition=y, y=y, noise=noise, tolerance=1e-12)
    assert found.converged and relative(found.x - start, start) < 1e-6
    if name == "residual-shift-deterministic":
        with pytest.raises(UsageError, match="'y'"):
            invert_sampler(table, schedule, denoise, picture, condition=y, noise=noise)


def contraction(seed, size=24):
    """x + a small tanh perceptron, of norm 0.9 at most: numpy and torch share it."""
    rng = np.random.default_rng(seed)
    layers = [rng.standard_normal((size, size)) for _ in range(2)]
    return [layer / np.linalg.norm(layer, 2) for layer in layers]


@pytest.mark.parametrize("name", ["ddim", "dpm++2m", "unipc"])
def test_a_perceptron_is_inverted_in_numpy_and_torch_alike(name):
    inner, outer = contraction(0)
    schedule = LogSNR(-4.0, 2.0, clean=False)
    table = NOISE_SAMPLERS[name](schedule, 10)
    noise = np.random.default_rng(1).standard_normal((2, 24))
    weights = [torch.from_numpy(each) for each in (inner, outer)]

    def denoise(x, t, condition):
        return 0.9 * np.tanh(x @ inner) @ outer

    def denoise_torch(x, t, condition):
        return 0.9 * torch.tanh(x @ weights[0]) @ weights[1]

    picture = sample(table, denoise, noise)
    found = invert_sampler(table, schedule, denoise, picture, tolerance=1e-11)
    theirs = invert_sampler(table, schedule, denoise_torch, torch.from_numpy(picture), tolerance=1e-11)
    assert found.converged and theirs.converged
    assert relative(found.x - noise, noise) < 1e-8 and isinstance(theirs.x, torch.Tensor)
    np.testing.assert_allclose(theirs.x.numpy(), found.x, rtol=0, atol=1e-7)
    assert not theirs.x.requires_grad


def test_gradient_descent_solves_the_same_equations():
    inner, outer = (torch.from_numpy(each) for each in contraction(0, 6))
    schedule = LogSNR(-2.0, 2.0, clean=False)
    table = NOISE_SAMPLERS["ddim"](schedule, 3)

    def denoise(x, t, condition):
        return 0.9 * torch.tanh(x @ inner) @ outer

    noise = torch.from_numpy(np.random.default_rng(1).standard_normal((1, 6)))
    picture = sample(table, denoise, noise)
    solver = partial(gradient, rate=0.05)
    found = invert_sampler(table, schedule, denoise, picture, solver=solver, tolerance=1e-2, iterations=400)
    assert found.converged and relative(found.x - noise, noise) < 0.1


def test_single_precision_ends_at_its_own_rounding():
    denoise, noise = mixture()
    table = NOISE_SAMPLERS["dpm++2m"](SCHEDULE, 10, spacing="time")

    def single(x, t, condition):
        return denoise(x, t, condition).astype(np.float32)

    picture = sample(table, single, noise.astype(np.float32))
    found = invert_sampler(table, SCHEDULE, single, picture, tolerance=1e-5)
    assert found.converged and found.x.dtype == np.float32 and decibels(found.x, noise) < -80


# What may be said.


def test_the_residual_is_what_the_sampler_makes_of_the_result():
    denoise, noise = mixture(1)
    for name, sweeps in (("ddim", 0), ("dpm++2m", 0), ("dpm++2m", 3), ("unipc", 5)):
        table = NOISE_SAMPLERS[name](SCHEDULE, 10)
        picture = sample(table, denoise, noise)
        for tolerance in (1e-2, 1e-6, 0.0):
            found = invert_sampler(table, SCHEDULE, denoise, picture, sweeps=sweeps, tolerance=tolerance)
            again = relative(sample(table, denoise, found.x) - picture, picture)
            assert found.residual == pytest.approx(again, rel=1e-9)
            assert found.converged == (again <= tolerance)


def test_a_picture_that_the_sampler_cannot_make_is_not_inverted():
    denoise, noise = mixture()
    table = NOISE_SAMPLERS["ddim"](SCHEDULE, 10)

    def clipped(x, t, condition):
        return denoise(x, t, condition).clip(-0.5, 0.5)

    found = invert_sampler(table, SCHEDULE, clipped, 3.0 * np.ones((1, 16)))
    assert not found.converged and found.residual > 0.5

    broken = invert_sampler(table, SCHEDULE, lambda x, t, c: x * np.nan, noise)
    assert not broken.converged and math.isinf(broken.residual)


def test_iterations_count_every_evaluation_of_the_network():
    denoise, noise = mixture()
    for name in ("ddim", "dpm++2m"):
        table = NOISE_SAMPLERS[name](SCHEDULE, 10)
        picture = sample(table, denoise, noise)
        seen = []

        def counted(x, t, condition, seen=seen):
            seen.append(t)
            return denoise(x, t, condition)

        found = invert_sampler(table, SCHEDULE, counted, picture, tolerance=1e-8)
        assert found.converged and found.iterations == len(seen)
        seen.clear()
        assert naive_inversion(table, SCHEDULE, counted, picture).iterations == len(seen) == 20


def test_what_a_fixed_point_cannot_invert_the_forward_step_can():
    # With ε(x) = -c x the ε-form's fixed point has the factor -3 at each step.
    schedule = LogSNR(-2.0, 2.0, clean=False)
    table = NOISE_SAMPLERS["ddim"](schedule, 8)
    links = unroll(table, schedule)
    slope = {
        link.source.t: 3.0 * (link.state + link.lead / link.source.alpha) * link.source.alpha
        / (link.lead * link.source.sigma)
        for link in links
    }  # fmt: skip

    def denoise(x, t, condition):
        level = schedule.at_time(t)
        return (x + level.sigma * slope[t] * x) / level.alpha

    noise = np.random.default_rng(0).standard_normal((1, 8))
    picture = sample(table, denoise, noise)
    run = partial(invert_sampler, table, schedule, denoise, picture, tolerance=1e-10, iterations=300)
    assert not run(solver=fixed_point).converged
    # The slope is 4, so the cocoercivity is 1/4, and steps below 1/2 converge.
    assert run(solver=partial(fixed_point, step=0.45)).converged
    assert not run(solver=partial(fixed_point, step=0.55)).converged
    assert run(solver=partial(forward_step, step=0.45)).converged
    found = run(solver=forward_step)
    assert found.converged and relative(found.x - noise, noise) < 1e-9


def test_the_fixed_point_of_the_x0_form_is_another_step_length():
    schedule = LogSNR(-3.0, 3.0, clean=False)
    denoise, noise = mixture(schedule=schedule)
    table = NOISE_SAMPLERS["ddim"](schedule, 5)
    picture = sample(table, denoise, noise)
    run = partial(invert_sampler, table, schedule, denoise, picture, solver=fixed_point, tolerance=1e-10)
    # x ← (x_t - d D(x))/a diverges, x ← (x_t + σ d/α ε(x))/(a + d/α) does not, and both have one solution.
    assert run(form="eps").converged and not run(form="x0").converged
    by_steps = run(form="x0", solver=forward_step)
    assert by_steps.converged and relative(by_steps.x - noise, noise) < 1e-7
    with pytest.raises(UsageError, match="eps"):
        invert_sampler(NOISE_SAMPLERS["ddim"](SCHEDULE, 4), SCHEDULE, denoise, picture, form="x0")


# Guidance.


@pytest.mark.parametrize("scale", [1.0, 3.0, 7.5])
def test_every_step_is_solved_under_guidance(scale):
    denoise, noise = mixture(0, components=2)
    steered = guided(denoise, scale)
    table = NOISE_SAMPLERS["ddim"](SCHEDULE, 20)
    picture = sample(table, steered, noise, condition=[1, 0])
    found = invert_sampler(table, SCHEDULE, steered, picture, condition=[1, 0], tolerance=1e-11)
    assert found.converged and max(found.misses) < 1e-12
    assert relative(found.x - noise, noise) < 1e-8
    high = NOISE_SAMPLERS["dpm++2m"](SCHEDULE, 20)
    picture = sample(high, steered, noise, condition=[1, 0])
    found = invert_sampler(high, SCHEDULE, steered, picture, condition=[1, 0], tolerance=1e-10)
    assert found.converged and relative(found.x - noise, noise) < 1e-7


# Editing.


def hard(schedule, spacing):
    """Seven steps of 2M, guided to the narrowest of three components."""
    rng = np.random.default_rng(100)
    denoise = mixture_denoiser(schedule, rng.standard_normal((3, 16)), [0.04, 0.09, 0.25])
    table, noise = NOISE_SAMPLERS["dpm++2m"](schedule, 7, spacing=spacing), rng.standard_normal((1, 16))
    run = (table, schedule, guided(denoise, 3.0))
    picture = sample(table, run[2], noise, condition=[1, 0, 0])
    return partial(invert_sampler, *run, picture), partial(naive_inversion, *run, picture), noise


def test_where_quick_sweeps_fail_sure_ones_follow():
    invert, _, noise = hard(SCHEDULE, "log-snr")
    given = {"condition": [1, 0, 0], "tolerance": 1e-8}
    once, found = invert(refine=anderson, **given), invert(**given)
    assert not once.converged and once.sweeps <= 20
    assert found.converged and found.sweeps > 20 and decibels(found.x, noise) < -140


def test_no_result_is_worse_than_the_naive_one():
    invert, naive, _ = hard(cosine(1000), "karras")
    guess = naive(condition=[1, 0, 0])
    alone, found = (invert(condition=[1, 0, 0], **given) for given in ({"refine": anderson}, {}))
    assert alone.residual > guess.residual >= found.residual and not found.converged


@pytest.mark.parametrize("name", ["ddim", "dpm++2m", "dpm++2s", "unipc", "dpm++sde2m"])
def test_an_edit_changes_nothing_outside_of_its_mask(name):
    denoise, start = mixture(0, components=2)
    noise = gaussian_noise(2, start.shape, dtype=np.float64)
    table = NOISE_SAMPLERS[name](SCHEDULE, 20)
    given = {"condition": [1, 0], "noise": noise}
    picture = sample(table, denoise, start, **given)
    mask = (np.arange(16) < 5).astype(float)
    change = {"instead": [0, 1], "mask": mask, **given}
    exact = invert_sampler(table, SCHEDULE, denoise, picture, tolerance=1e-10, sweeps=40, **given)
    naive = naive_inversion(table, SCHEDULE, denoise, picture, **given)
    edited, roughly = (edit(table, denoise, found, **change) - picture for found in (exact, naive))
    assert exact.converged and np.abs(edited[:, 5:]).max() < 1e-8
    assert np.abs(edited[:, :5]).max() > 0.3
    assert np.abs(roughly[:, 5:]).max() > 100 * np.abs(edited[:, 5:]).max()
    # With the whole mask it is the sampler under the other condition, without any the picture itself.
    everywhere = edit(table, denoise, exact, **{**change, "mask": 1.0})
    anew = sample(table, denoise, exact.x, condition=[0, 1], noise=noise)
    assert np.abs((anew - picture)[:, 5:]).max() > 0.3
    np.testing.assert_allclose(everywhere, anew, atol=1e-12)
    np.testing.assert_allclose(edit(table, denoise, exact, **{**change, "mask": 0.0}), picture, atol=1e-8)


def test_guidance_is_a_line_through_two_answers():
    denoise, noise = mixture(0, components=2)
    one, other = denoise(noise, 0.5, [1, 0]), denoise(noise, 0.5, [0, 1])
    for scale in (0.0, 1.0, 2.5):
        steered = guided(denoise, scale, unconditional=[0, 1])
        np.testing.assert_allclose(steered(noise, 0.5, [1, 0]), other + scale * (one - other), atol=1e-12)
    assert guided(denoise, 1.0) is denoise
    with pytest.raises(UsageError, match="negative"):
        guided(denoise, -1.0)


def test_the_exact_denoiser_is_the_posterior_mean():
    # Against the integral over x₀ in one dimension.
    denoise = mixture_denoiser(SCHEDULE, [[-1.0], [0.5]], [0.04, 0.3])
    x0 = np.linspace(-8, 8, 20_001)
    for t in (0.1, 0.5, 0.9):
        level = SCHEDULE.at_time(t)
        for x in (-1.3, 0.2):
            prior = 0.25 * np.exp(-((x0 + 1) ** 2) / 0.08) / 0.2 + 0.75 * np.exp(
                -((x0 - 0.5) ** 2) / 0.6
            ) / math.sqrt(0.3)
            weight = prior * np.exp(-((x - level.alpha * x0) ** 2) / (2 * level.sigma**2))
            expected = float((weight * x0).sum() / weight.sum())
            assert denoise(np.array([x]), t, [0.25, 0.75]).item() == pytest.approx(expected, abs=1e-6)
