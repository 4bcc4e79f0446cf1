r"""Diffusion: a schedule → a sampler as a table of floats → one loop, for numpy and torch alike.

.. code-block:: python

    table = SAMPLERS["dpm++2m"](linear(300), 20)
    x = begin(table, noise=noise)
    picture = sample(table, denoiser(net, linear(300), predicts="eps"), x, condition=y, noise=noise)

A sampler is a function ``build(schedule, steps) -> Table``, listed in :data:`SAMPLERS`; its own options are
keyword-only. Those in :data:`NOISE_SAMPLERS` start from pure noise and walk a :class:`NoiseSchedule`
(pictures in [-1,1]); those in :data:`RESIDUAL_SAMPLERS` start from the damaged picture and walk a
:class:`ResidualShift` (pictures in [0,1]).
"""

__all__ = [
    "CLEAN",
    "Denoise",
    "Discrete",
    "Level",
    "LogSNR",
    "Mix",
    "NOISE_SAMPLERS",
    "Noise",
    "NoiseSchedule",
    "PARAMETRIZATIONS",
    "RESIDUAL_SAMPLERS",
    "ResidualShift",
    "SAMPLERS",
    "SCHEDULES",
    "Step",
    "Table",
    "Walk",
    "begin",
    "cosine",
    "ddim",
    "ddpm",
    "denoiser",
    "dpm_1",
    "dpm_2m",
    "dpm_2s",
    "dpm_3m",
    "dpm_sde_1",
    "dpm_sde_2m",
    "gaussian_noise",
    "guided",
    "linear",
    "mixture_denoiser",
    "predictor",
    "residual_shift",
    "residual_shift_deterministic",
    "residual_shift_posterior",
    "sample",
    "scaled_linear",
    "target",
    "unipc",
]

from collections.abc import Callable
from typing import Protocol

from relume.diffusion.ddim import ddim
from relume.diffusion.ddpm import ddpm
from relume.diffusion.dpm_solver_pp import dpm_1, dpm_2m, dpm_2s, dpm_3m, dpm_sde_1, dpm_sde_2m
from relume.diffusion.guidance import guided
from relume.diffusion.loop import Denoise, Noise, Walk, begin, gaussian_noise, sample
from relume.diffusion.mixture import mixture_denoiser
from relume.diffusion.parametrize import PARAMETRIZATIONS, denoiser, predictor, target
from relume.diffusion.residual_shift import residual_shift_deterministic, residual_shift_posterior
from relume.diffusion.schedules import (
    CLEAN,
    Discrete,
    Level,
    LogSNR,
    NoiseSchedule,
    ResidualShift,
    Spacing,
    cosine,
    linear,
    residual_shift,
    scaled_linear,
)
from relume.diffusion.table import Mix, Step, Table
from relume.diffusion.unipc import unipc


class _BuildNoise(Protocol):
    def __call__(self, schedule: NoiseSchedule, steps: int, *, spacing: Spacing = "auto") -> Table: ...


class _BuildResidual(Protocol):
    def __call__(self, schedule: ResidualShift, steps: int, *, kappa: float | None = None) -> Table: ...


SCHEDULES: dict[str, Callable[[int], Discrete]] = {
    "linear": linear,
    "cosine": cosine,
    "scaled-linear": scaled_linear,
}

NOISE_SAMPLERS: dict[str, _BuildNoise] = {
    "ddpm": ddpm,
    "ddim": ddim,
    "dpm++1": dpm_1,
    "dpm++2s": dpm_2s,
    "dpm++2m": dpm_2m,
    "dpm++3m": dpm_3m,
    "dpm++sde1": dpm_sde_1,
    "dpm++sde2m": dpm_sde_2m,
    "unipc": unipc,
}

RESIDUAL_SAMPLERS: dict[str, _BuildResidual] = {
    "residual-shift": residual_shift_posterior,
    "residual-shift-deterministic": residual_shift_deterministic,
}

SAMPLERS: dict[str, _BuildNoise | _BuildResidual] = {**NOISE_SAMPLERS, **RESIDUAL_SAMPLERS}
