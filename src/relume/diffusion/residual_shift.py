r"""Residual shift: from the damaged picture to the clean one in a few steps.

The state starts at :math:`x_T = y + κ \sqrt{η_T} z` and every step replaces a part of the damage by what the
network sees behind it. Levels may be skipped: a net that learned T levels serves any ``steps`` of 1…T, and
with one step the result is its answer at t = 1.

Pictures are in [0,1] here. ``sample`` has to be given ``y``.
"""

__all__ = ["residual_shift_deterministic", "residual_shift_posterior"]

import math
from collections.abc import Callable
from itertools import pairwise

from relume.diffusion.schedules import ResidualLevel, ResidualShift
from relume.diffusion.table import Mix, Step, Table
from relume.errors import UsageError


def residual_shift_posterior(schedule: ResidualShift, steps: int, *, kappa: float | None = None) -> Table:
    r"""Draws each state from the posterior of the shift, t → s (s cleaner):

    .. math::
        q(x_s | x_t, x_0, y) = N\Big( \frac{η_s}{η_t} x_t + \frac{η_t - η_s}{η_t} x_0,\;
            κ^2 \frac{η_s}{η_t} (η_t - η_s) \Big)

    ``kappa`` overrides the schedule's: 0 makes it a chain without noise, x moving on a straight line.

    Raises:
        UsageError: ``steps`` exceeds the schedule's levels, or ``kappa`` is negative.

    Source: "ResShift: Efficient Diffusion Model for Image Super-resolution by Residual Shifting", Yue, Wang,
    Loy, 2023.
    """
    strength = _strength(schedule, kappa)

    def step(t: ResidualLevel, s: ResidualLevel) -> Step:
        kept = s.eta / t.eta
        noise = strength * math.sqrt(kept * (t.eta - s.eta))
        return Step(t=t.t, x=Mix(base=kept, data=(1 - kept,), noise=noise))

    return _table("residual-shift", schedule, steps, strength, step)


def residual_shift_deterministic(schedule: ResidualShift, steps: int, *, kappa: float | None = None) -> Table:
    r"""Keeps the noise that the state holds, so that only the start is random:

    .. math::
        x_s = k \hat x_0 + m x_t + j y, \quad m = \sqrt{η_s/η_t}, \quad j = η_s - \sqrt{η_s η_t}, \quad
        k = 1 - m - j

    With the true x₀ it maps :math:`x_0 + η_t (y - x_0) + κ\sqrt{η_t} z` to the same with η_s, exactly.

    Raises:
        UsageError: ``steps`` exceeds the schedule's levels, or ``kappa`` is negative.

    Source: "SinSR: Diffusion-Based Image Super-Resolution in a Single Step", Wang et al., 2023.
    """

    def step(t: ResidualLevel, s: ResidualLevel) -> Step:
        m = math.sqrt(s.eta / t.eta)
        j = s.eta - math.sqrt(s.eta * t.eta)
        return Step(t=t.t, x=Mix(base=m, data=(1 - m - j,), y=j))

    return _table("residual-shift-deterministic", schedule, steps, _strength(schedule, kappa), step)


def _table(
    name: str,
    schedule: ResidualShift,
    steps: int,
    strength: float,
    step: Callable[[ResidualLevel, ResidualLevel], Step],
) -> Table:
    levels = schedule.levels(steps)
    start = Mix(y=1.0, noise=strength * math.sqrt(levels[0].eta))
    return Table(name=name, start=start, steps=tuple(step(t, s) for t, s in pairwise(levels)), order=1)


def _strength(schedule: ResidualShift, kappa: float | None) -> float:
    strength = schedule.kappa if kappa is None else float(kappa)
    if not strength >= 0.0:
        raise UsageError(f"kappa={strength:g} is not a noise strength: use 0 or more")
    return strength
