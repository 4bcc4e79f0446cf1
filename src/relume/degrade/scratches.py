r"""Scratches: long and straight, with a sinusoidal wander."""

__all__ = ["Scratches"]

import numpy as np

from relume.degrade.structured import Layers, Structured, cloud, paper


class Scratches(Structured):
    r"""Lines :math:`y = a x + b + A \sin(2\pi f x + \varphi)` with a Gaussian profile.

    Between 1 and 6 of them, 0.7 to 3 units wide, white or dark, fading in and out along their length; some
    end within the picture.
    """

    name = "scratches"

    def paint(self, layers: Layers, unit: float, rng: np.random.Generator) -> None:
        for _ in range(self.count(1, 6, rng)):
            self._scratch(layers, unit, rng)

    def _scratch(self, layers: Layers, unit: float, rng: np.random.Generator) -> None:
        size = layers.alpha.shape
        across = rng.random() < 0.4  # mostly vertical, as film and albums scratch
        length, breadth = (size[1], size[0]) if across else size
        along = np.arange(length, dtype=np.float32)
        wander = (
            rng.uniform(0, 4)
            * unit
            * np.sin(2 * np.pi * (rng.uniform(0.3, 2.5) * along / length + rng.random()))
        )
        centre = rng.uniform(0, breadth) + rng.normal(0, 0.25) * (along - length / 2) + wander
        width = unit * rng.uniform(0.35, 1.5) * (1 + 0.3 * cloud((1, length), 12 * unit, rng)[0]).clip(0.3, 2)
        opacity = rng.uniform(0.35, 1.0) * (0.8 + 0.5 * cloud((1, length), 25 * unit, rng)[0]).clip(0, 1)
        if rng.random() < 0.5:
            start, end = np.sort(rng.uniform(-0.2, 1.2, 2)) * length
            opacity = opacity * ((along > start) & (along < max(end, start + 20 * unit)))
        distance = np.arange(breadth, dtype=np.float32)[None] - centre[:, None].astype(np.float32)
        alpha = opacity[:, None] * np.exp(-0.5 * (distance / width[:, None].astype(np.float32)) ** 2)
        alpha[alpha < 0.02] = 0
        layers.add((alpha.T if across else alpha).astype(np.float32), paper(rng, bright=0.55))
