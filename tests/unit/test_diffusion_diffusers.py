r"""The same trajectories as the schedulers of ``diffusers``, where those are right."""

import numpy as np
import pytest
import torch

from relume.diffusion import (
    ddim,
    ddpm,
    dpm_1,
    dpm_2m,
    dpm_sde_1,
    dpm_sde_2m,
    linear,
    sample,
    unipc,
)

schedulers = pytest.importorskip("diffusers.schedulers")

SIZE = 300
SCHEDULE = linear(SIZE)
COMMON = {"num_train_timesteps": SIZE, "trained_betas": list(SCHEDULE.betas), "prediction_type": "sample"}
GRID = {**COMMON, "timestep_spacing": "trailing"}
SOLVER = {**GRID, "final_sigmas_type": "zero"}
# Even in time, dividing T: the one grid on which all of them have the same times.
STEPS = [12, 20, 50]


def denoise(x, t, condition=None):
    return torch.tanh(x * (1.2 - t)) * 0.8 + 0.1


def theirs(scheduler, steps, x, noise, named_noise):
    """The states of their loop; noise[k] is for after evaluation k, as in ours."""
    scheduler.set_timesteps(steps)
    states = []
    for timestep, fresh in zip(scheduler.timesteps, noise[1:], strict=True):
        extra = {"variance_noise": fresh} if named_noise else {}
        x = scheduler.step(denoise(x, (int(timestep) + 1) / SIZE), timestep, x, **extra).prev_sample
        states.append(x)
    return torch.stack(states).numpy()


def compare(table, scheduler, steps, *, named_noise=False, until=None):
    noise = torch.randn(steps + 1, 4, 5, generator=torch.Generator().manual_seed(steps), dtype=torch.float64)
    ours = []
    sample(table, denoise, noise[0], noise=noise, callback=lambda k, x, x0: ours.append(x))
    expected = theirs(scheduler, steps, noise[0], noise, named_noise)
    np.testing.assert_allclose(torch.stack(ours).numpy()[:until], expected[:until], rtol=0, atol=1e-5)


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_ddim(steps, eta):
    class Fixed(schedulers.DDIMScheduler):
        def step(self, answer, timestep, x, **extra):
            return super().step(answer, timestep, x, eta=eta, **extra)

    scheduler = Fixed(**GRID, clip_sample=False, set_alpha_to_one=True)
    compare(ddim(SCHEDULE, steps, spacing="time", eta=eta), scheduler, steps, named_noise=True)


@pytest.mark.parametrize("steps", [20, 300])
def test_ddpm(steps):
    scheduler = schedulers.DDPMScheduler(**GRID, clip_sample=False, variance_type="fixed_small")
    scheduler.set_timesteps(steps)
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    generator, noise = torch.Generator().manual_seed(9), torch.Generator().manual_seed(9)
    fresh = [torch.randn(4, 5, generator=noise, dtype=torch.float64) for _ in range(steps)]
    found = sample(ddpm(SCHEDULE, steps, spacing="time"), denoise, x, noise=lambda k: fresh[k - 1])
    for timestep in scheduler.timesteps:
        answer = denoise(x, (int(timestep) + 1) / SIZE)
        x = scheduler.step(answer, timestep, x, generator=generator).prev_sample
    np.testing.assert_allclose(found.numpy(), x.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize(("build", "order"), [(dpm_1, 1), (dpm_2m, 2)])
def test_dpm_solver_pp(steps, build, order):
    scheduler = schedulers.DPMSolverMultistepScheduler(**SOLVER, solver_order=order)
    compare(build(SCHEDULE, steps, spacing="time"), scheduler, steps)


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize(("build", "order"), [(dpm_sde_1, 1), (dpm_sde_2m, 2)])
def test_sde_dpm_solver_pp(steps, build, order):
    scheduler = schedulers.DPMSolverMultistepScheduler(
        **SOLVER, solver_order=order, algorithm_type="sde-dpmsolver++", lower_order_final=False
    )
    compare(build(SCHEDULE, steps, spacing="time"), scheduler, steps, named_noise=True)


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("p", [1, 2, 3])
def test_unipc(steps, variant, p):
    scheduler = schedulers.UniPCMultistepScheduler(**SOLVER, solver_order=p, solver_type=variant)
    # Theirs is not a number on bh1's step into the clean picture (0 · ∞), and lowers the order at the end of
    # long runs, too.
    until = None if variant == "bh2" and (p < 3 or steps < 15) else -1 if steps < 15 else -2
    compare(unipc(SCHEDULE, steps, spacing="time", p=p, variant=variant), scheduler, steps, until=until)
