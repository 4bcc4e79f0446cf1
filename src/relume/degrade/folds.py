r"""Folds: a wide soft band of changed light, with the emulsion broken along the crease."""

__all__ = ["Folds"]

import numpy as np

from relume.degrade.structured import Layers, Structured, cloud, paper


class Folds(Structured):
    """One or two straight creases: a band of 4 to 20 units, and a broken core of 0.5 to 2."""

    name = "folds"

    def paint(self, layers: Layers, unit: float, rng: np.random.Generator) -> None:
        h, w = (int(n) for n in layers.alpha.shape)
        rows, columns = np.mgrid[0:h, 0:w].astype(np.float32)
        for _ in range(self.count(0.6, 1.8, rng)):
            angle = rng.choice([0, np.pi / 2]) + rng.normal(0, 0.2)
            x, y = rng.uniform(0.1, 0.9) * w, rng.uniform(0.1, 0.9) * h
            distance = (columns - x) * np.sin(angle) - (rows - y) * np.cos(angle)
            distance = distance + unit * 0.6 * cloud((h, w), 18 * unit, rng)
            band = np.exp(-0.5 * (distance / (unit * rng.uniform(2, 10))) ** 2) * rng.uniform(0.08, 0.35)
            light, dark = rng.uniform(0.7, 1.0), rng.uniform(0.0, 0.2)
            side = (distance > 0) if rng.random() < 0.5 else np.ones_like(distance, dtype=bool)
            layers.add(
                np.where(side, band, 0.5 * band).astype(np.float32), light if rng.random() < 0.6 else dark
            )
            broken = (0.6 + 0.9 * cloud((h, w), 10 * unit, rng)).clip(0, 1) * rng.uniform(0.3, 1.0)
            core = np.exp(-0.5 * (distance / (unit * rng.uniform(0.4, 1.6))) ** 2) * broken
            core[core < 0.03] = 0
            layers.add(core.astype(np.float32), paper(rng, bright=0.85))
