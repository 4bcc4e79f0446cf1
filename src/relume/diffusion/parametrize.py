r"""Nets that predict noise, velocity or the picture itself, under one ``denoise`` signature.

.. math::
    x = α x_0 + σ ε, \qquad v = α ε - σ x_0, \qquad x_0 = (x - σ ε)/α = α x - σ v

The ends are not equally well conditioned. Where α → 0 (t = 1) a noise prediction is divided by almost
nothing: an error of the net comes out σ/α times larger (170 times at the end of ``linear(300)``). Where
σ → 0 the same holds for reading ε out of x₀. A v-prediction has weights of at most one at both ends, an
x₀-prediction needs no conversion: use these two for few steps.
"""

__all__ = ["PARAMETRIZATIONS", "Parametrization", "Predicts", "denoiser", "predictor", "target"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from relume.diffusion.loop import Denoise
from relume.diffusion.schedules import NoiseSchedule
from relume.errors import UsageError

Array = Any
Predicts = Literal["eps", "v", "x0"]
_Map = Callable[[Array, Array, Any, Any], Array]


@dataclass(frozen=True)
class Parametrization:
    """What a net predicts: both ways between the prediction and x₀, given ``(x, ·, alpha, sigma)``."""

    to_x0: _Map
    from_x0: _Map


def _same(x: Array, x0: Array, alpha: Any, sigma: Any) -> Array:
    return x0


def _x0_from_eps(x: Array, eps: Array, alpha: Any, sigma: Any) -> Array:
    return (1 / alpha) * x + (-sigma / alpha) * eps


def _eps_from_x0(x: Array, x0: Array, alpha: Any, sigma: Any) -> Array:
    return (1 / sigma) * x + (-alpha / sigma) * x0


def _x0_from_v(x: Array, v: Array, alpha: Any, sigma: Any) -> Array:
    return alpha * x + (-sigma) * v


def _v_from_x0(x: Array, x0: Array, alpha: Any, sigma: Any) -> Array:
    # v = α ε - σ x₀ with ε read out of x; α² + σ² = 1 makes it one division.
    return (alpha / sigma) * x + (-1 / sigma) * x0


PARAMETRIZATIONS: dict[str, Parametrization] = {
    "eps": Parametrization(_x0_from_eps, _eps_from_x0),
    "v": Parametrization(_x0_from_v, _v_from_x0),
    "x0": Parametrization(_same, _same),
}


def denoiser(
    net: Callable[[Array, float, Array], Array],
    schedule: NoiseSchedule,
    *,
    predicts: Predicts = "eps",
    clip: float | None = None,
) -> Denoise:
    r"""Wraps ``net(x, t, condition)`` into ``denoise(x, t, condition) -> x0``.

    ``clip`` holds x₀ within [-clip, clip]. It tames a noise prediction at the noisy end (``clip=1`` for
    pictures in [-1,1]), but a clipped step cannot be inverted, so it is off unless asked for.

    Raises:
        UsageError: ``predicts`` is unknown.
    """
    to_x0 = _named(predicts).to_x0

    def denoise(x: Array, t: float, condition: Array) -> Array:
        level = schedule.at_time(t)
        x0 = to_x0(x, net(x, t, condition), level.alpha, level.sigma)
        return x0 if clip is None else x0.clip(-clip, clip)

    return denoise


def predictor(denoise: Denoise, schedule: NoiseSchedule, *, predicts: Predicts) -> Denoise:
    """The way back: a net that predicts noise, velocity or x₀, made from ``denoise``."""
    from_x0 = _named(predicts).from_x0

    def net(x: Array, t: float, condition: Array) -> Array:
        level = schedule.at_time(t)
        return from_x0(x, denoise(x, t, condition), level.alpha, level.sigma)

    return net


def target(predicts: Predicts, x0: Array, eps: Array, alpha: Any, sigma: Any) -> Array:
    """What a net is trained to answer at ``alpha · x0 + sigma · eps``; the weights may be arrays."""
    _named(predicts)
    targets: dict[str, Callable[[], Array]] = {
        "eps": lambda: eps,
        "v": lambda: alpha * eps + (-sigma) * x0,
        "x0": lambda: x0,
    }
    return targets[predicts]()


def _named(predicts: str) -> Parametrization:
    if predicts not in PARAMETRIZATIONS:
        raise UsageError(f"unknown prediction {predicts!r}: use one of {', '.join(PARAMETRIZATIONS)}")
    return PARAMETRIZATIONS[predicts]
