r"""How much signal and how much noise a state holds at each time.

Time ``t`` runs from 0 (the clean picture) to 1 (the noisiest). A *noise* schedule is variance preserving:

.. math:: x_t = α_t x_0 + σ_t ε, \qquad α_t^2 + σ_t^2 = 1, \qquad λ_t = \log(α_t / σ_t).

A *residual-shift* schedule walks from the clean picture to the damaged one, ``y``:

.. math:: x_t = x_0 + η_t (y - x_0) + κ \sqrt{η_t} ε.
"""

__all__ = [
    "CLEAN",
    "Discrete",
    "Level",
    "LogSNR",
    "NoiseSchedule",
    "ResidualLevel",
    "ResidualShift",
    "SPACINGS",
    "Spacing",
    "cosine",
    "linear",
    "residual_shift",
    "scaled_linear",
]

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from relume.errors import UsageError

Spacing = Literal["auto", "time", "log-snr", "karras"]
SPACINGS: tuple[Spacing, ...] = ("auto", "time", "log-snr", "karras")

# Below this half log-SNR a picture is 0.6 % of the state: steps spent there buy nothing.
NOISE_LOG_SNR = -5.1
# Up to so many steps a grid even in the log-SNR beats one even in time, whose last leap to the clean picture
# loses fine detail. Measured on Gaussian data of spread 0.3 with linear(300): the variance after 2M is off
# by 2 % against 25 % in 20 steps, by less than 0.1 % against 2.5 % in 50.
FEW_STEPS = 50
# Below so many steps a high-order solver takes its last ones at a lower order: there they amplify errors.
SHORT_RUN = 15


@dataclass(frozen=True)
class Level:
    """One noise level: its time in [0,1], and the weights of signal and noise."""

    t: float
    alpha: float
    sigma: float

    @property
    def log_snr(self) -> float:
        """Half log signal-to-noise ratio λ; infinite at the clean end."""
        return math.log(self.alpha / self.sigma) if self.sigma > 0 else math.inf


CLEAN = Level(t=0.0, alpha=1.0, sigma=0.0)


class NoiseSchedule(ABC):
    """A variance-preserving schedule: levels by time, by log-SNR, and the grid that a sampler walks."""

    @abstractmethod
    def at_time(self, t: float) -> Level:
        """The level at time ``t``."""

    @abstractmethod
    def at_log_snr(self, value: float) -> Level:
        """The level whose λ is ``value``."""

    @abstractmethod
    def levels(self, steps: int, *, spacing: Spacing = "auto") -> tuple[Level, ...]:
        """``steps + 1`` levels, noisiest first: the ones to evaluate at, then the one to arrive at."""


@dataclass(frozen=True)
class Discrete(NoiseSchedule):
    r"""T levels from T betas: :math:`\barα_i = \prod_{j≤i} (1 - β_j)`, at times :math:`t_i = i/T`, i = 1…T.

    Between two levels λ is linear in time.

    Raises:
        UsageError: a beta lies outside (0,1).

    Source: "Denoising Diffusion Probabilistic Models", Ho, Jain, Abbeel, 2020.
    """

    betas: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.betas or not all(0.0 < beta < 1.0 for beta in self.betas):
            raise UsageError(
                "every beta must lie in (0,1): a rescaled linear schedule needs 21 levels or more"
            )

    @property
    def size(self) -> int:
        """T, the number of levels."""
        return len(self.betas)

    @cached_property
    def _log_alpha_bar(self) -> NDArray[np.float64]:
        return np.cumsum(np.log1p(-np.asarray(self.betas, np.float64)))

    @cached_property
    def alphas(self) -> NDArray[np.float64]:
        """(T,) weights of the signal, ``alphas[i-1]`` at level i; what a training loop draws from."""
        return np.exp(0.5 * self._log_alpha_bar)

    @cached_property
    def sigmas(self) -> NDArray[np.float64]:
        """(T,) weights of the noise, ``sigmas[i-1]`` at level i."""
        return np.sqrt(-np.expm1(self._log_alpha_bar))

    @cached_property
    def _log_snr(self) -> NDArray[np.float64]:
        return np.log(self.alphas / self.sigmas)

    def level(self, i: int) -> Level:
        """Level ``i`` of 1…T."""
        return Level(i / self.size, float(self.alphas[i - 1]), float(self.sigmas[i - 1]))

    def at_time(self, t: float) -> Level:
        """The level at ``t``. Raises UsageError outside of [1/T, 1]: no net was trained there."""
        position = t * self.size
        nearest = round(position)
        if not 1 - 1e-9 <= position <= self.size + 1e-9:
            raise UsageError(f"time {t:g} is outside of this schedule's [{1 / self.size:g}, 1]")
        if abs(position - nearest) < 1e-9:
            return self.level(nearest)
        return _level(t, float(np.interp(position, np.arange(1, self.size + 1), self._log_snr)))

    def at_log_snr(self, value: float) -> Level:
        """The level whose λ is ``value``. Raises UsageError outside of the schedule's own range."""
        low, high = float(self._log_snr[-1]), float(self._log_snr[0])
        if not low - 1e-9 <= value <= high + 1e-9:
            raise UsageError(f"log-SNR {value:g} is outside of this schedule's [{low:g}, {high:g}]")
        position = float(np.interp(-value, -self._log_snr, np.arange(1, self.size + 1)))
        return _level(position / self.size, min(max(value, low), high))

    def levels(self, steps: int, *, spacing: Spacing = "auto") -> tuple[Level, ...]:
        r"""The grid: even in time (ending at T/steps), even in λ, or Karras; then the clean picture.

        ``auto`` is even in λ for up to 50 steps and even in time above. Grids in λ begin where the picture
        has all but vanished (λ = -5.1), not deeper.

        Raises:
            UsageError: ``steps`` is not one of 1…T, or the spacing is unknown.

        >>> [level.t for level in linear(300).levels(3, spacing="time")]
        [1.0, 0.6666666666666666, 0.3333333333333333, 0.0]
        """
        _check_steps(steps, self.size)
        _check_spacing(spacing)
        if spacing == "auto":
            spacing = "log-snr" if steps <= FEW_STEPS and steps < self.size else "time"
        if spacing == "time":
            return (*(self.level(i) for i in _trailing(self.size, steps)), CLEAN)
        low = max(float(self._log_snr[-1]), NOISE_LOG_SNR)
        values = _spread(low, float(self._log_snr[0]), steps, spacing)
        return (*(self.at_log_snr(value) for value in values), CLEAN)


@dataclass(frozen=True)
class LogSNR(NoiseSchedule):
    r"""A continuous schedule with λ linear in time: ``first`` at t = 1, ``last`` at t = 0.

    A grid ends with the network's answer at ``last`` (``clean``), or stops at the state there.

    Raises:
        UsageError: ``first`` is not below ``last``.

    Source: "Variational Diffusion Models", Kingma, Salimans, Poole, Ho, 2021.
    """

    first: float = -5.0
    last: float = 5.0
    clean: bool = True

    def __post_init__(self) -> None:
        if not self.first < self.last:
            raise UsageError(
                f"a schedule must gain log-SNR: first={self.first:g} is not below last={self.last:g}"
            )

    def at_time(self, t: float) -> Level:
        return _level(t, self.last + t * (self.first - self.last))

    def at_log_snr(self, value: float) -> Level:
        return _level((self.last - value) / (self.last - self.first), value)

    def levels(self, steps: int, *, spacing: Spacing = "auto") -> tuple[Level, ...]:
        """The grid, even in λ (which here is even in time too) or Karras."""
        _check_steps(steps, None)
        _check_spacing(spacing)
        values = _spread(self.first, self.last, steps if self.clean else steps + 1, spacing)
        found = tuple(self.at_log_snr(value) for value in values)
        return (*found, CLEAN) if self.clean else found


@dataclass(frozen=True)
class ResidualLevel:
    """One residual-shift level: its time in [0,1], and the share η of the damage that is in the state."""

    t: float
    eta: float


@dataclass(frozen=True)
class ResidualShift:
    r"""T levels of :math:`\sqrt{η_i}`, rising, at times i/T, and the strength κ of the noise.

    κ = 0 is the fidelity mode: no noise at all.

    Raises:
        UsageError: the values do not rise within (0,1], or κ is negative.

    Source: "ResShift: Efficient Diffusion Model for Image Super-resolution by Residual Shifting", Yue, Wang,
    Loy, 2023.
    """

    sqrt_eta: tuple[float, ...]
    kappa: float = 1.0

    def __post_init__(self) -> None:
        ladder = (0.0, *self.sqrt_eta)
        if not self.sqrt_eta or ladder[-1] > 1.0 or any(a >= b for a, b in pairwise(ladder)):
            raise UsageError("sqrt_eta must rise from above 0 to at most 1")
        if not self.kappa >= 0.0:
            raise UsageError(f"kappa={self.kappa:g} is not a noise strength: use 0 or more")

    @property
    def size(self) -> int:
        """T, the number of levels."""
        return len(self.sqrt_eta)

    def levels(self, steps: int) -> tuple[ResidualLevel, ...]:
        """``steps + 1`` levels, noisiest first, down to η = 0. Raises UsageError for steps outside of 1…T."""
        _check_steps(steps, self.size)
        indices = _trailing(self.size, steps)
        found = (ResidualLevel(i / self.size, float(self.sqrt_eta[i - 1]) ** 2) for i in indices)
        return (*found, ResidualLevel(0.0, 0.0))


def linear(size: int = 300, *, first: float = 1e-4, last: float = 2e-2) -> Discrete:
    r"""Betas on a line, rescaled by 1000/T so that level T is noise whatever T is.

    The plain 1e-4…2e-2 was made for T = 1000; at T = 300 it would leave :math:`\barα_T ≈ 0.05`.

    >>> schedule = linear(300)
    >>> f"{schedule.betas[0]:.3e} {schedule.betas[-1]:.3e} {schedule.alphas[-1] ** 2:.1e}"
    '3.333e-04 6.667e-02 3.4e-05'
    """
    return Discrete(_floats(np.linspace(first, last, size) * (1000 / size)))


def scaled_linear(size: int = 1000, *, first: float = 8.5e-4, last: float = 1.2e-2) -> Discrete:
    """Betas whose square roots lie on a line (the latent models' schedule), rescaled by 1000/T."""
    return Discrete(_floats(np.linspace(first**0.5, last**0.5, size) ** 2 * (1000 / size)))


def cosine(size: int = 300, *, offset: float = 0.008, largest: float = 0.999) -> Discrete:
    r""":math:`\barα(t) = \cos^2(\frac{t + s}{1 + s} \frac{π}{2})`, with betas held below ``largest``.

    Source: "Improved Denoising Diffusion Probabilistic Models", Nichol, Dhariwal, 2021.
    """
    angle = (np.arange(size + 1) / size + offset) / (1 + offset) * (np.pi / 2)
    alpha_bar = np.cos(angle) ** 2
    return Discrete(_floats(np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], largest)))


def residual_shift(
    size: int = 4,
    *,
    kappa: float = 1.0,
    smallest: float = 0.2,
    last: float = 0.99,
    power: float = 0.3,
    designed_for: float = 2.0,
) -> ResidualShift:
    r"""The geometric residual-shift schedule.

    .. math::
        \sqrt{η_1} = \min(m / κ', m), \qquad
        \sqrt{η_i} = \sqrt{η_1}\, b^{(T-1) (\frac{i-1}{T-1})^p}, \qquad
        b = (\sqrt{η_T} / \sqrt{η_1})^{1/(T-1)}

    with m = ``smallest`` and κ' = ``designed_for``, which is kept apart from the noise strength ``kappa``
    that is used: less noise need not mean other levels. With ``size=1`` the only level is ``last``.

    >>> [round(value, 4) for value in residual_shift(4).sqrt_eta]
    [0.1, 0.5201, 0.7614, 0.99]
    """
    if size == 1:
        return ResidualShift((float(last),), float(kappa))
    first = min(smallest / designed_for, smallest)
    exponent = (np.arange(size) / (size - 1)) ** power
    return ResidualShift(_floats(first * (last / first) ** exponent), float(kappa))


def _level(t: float, log_snr: float) -> Level:
    # Each weight from its own logistic: neither end loses digits to 1 - (almost 1).
    return Level(t, math.sqrt(1 / (1 + math.exp(-2 * log_snr))), math.sqrt(1 / (1 + math.exp(2 * log_snr))))


def _trailing(size: int, steps: int) -> list[int]:
    """``steps`` of the indices 1…size, even, falling, always with the noisiest one."""
    return [(2 * size * (steps - k) + steps) // (2 * steps) for k in range(steps)]


def _spread(low: float, high: float, count: int, spacing: Spacing) -> list[float]:
    """``count`` values of λ from low to high, even in λ or (Karras, ρ = 7) in (σ/α)^(1/7)."""
    if spacing == "karras":
        ramp = np.linspace(math.exp(-low / 7), math.exp(-high / 7), count)
        return [low, *(-7 * np.log(ramp[1:-1])).tolist(), high][:count]
    return [float(value) for value in np.linspace(low, high, count)]


def _floats(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _check_steps(steps: int, size: int | None) -> None:
    if steps < 1 or (size is not None and steps > size):
        upper = "" if size is None else f" to {size}"
        raise UsageError(f"steps={steps} is not possible with this schedule: use 1{upper or ' or more'}")


def _check_spacing(spacing: str) -> None:
    if spacing not in SPACINGS:
        raise UsageError(f"unknown spacing {spacing!r}: use one of {', '.join(SPACINGS)}")
