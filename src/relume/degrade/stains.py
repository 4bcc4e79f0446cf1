r"""Uneven fading: veils without an edge, and stains with one."""

__all__ = ["UnevenFading"]

import numpy as np

from relume.degrade.structured import Layers, Structured, cloud


class UnevenFading(Structured):
    """Light or damp reached one part of the print more: a soft veil, or a blotch with a darker tide mark."""

    name = "uneven-fading"

    def paint(self, layers: Layers, unit: float, rng: np.random.Generator) -> None:
        h, w = (int(n) for n in layers.alpha.shape)
        field = cloud((h, w), rng.uniform(0.35, 0.8) * max(h, w), rng)
        s = min(1.5, self.severity)
        tint = np.array([1.0, rng.uniform(0.9, 1.0), rng.uniform(0.75, 0.95)]) * rng.uniform(0.75, 0.95)
        if rng.random() < 0.6:
            layers.add(
                (s * rng.uniform(0.05, 0.35) * (0.5 + 0.5 * field).clip(0, 1)).astype(np.float32), tint
            )
            return
        edge = field + 0.15 * cloud((h, w), 12 * unit, rng) - rng.uniform(0.2, 1.0)
        inside = 1 / (1 + np.exp(-np.clip(edge * rng.uniform(8, 25), -30, 30)))
        dark = rng.random() < 0.5
        layers.add((inside * s * rng.uniform(0.08, 0.35)).astype(np.float32), 0.35 * tint if dark else tint)
        tide = np.exp(-0.5 * (edge / rng.uniform(0.03, 0.08)) ** 2) * s * rng.uniform(0.1, 0.4)
        layers.add(tide.astype(np.float32), 0.4 * tint)
