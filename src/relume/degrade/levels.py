r"""Levels: black and white points that are not where they belong."""

__all__ = ["Levels"]

from collections.abc import Mapping

import numpy as np

from relume.degrade.degradation import Array, Degradation, Draw, scalar


class Levels(Degradation):
    r"""A flat print, a careless scan, a tinted paper: the colours are all there, in too small a range.

    .. math:: y_c = \operatorname{clip}(b_c + (w_c - b_c)\,x_c)^{\gamma}

    At severity 1 black lies between −0.1 and 0.35, white between 0.55 and 1.12 and at least 0.2 above it; in
    half of the pictures each channel has its own.
    """

    name = "levels"

    def sample(self, shape: tuple[int, int, int], rng: np.random.Generator) -> Draw:
        s, channels = min(self.severity, 2.0), shape[0]
        black, white = s * rng.uniform(-0.1, 0.35), 1 - s * rng.uniform(-0.12, 0.45)
        white = max(white, black + 0.2)
        own = s * (rng.random() < 0.5) * rng.standard_normal((2, 3)) * np.array([[0.03], [0.05]])
        span = np.maximum(white - black + own[1] - own[0], 0.1)
        return {
            "black": (black + own[0][:channels]).astype(np.float32)[:, None, None],
            "span": span[:channels].astype(np.float32)[:, None, None],
            "gamma": scalar(float(np.exp(s * rng.normal(0, 0.25)))),
        }

    def apply(self, picture: Array, draw: Mapping[str, Array]) -> Array:
        return (draw["black"] + draw["span"] * picture).clip(0, 1) ** draw["gamma"]
