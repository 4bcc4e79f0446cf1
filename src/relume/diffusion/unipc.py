r"""UniPC: a predictor and a corrector that share one evaluation a step."""

__all__ = ["unipc"]

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from relume.diffusion.exponential import tail
from relume.diffusion.schedules import SHORT_RUN, Level, NoiseSchedule, Spacing
from relume.diffusion.table import Mix, Step, Table
from relume.errors import UsageError


def unipc(
    schedule: NoiseSchedule,
    steps: int,
    *,
    spacing: Spacing = "auto",
    p: int = 2,
    variant: Literal["bh1", "bh2"] = "bh2",
    corrector: bool = True,
    lower_order_final: bool = True,
) -> Table:
    r"""Predicts the next state from p answers, and corrects it with the answer that is made there.

    With :math:`z = -h`, :math:`r_i = (λ_{s_i} - λ_s)/h` for the earlier times and 1 for the new one,
    :math:`Δ_i = (D_{s_i} - D_s)/r_i`, and B(h) = eᶻ - 1 (``bh2``) or z (``bh1``):

    .. math::
        x_t = \frac{σ_t}{σ_s} x_s - α_t (e^z - 1) D_s - α_t B \sum_i ρ_i Δ_i, \qquad
        \sum_i r_i^{k-1} ρ_i = \frac{k!\, \tilde φ_k(z)}{B}, \quad k = 1 … p.

    The predictor leaves the new time out (p - 1 equations), the corrector has all p. The corrector uses the
    evaluation that the next step needs anyway, so it is free; it lifts the order from p to p + 1 (behind the
    first p - 1 steps, which have fewer answers to use). With ``lower_order_final`` the last steps of a run
    below 15 steps use fewer, too.

    Raises:
        UsageError: ``p`` is not 1, 2 or 3, or the variant is unknown.

    Source: "UniPC: A Unified Predictor-Corrector Framework for Fast Sampling of Diffusion Models", Zhao, Bai,
    Rao, Zhou, Lu, 2023.
    """
    if p not in (1, 2, 3):
        raise UsageError(f"UniPC is built for p = 1, 2 or 3, not {p}")
    if variant not in ("bh1", "bh2"):
        raise UsageError(f"unknown UniPC variant {variant!r}: use bh1 or bh2")
    levels = schedule.levels(steps, spacing=spacing)
    count = len(levels) - 1
    final = lower_order_final and count < SHORT_RUN
    made = []
    used = 0  # how many answers the step before this one was made from
    for k in range(count):
        base = Mix(x=1.0)
        if corrector and k > 0:
            base = _advance(levels, k - 1, used, variant, correct=True)
        used = min(p, k + 1, count - k) if final else min(p, k + 1)
        ahead = _advance(levels, k, used, variant, correct=False)
        made.append(Step(t=levels[k].t, base=base, x=ahead))
    return Table(name=f"unipc{p}", start=Mix(noise=1.0), steps=tuple(made), order=p + 1 if corrector else p)


def _advance(levels: Sequence[Level], k: int, p: int, variant: str, *, correct: bool) -> Mix:
    """From levels[k] to levels[k+1], the newest answer being at levels[k] (``correct``: at levels[k+1])."""
    s, t = levels[k], levels[k + 1]
    if t.sigma == 0:
        return Mix(data=(1.0,))
    h = t.log_snr - s.log_snr
    scale = math.expm1(-h) if variant == "bh2" else -h
    nodes = [(levels[k - i].log_snr - s.log_snr) / h for i in range(1, p)]
    rho = _rho(-h, [*nodes, 1.0] if correct else nodes, scale)
    # Each Δ gives its own answer ρ/r and takes as much from D_s.
    shares = [-t.alpha * scale * weight / node for weight, node in zip(rho, nodes, strict=False)]
    newest = [-t.alpha * scale * rho[-1]] if correct else []
    lead = -t.alpha * math.expm1(-h) - sum(shares) - sum(newest)
    return Mix(base=t.sigma / s.sigma, data=(*newest, lead, *shares))


def _rho(z: float, nodes: list[float], scale: float) -> list[float]:
    """Solves for the weights of the differences."""
    if len(nodes) == 1:
        # One equation would give φ₁(z)/B, which is 1/2 up to O(h): the authors take 1/2, at the same order.
        return [0.5]
    rows = [[node**power for node in nodes] for power in range(len(nodes))]
    right = [math.factorial(k) * tail(z, k) / scale for k in range(1, len(nodes) + 1)]
    return [float(weight) for weight in np.linalg.solve(np.array(rows), np.array(right))] if nodes else []
