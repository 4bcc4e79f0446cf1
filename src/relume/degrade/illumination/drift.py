r"""How the light moves along an acquisition: slow, low-order, with a step at each injection."""

__all__ = ["Drift", "MODES", "drift", "stale", "polynomial"]

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .arrays import Array, axes, onto

MODES = 6  # 1, x, y, xy, x² − 1/3, y² − 1/3
_STEP = np.array([0.006, 0.004, 0.004, 0.003, 0.003, 0.003])


class Drift(NamedTuple):
    """The state of the light at N moments.

    ``modes`` (N,6) are coefficients of log intensity, the first one the gain; ``wander`` (N,2) moves the
    centre of the lobe, in half tiles; ``shift`` (N,2) moves the fixed map, in pixels of
    a tile of 512. (y, x) each.
    """

    modes: npt.NDArray[np.float64]
    wander: npt.NDArray[np.float64]
    shift: npt.NDArray[np.float64]

    def at(self, index: int) -> "Drift":
        """One moment, as a Drift of length 1."""
        return Drift(*(part[index : index + 1] for part in self))


def drift(count: int, rng: np.random.Generator) -> Drift:
    r"""Draws :math:`w_{i+1} = 0.97\,w_i + \mathcal N(0, \mathrm{diag}\,\sigma^2)`, gain steps between."""
    modes, state, injection = np.zeros((count, MODES)), np.zeros(MODES), int(rng.integers(20, 61))
    for i in range(1, count):
        state = 0.97 * state + _STEP * rng.standard_normal(MODES)
        if i == injection:
            state[0] += rng.normal(0, 0.02)
            injection += int(rng.integers(20, 61))
        modes[i] = state
    start = rng.normal(0, 0.1, 2)
    return Drift(
        modes,
        np.cumsum(rng.normal(0, 0.001, (count, 2)), axis=0),
        start + np.cumsum(rng.normal(0, 0.01, (count, 2)), axis=0),
    )


def stale(moment: Drift, rms: float, rng: np.random.Generator) -> Drift:
    """The light of another session of the same instrument: the shape differs by ``rms`` in log intensity."""
    change = np.concatenate([[0.0], rng.standard_normal(MODES - 1)])
    # On a uniform square the modes are orthogonal: <x²> = 1/3, <x²y²> = 1/9, <(x² − 1/3)²> = 4/45.
    power = change**2 @ np.array([1, 1 / 3, 1 / 3, 1 / 9, 4 / 45, 4 / 45])
    return moment._replace(modes=moment.modes + change * rms / np.sqrt(power))


def polynomial(modes: npt.NDArray[np.float64], n: int, like: Array) -> Array:
    """Coefficients (N,6) → fields (N,n,n)."""
    y, x = axes(n, like)
    w = onto(modes, like)[:, :, None, None]
    third = 1 / 3
    return (
        w[:, 0]
        + w[:, 1] * x
        + w[:, 2] * y
        + w[:, 3] * x * y
        + w[:, 4] * (x**2 - third)
        + w[:, 5] * (y**2 - third)
    )
