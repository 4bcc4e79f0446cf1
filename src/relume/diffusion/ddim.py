r"""DDIM: from the deterministic sampler (η = 0) to the ancestral one (η = 1)."""

__all__ = ["ddim"]

import math
from itertools import pairwise

from relume.diffusion.schedules import Level, NoiseSchedule, Spacing
from relume.diffusion.table import Mix, Step, Table
from relume.errors import UsageError


def ddim(schedule: NoiseSchedule, steps: int, *, spacing: Spacing = "auto", eta: float = 0.0) -> Table:
    r"""Steps along the noise that the network sees, and renews a part of it:

    .. math::
        x_t = α_t \hat x_0 + \sqrt{σ_t^2 - g^2}\, \hat ε + g z, \qquad
        g = η \frac{σ_t}{σ_s} \sqrt{1 - α_s^2/α_t^2}, \qquad \hat ε = (x_s - α_s \hat x_0)/σ_s .

    Raises:
        UsageError: ``eta`` lies outside of [0,1].

    Source: "Denoising Diffusion Implicit Models", Song, Meng, Ermon, 2020.
    """
    if not 0.0 <= eta <= 1.0:
        raise UsageError(f"eta={eta:g} is not a share of renewed noise: use 0 to 1")
    levels = schedule.levels(steps, spacing=spacing)
    made = tuple(_step(s, t, eta) for s, t in pairwise(levels))
    return Table(name="ddim", start=Mix(noise=1.0), steps=made, order=1)


def _step(s: Level, t: Level, eta: float) -> Step:
    fresh = eta * t.sigma / s.sigma * math.sqrt(1 - (s.alpha / t.alpha) ** 2)
    kept = math.sqrt(max(t.sigma**2 - fresh**2, 0.0)) / s.sigma
    return Step(t=s.t, x=Mix(base=kept, data=(t.alpha - kept * s.alpha,), noise=fresh))
