r"""What is fixed to the detector and its optics: texture, filaments, scratches, dust, stripes, ripple.

Each :class:`Pattern` draws its random numbers once per instrument and then paints a map of log intensity;
the maps add up. Lengths are pixels of a tile of 512 and scale with the tile.
"""

__all__ = ["PATTERNS", "Pattern"]

from abc import ABC, abstractmethod
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import numpy as np

from .arrays import Array, axes, blur, frequencies, onto, space

Draw = Mapping[str, Any]


class Pattern(ABC):
    """One cause of fixed structure: ``sample`` draws everything random, ``paint`` adds none."""

    name: str

    @abstractmethod
    def sample(self, n: int, rng: np.random.Generator) -> Draw:
        """Draw for a tile of n×n pixels."""

    @abstractmethod
    def paint(self, draw: Draw, n: int, like: Array) -> Array:
        """The map (n,n) of log intensity, as the kind of array that ``like`` is."""


def _filtered(noise: Array, gain: Array) -> Array:
    """A random field of mean 0 and standard deviation 1 whose spectrum has this gain."""
    xp = space(noise)
    field = xp.fft.irfft2(xp.fft.rfft2(noise) * gain, noise.shape[-2:])
    field = field - field.mean()
    return field / xp.sqrt((field**2).mean())


def _smooth(noise: Array, feature: float) -> Array:
    """A random field that varies over ``feature`` pixels."""
    xp = space(noise)
    fy, fx = frequencies(noise.shape, noise)
    return _filtered(noise, xp.exp(-0.5 * (feature / 1.5) ** 2 * (fy**2 + fx**2) * (2 * np.pi / 4) ** 2))


def _scaled(field: Array, rms: float) -> Array:
    """The field with mean 0 and this standard deviation."""
    field = field - field.mean()
    return field * (rms / (space(field).sqrt((field**2).mean()) + 1e-12))


class Texture(Pattern):
    r"""Scintillator grain: a Gaussian field with power :math:`f^{-\alpha}` from 4 cycles per tile upwards.

    The power below 10 cycles is 30 % higher, as measured fields have it.
    """

    name = "texture"

    def sample(self, n: int, rng: np.random.Generator) -> Draw:
        return {
            "rms": rng.uniform(0.015, 0.033),
            "alpha": rng.uniform(2.0, 2.7),
            "noise": rng.standard_normal((n, n), np.float32),
        }

    def paint(self, draw: Draw, n: int, like: Array) -> Array:
        xp = space(like)
        fy, fx = frequencies((n, n), like)
        cycles = n * xp.sqrt(fy**2 + fx**2)
        power = cycles.clip(4, None) ** -draw["alpha"] * (1 + 0.3 * (cycles < 10)) * (cycles >= 4)
        return draw["rms"] * _filtered(onto(draw["noise"], like), xp.sqrt(power))


class Filaments(Pattern):
    r"""Bright threads: :math:`e^{-(z/0.12)^2}` on the zero lines of a smooth field, in some places."""

    name = "filaments"

    def sample(self, n: int, rng: np.random.Generator) -> Draw:
        return {
            "rms": rng.uniform(0.008, 0.020),
            "feature": rng.uniform(18, 40),
            "cover": rng.uniform(0.3, 0.7),
            "noise": rng.standard_normal((2, n, n), np.float32),
        }

    def paint(self, draw: Draw, n: int, like: Array) -> Array:
        xp, noise, unit = space(like), onto(draw["noise"], like), n / 512
        threads = blur(xp.exp(-((_smooth(noise[0], draw["feature"] * unit) / 0.12) ** 2)), 0.8 * unit)
        # a slow field above its quantile covers the wanted share; the quantile of a normal field is known

        threshold = NormalDist().inv_cdf(1 - draw["cover"])
        mask = 1 / (1 + xp.exp(-(_smooth(noise[1], n / 3) - threshold) / 0.15))
        return _scaled(threads * mask, draw["rms"])


class Scratches(Pattern):
    """One to four slightly curved lines, brighter or darker by 3 to 9 %."""

    name = "scratches"

    def sample(self, n: int, rng: np.random.Generator) -> Draw:
        count = int(rng.integers(1, 5))
        return {
            "centre": rng.uniform(-0.8, 0.8, (count, 2)),
            "angle": rng.uniform(0, np.pi, count),
            "length": rng.uniform(0.2, 1.0, count),
            "bend": rng.normal(0, 0.08, count),
            "width": rng.uniform(1, 2.5, count),
            "depth": rng.uniform(0.03, 0.09, count) * rng.choice([-1, 1], count),
        }

    def paint(self, draw: Draw, n: int, like: Array) -> Array:
        xp, (y, x) = space(like), axes(n, like)
        field = 0 * (x + y)
        for i, (cy, cx) in enumerate(draw["centre"]):
            c, s = float(np.cos(draw["angle"][i])), float(np.sin(draw["angle"][i]))
            along, across = c * (x - cx) + s * (y - cy), c * (y - cy) - s * (x - cx)
            across = across - draw["bend"][i] * along**2
            width, half = draw["width"][i] * 2 / 512, draw["length"][i] / 2
            ends = 1 / (1 + xp.exp(((xp.abs(along) - half) / 0.01).clip(-40, 40)))
            field = field + draw["depth"][i] * xp.exp(-((across / width) ** 2)) * ends
        return field


class Dust(Pattern):
    """Between 5 and 35 dark discs with soft edges, 2 to 12 % deep."""

    name = "dust"

    def sample(self, n: int, rng: np.random.Generator) -> Draw:
        count = int(rng.integers(5, 36))
        return {
            "centre": rng.uniform(0, n, (count, 2)),
            "radius": rng.uniform(2, 9, count),
            "depth": rng.uniform(0.02, 0.12, count),
        }

    def paint(self, draw: Draw, n: int, like: Array) -> Array:
        xp, unit = space(like), n / 512
        line, field = onto(np.arange(n) + 0.5, like), 0 * onto(np.zeros((n, n)), like)
        for (cy, cx), radius, depth in zip(draw["centre"], draw["radius"] * unit, draw["depth"], strict=True):
            reach = radius + 6 * unit + 1
            rows = slice(max(0, int(cy - reach)), int(cy + reach) + 1)
            columns = slice(max(0, int(cx - reach)), int(cx + reach) + 1)
            distance = xp.sqrt((line[rows, None] - cy) ** 2 + (line[None, columns] - cx) ** 2)
            field[rows, columns] -= depth / (1 + xp.exp((distance - radius) / unit))
        return field


class Stripes(Pattern):
    """Horizontal bands of the monochromator, in a fifth of all instruments."""

    name = "stripes"

    def sample(self, n: int, rng: np.random.Generator) -> Draw:
        count = int(rng.integers(3, 9))
        return {
            "rms": rng.uniform(0.005, 0.03) * (rng.random() < 0.2),
            "period": rng.uniform(8, 80, count),
            "phase": rng.uniform(0, 2 * np.pi, count),
            "weight": rng.uniform(0.3, 1, count),
        }

    def paint(self, draw: Draw, n: int, like: Array) -> Array:
        rows = (np.arange(n) + 0.5) * 512 / n
        waves = np.cos(2 * np.pi * rows[:, None] / draw["period"] + draw["phase"]) @ draw["weight"]
        return _scaled(onto(waves, like)[:, None], draw["rms"]) + 0 * axes(n, like)[1]


class Ripple(Pattern):
    """Straight or concentric interference, in a fifth of all instruments."""

    name = "ripple"

    def sample(self, n: int, rng: np.random.Generator) -> Draw:
        return {
            "rms": rng.uniform(0.005, 0.02) * (rng.random() < 0.2),
            "period": rng.uniform(12, 40),
            "phase": rng.uniform(0, 2 * np.pi),
            "angle": rng.uniform(0, 2 * np.pi),
            "centre": rng.uniform(-0.5, 0.5, 2) + (10 if rng.random() < 0.5 else 0),  # from afar: straight
        }

    def paint(self, draw: Draw, n: int, like: Array) -> Array:
        xp, (y, x) = space(like), axes(n, like)
        reach = float(np.hypot(*draw["centre"]))
        cy, cx = reach * float(np.sin(draw["angle"])), reach * float(np.cos(draw["angle"]))
        radius = xp.sqrt((y - cy) ** 2 + (x - cx) ** 2) - reach
        return _scaled(xp.cos(radius * (np.pi * 512 / draw["period"]) + draw["phase"]), draw["rms"])


PATTERNS: dict[str, Pattern] = {
    pattern.name: pattern for pattern in (Texture(), Filaments(), Scratches(), Dust(), Stripes(), Ripple())
}
