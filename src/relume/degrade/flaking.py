r"""Flaking: places where the emulsion came off, hard-edged and ragged, down to black or to the paper."""

__all__ = ["Flaking"]

import numpy as np

from relume.degrade.structured import Layers, Structured, cloud, paper


class Flaking(Structured):
    """Between 1 and 5 ragged patches of 2 to 22 units, each with smaller ones around it.

    Half of them lie near a border. On prints from glass plates they are black, elsewhere the paper shows.
    """

    name = "flaking"

    def paint(self, layers: Layers, unit: float, rng: np.random.Generator) -> None:
        h, w = (int(n) for n in layers.alpha.shape)
        colour = paper(rng, bright=0.45)
        for _ in range(self.count(1, 5, rng)):
            a = 0.4 if rng.random() < 0.5 else 1.0  # a below 1 crowds towards the borders
            centre = np.array([rng.beta(a, a) * h, rng.beta(a, a) * w])
            radius = unit * float(np.exp(rng.uniform(np.log(2), np.log(22))))
            self._patch(layers, centre, radius, colour, rng)
            for _ in range(rng.poisson(2)):
                beside = centre + rng.normal(0, 2.2 * radius, 2)
                self._patch(layers, beside, radius * rng.uniform(0.1, 0.4), colour, rng)

    @staticmethod
    def _patch(
        layers: Layers,
        centre: np.ndarray[tuple[int], np.dtype[np.float64]],
        radius: float,
        colour: np.ndarray[tuple[int], np.dtype[np.float64]],
        rng: np.random.Generator,
    ) -> None:
        """Lay one patch: a stretched disc whose outline a random field eats into."""
        h, w = (int(n) for n in layers.alpha.shape)
        reach = int(np.ceil(2.5 * radius)) + 2
        rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
        angle, stretch = rng.uniform(0, np.pi), rng.uniform(1, 2.2)
        along = rows * np.sin(angle) + columns * np.cos(angle)
        across = (columns * np.sin(angle) - rows * np.cos(angle)) * stretch
        ragged = cloud((2 * reach + 1, 2 * reach + 1), max(1.0, 0.5 * radius), rng)
        depth = radius * (1 + 0.45 * ragged) - np.hypot(along, across)
        local = np.clip(depth / rng.uniform(0.8, 2.0) + 0.5, 0, 1) * rng.uniform(0.8, 1.0)
        alpha = np.zeros((h, w), np.float32)
        top, left = (int(c) - reach for c in centre)
        y, x = slice(max(0, top), max(0, top + len(rows))), slice(max(0, left), max(0, left + len(rows)))
        part = local[y.start - top :, x.start - left :][: max(0, h - y.start), : max(0, w - x.start)]
        alpha[y.start : y.start + part.shape[0], x.start : x.start + part.shape[1]] = part
        layers.add(alpha, colour)
