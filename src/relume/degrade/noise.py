r"""Noise: Gaussian with salt and pepper, and the speckle of film grain."""

__all__ = ["Noise", "Speckle"]

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from relume.degrade.degradation import Array, Degradation, Draw
from relume.degrade.resample import gaussian_matrix


def _field(shape: tuple[int, int, int], rng: np.random.Generator, grain: float) -> NDArray[np.float32]:
    """A unit-variance field, grey or coloured; grain above 0 correlates neighbours (coarse film)."""
    c, h, w = shape
    colour = 0.0 if c == 1 or rng.random() < 0.5 else rng.uniform(0.3, 1)
    field = rng.standard_normal((1, h, w), dtype=np.float32)
    if colour:
        hues = rng.standard_normal(shape, dtype=np.float32)
        field = np.asarray((1 - colour) * field + colour * hues, dtype=np.float32)
    if grain > 0:
        field = np.asarray(gaussian_matrix(h, grain) @ field @ gaussian_matrix(w, grain).T)
    return np.asarray(np.broadcast_to(field, shape) / (field.std() + 1e-8), dtype=np.float32)


def _strength(rng: np.random.Generator, mildest: float, heaviest: float) -> float:
    """Log-uniform between two levels of 8 bits: genuine prints are mostly mild, and some are heavy."""
    return float(mildest * (heaviest / mildest) ** rng.random()) / 255


class Noise(Degradation):
    """Gaussian noise of 1.2 to 32 levels of 8 bits at severity 1, mixed with salt and pepper."""

    name = "noise"

    def sample(self, shape: tuple[int, int, int], rng: np.random.Generator) -> Draw:
        grain = rng.uniform(0.3, 0.9) * self.pixel_unit(shape) if rng.random() < 0.35 else 0.0
        sigma = self.severity * _strength(rng, 1.2, 32)
        amount = self.severity * 0.02 * rng.random() ** 2 if rng.random() < 0.4 else 0.0
        salt_share = rng.uniform(0.3, 0.8)
        dice = rng.random((1, *shape[1:]), dtype=np.float32)
        return {
            "noise": (sigma * _field(shape, rng, grain)).astype(np.float32),
            "spots": (dice < amount).astype(np.float32),
            "salt": (dice < amount * salt_share).astype(np.float32),
        }

    def apply(self, picture: Array, draw: Mapping[str, Array]) -> Array:
        return (picture + draw["noise"]).clip(0, 1) * (1 - draw["spots"]) + draw["salt"]


class Speckle(Degradation):
    """Multiplicative grain: strong in the lights, absent in black."""

    name = "speckle"

    def sample(self, shape: tuple[int, int, int], rng: np.random.Generator) -> Draw:
        sigma = self.severity * _strength(rng, 2, 44)
        grain = rng.uniform(0, 0.8) * self.pixel_unit(shape)
        return {"noise": (sigma * _field(shape, rng, grain)).astype(np.float32)}

    def apply(self, picture: Array, draw: Mapping[str, Array]) -> Array:
        return (picture * (1 + draw["noise"])).clip(0, 1)
