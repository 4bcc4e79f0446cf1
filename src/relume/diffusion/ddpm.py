r"""DDPM: the ancestral sampler."""

__all__ = ["ddpm"]

import math
from itertools import pairwise

from relume.diffusion.schedules import Level, NoiseSchedule, Spacing
from relume.diffusion.table import Mix, Step, Table


def ddpm(schedule: NoiseSchedule, steps: int, *, spacing: Spacing = "auto") -> Table:
    r"""Draws each state from the posterior of the forward process, s → t (t cleaner):

    .. math::
        q(x_t | x_s, x_0) = N\Big(
            \frac{α_{s|t} σ_t^2}{σ_s^2} x_s + \frac{α_t β_{s|t}}{σ_s^2} x_0,\;
            \frac{σ_t^2}{σ_s^2} β_{s|t} \Big),
        \qquad α_{s|t} = α_s/α_t, \quad β_{s|t} = 1 - α_{s|t}^2 .

    With ``steps`` = T this is the original ancestral sampler, with the smaller of its two variances; no noise
    at the last step. As few steps lose variance, it wants many (order 1).

    Source: "Denoising Diffusion Probabilistic Models", Ho, Jain, Abbeel, 2020.
    """
    levels = schedule.levels(steps, spacing=spacing)
    made = tuple(_step(s, t) for s, t in pairwise(levels))
    return Table(name="ddpm", start=Mix(noise=1.0), steps=made, order=1)


def _step(s: Level, t: Level) -> Step:
    ratio = s.alpha / t.alpha
    beta = 1 - ratio**2
    scale = t.sigma**2 / s.sigma**2
    mean = Mix(base=ratio * scale, data=(t.alpha * beta / s.sigma**2,), noise=math.sqrt(scale * beta))
    return Step(t=s.t, x=Mix(data=(1.0,)) if t.sigma == 0 else mean)
