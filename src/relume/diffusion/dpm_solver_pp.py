r"""DPM-Solver++: exponential integrators on the network's x₀, of order 1 to 3, and their stochastic kin.

With :math:`h = λ_t - λ_s > 0` the state moves exactly as

.. math:: x_t = \frac{σ_t}{σ_s} x_s + σ_t \int_{λ_s}^{λ_t} e^{λ} D(x_λ, λ)\, dλ ,

and the methods differ only in how they guess D along the way: a constant, the value at the midpoint (2S), or
the line (2M) and the parabola (3M) through the last two and three answers.

Source: "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models", Lu, Zhou, Bao,
Chen, Li, Zhu, 2022.
"""

__all__ = ["dpm_1", "dpm_2m", "dpm_2s", "dpm_3m", "dpm_sde_1", "dpm_sde_2m"]

import math
from collections.abc import Sequence
from itertools import pairwise

from relume.diffusion.exponential import tail
from relume.diffusion.schedules import SHORT_RUN, Level, NoiseSchedule, Spacing
from relume.diffusion.table import Mix, Step, Table

# ∫ over the step of e^λ (λ - λ_s)²/2 gives D₂ twice this tail. Code that is widely copied has it once, which
# makes the method second order.
THIRD_ORDER_TERM = 2.0


def dpm_1(schedule: NoiseSchedule, steps: int, *, spacing: Spacing = "auto") -> Table:
    r""":math:`x_t = \frac{σ_t}{σ_s} x_s + α_t (1 - e^{-h}) D_s`: DDIM with η = 0, seen from λ."""
    made = _multistep(schedule.levels(steps, spacing=spacing), order=1, lower_order_final=False)
    return Table(name="dpm++1", start=Mix(noise=1.0), steps=made, order=1)


def dpm_2m(
    schedule: NoiseSchedule, steps: int, *, spacing: Spacing = "auto", lower_order_final: bool = True
) -> Table:
    r"""Second order from the last two answers, r the time before s and :math:`r_0 = (λ_s - λ_r)/h`:

    .. math:: x_t = \frac{σ_t}{σ_s} x_s + α_t (1 - e^{-h}) \Big[D_s + \frac{1}{2 r_0} (D_s - D_r)\Big]

    The first step has order 1, and so has the last one into the clean picture (or, with
    ``lower_order_final``, of any run below 15 steps).
    """
    made = _multistep(schedule.levels(steps, spacing=spacing), order=2, lower_order_final=lower_order_final)
    return Table(name="dpm++2m", start=Mix(noise=1.0), steps=made, order=2)


def dpm_3m(
    schedule: NoiseSchedule, steps: int, *, spacing: Spacing = "auto", lower_order_final: bool = True
) -> Table:
    r"""Third order from the last three answers, with q before r and :math:`r_1 = (λ_r - λ_q)/h`:

    .. math::
        A &= (D_s - D_r)/r_0, \quad B = (D_r - D_q)/r_1, \quad
        D_1 = A + \frac{r_0}{r_0 + r_1} (A - B), \quad D_2 = \frac{A - B}{r_0 + r_1} \\
        x_t &= \frac{σ_t}{σ_s} x_s - α_t φ D_s + α_t \Big(\frac{φ}{h} + 1\Big) D_1
               + α_t \Big(1 - 2 \frac{φ + h}{h^2}\Big) D_2, \qquad φ = e^{-h} - 1

    The order holds behind the first two steps, which have order 1 and 2.
    """
    made = _multistep(schedule.levels(steps, spacing=spacing), order=3, lower_order_final=lower_order_final)
    return Table(name="dpm++3m", start=Mix(noise=1.0), steps=made, order=3)


def dpm_2s(schedule: NoiseSchedule, steps: int, *, spacing: Spacing = "auto") -> Table:
    r"""Second order from the midpoint u, :math:`λ_u = λ_s + h/2`, which an order-1 step reaches:

    .. math:: x_t = \frac{σ_t}{σ_s} x_s + α_t (1 - e^{-h}) D(x_u, u)

    Two evaluations a step, except for the one into the clean picture.
    """
    made: list[Step] = []
    for s, t in pairwise(schedule.levels(steps, spacing=spacing)):
        if t.sigma == 0:
            made.append(Step(t=s.t, x=Mix(data=(1.0,))))
            continue
        u = schedule.at_log_snr((s.log_snr + t.log_snr) / 2)
        made.append(Step(t=s.t, x=_advance(s, u, (1.0,))))
        made.append(Step(t=u.t, base=Mix(base=1.0), x=_advance(s, t, (1.0,))))
    return Table(name="dpm++2s", start=Mix(noise=1.0), steps=tuple(made), order=2)


def dpm_sde_1(schedule: NoiseSchedule, steps: int, *, spacing: Spacing = "auto") -> Table:
    r"""The reverse SDE at order 1; for a variance-preserving schedule this is DDPM on the same grid.

    .. math:: x_t = \frac{σ_t}{σ_s} e^{-h} x_s + α_t (1 - e^{-2h}) D_s + σ_t \sqrt{1 - e^{-2h}}\, z
    """
    made = _stochastic(schedule.levels(steps, spacing=spacing), order=1)
    return Table(name="dpm++sde1", start=Mix(noise=1.0), steps=made, order=1)


def dpm_sde_2m(schedule: NoiseSchedule, steps: int, *, spacing: Spacing = "auto") -> Table:
    r"""The reverse SDE with D on the line through the last two answers.

    D_s in :func:`dpm_sde_1` becomes :math:`D_s + \frac{1}{2 r_0} (D_s - D_r)`. The order is that of the
    variance: a single path is no nearer to the path of the SDE than with :func:`dpm_sde_1`.
    """
    made = _stochastic(schedule.levels(steps, spacing=spacing), order=2)
    return Table(name="dpm++sde2m", start=Mix(noise=1.0), steps=made, order=2)


def _multistep(levels: Sequence[Level], *, order: int, lower_order_final: bool) -> tuple[Step, ...]:
    steps = len(levels) - 1
    made = []
    for k in range(steps):
        allowed = min(order, k + 1)
        if lower_order_final and steps < SHORT_RUN:
            allowed = min(allowed, steps - k)
        made.append(Step(t=levels[k].t, x=_advance_by(levels, k, allowed)))
    return tuple(made)


def _advance_by(levels: Sequence[Level], k: int, order: int) -> Mix:
    """The step from levels[k] to levels[k+1], with as many answers as the order says."""
    s, t = levels[k], levels[k + 1]
    if order == 1 or t.sigma == 0:
        return _advance(s, t, (1.0,))
    h = t.log_snr - s.log_snr
    r0 = (s.log_snr - levels[k - 1].log_snr) / h
    if order == 2:
        return _advance(s, t, (1 + 1 / (2 * r0), -1 / (2 * r0)))
    r1 = (levels[k - 1].log_snr - levels[k - 2].log_snr) / h
    # D₁ = a A + (1 - a) B and D₂ = (A - B)/(r₀ + r₁), weighted by minus the tails at -h.
    first, second = -tail(-h, 1), -THIRD_ORDER_TERM * tail(-h, 2)
    a = 1 + r0 / (r0 + r1)
    weight_a = (first * a + second / (r0 + r1)) / r0
    weight_b = (first * (1 - a) - second / (r0 + r1)) / r1
    lead = -math.expm1(-h)
    return Mix(
        base=t.sigma / s.sigma,
        data=(t.alpha * (lead + weight_a), t.alpha * (weight_b - weight_a), -t.alpha * weight_b),
    )


def _advance(s: Level, t: Level, answers: tuple[float, ...]) -> Mix:
    """The exact step for a D that does not change, where D is a combination of the last answers."""
    lead = -t.alpha * math.expm1(s.log_snr - t.log_snr)
    return Mix(base=t.sigma / s.sigma, data=tuple(lead * answer for answer in answers))


def _stochastic(levels: Sequence[Level], *, order: int) -> tuple[Step, ...]:
    made = []
    for k, (s, t) in enumerate(pairwise(levels)):
        h = t.log_snr - s.log_snr
        answers: tuple[float, ...] = (1.0,)
        if order == 2 and k > 0 and t.sigma > 0:
            r0 = (s.log_snr - levels[k - 1].log_snr) / h
            answers = (1 + 1 / (2 * r0), -1 / (2 * r0))
        share = -math.expm1(-2 * h)
        mix = Mix(
            base=t.sigma / s.sigma * math.exp(-h),
            data=tuple(t.alpha * share * answer for answer in answers),
            noise=t.sigma * math.sqrt(share),
        )
        made.append(Step(t=s.t, x=mix))
    return tuple(made)
