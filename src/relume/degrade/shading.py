r"""Shading: light that falls off, and prints that fade from their edges."""

__all__ = ["Shading"]

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from relume.degrade.degradation import Array, Degradation, Draw
from relume.degrade.structured import cloud

Map = NDArray[np.floating]


class Shading(Degradation):
    r"""Uneven light, of the lens, of the lamp above a print, or of the years on its edges.

    .. math:: y = g(p)\,x + v(p)

    with a gain :math:`g` and a veil :math:`v` that vary slowly over the picture: a lens falls off from
    somewhere near the middle, a lamp from one side to the other, edges darken or bleach towards the paper,
    and glare lies on one part. At severity 1 the darkest place keeps 0.25 to 0.85 of its light.

    Source: for the lens a power of the distance from a centre, after the polynomials of Goldman, *Vignette
    and Exposure Calibration and Compensation*, 2010; the other shapes and all ranges are ours.
    """

    name = "shading"

    def sample(self, shape: tuple[int, int, int], rng: np.random.Generator) -> Draw:
        channels, h, w = shape
        gain, veil = np.ones(shape), np.zeros(shape)
        if self.severity > 0:
            kind = rng.random()
            amount = min(1.0, self.severity * rng.uniform(0.15, 0.75))
            tint = np.array([1.0, rng.uniform(0.85, 1.0), rng.uniform(0.6, 1.0)])[:channels, None, None]
            if kind < 0.45:
                gain *= 1 - amount * self._lens(h, w, rng)
            elif kind < 0.65:
                gain *= 1 - amount * self._slope(h, w, rng)
            else:
                where = self._edges(h, w, rng) if kind < 0.85 else self._slope(h, w, rng) ** 2
                if rng.random() < 0.4:  # darker, and yellower: paper that took up dirt
                    gain *= 1 - amount * where * (1.4 - tint)
                else:  # bleached towards the paper, or glare
                    share = 0.7 * amount * where
                    gain *= 1 - share
                    veil += share * rng.uniform(0.75, 1.0) * tint
        return {"gain": gain.astype(np.float32), "veil": veil.astype(np.float32)}

    def apply(self, picture: Array, draw: Mapping[str, Array]) -> Array:
        return picture * draw["gain"] + draw["veil"]

    @staticmethod
    def _places(h: int, w: int) -> tuple[Map, Map]:
        """Rows (h,1) and columns (1,w) of pixel centres in [-1,1]."""
        return 2 * (np.arange(h)[:, None] + 0.5) / h - 1, 2 * (np.arange(w)[None] + 0.5) / w - 1

    def _lens(self, h: int, w: int, rng: np.random.Generator) -> Map:
        """0 at a centre to 1 at the farthest corner."""
        y, x = self._places(h, w)
        aspect = np.exp(rng.normal(0, 0.2))
        square = ((y - rng.normal(0, 0.15)) * aspect) ** 2 + ((x - rng.normal(0, 0.15)) / aspect) ** 2
        fall: Map = (square / square.max()) ** rng.uniform(0.6, 2.0)
        return fall

    def _slope(self, h: int, w: int, rng: np.random.Generator) -> Map:
        """0 on one side to 1 on the other, in any direction."""
        y, x = self._places(h, w)
        angle = rng.uniform(0, 2 * np.pi)
        along = np.sin(angle) * y + np.cos(angle) * x
        rise: Map = ((along - along.min()) / max(float(np.ptp(along)), 1e-6)) ** rng.uniform(0.7, 2.0)
        return rise

    def _edges(self, h: int, w: int, rng: np.random.Generator) -> Map:
        """1 at the edges, falling inwards; each edge has its own reach, and none is straight."""
        y, x = self._places(h, w)
        wave = 0.35 * cloud((h, w), rng.uniform(0.15, 0.5) * max(h, w), rng)
        inside = np.zeros((h, w))
        for distance in (1 + y, 1 - y, 1 + x, 1 - x):
            if rng.random() < 0.75:
                inside = np.maximum(
                    inside, np.exp(-np.maximum(distance, 0) / rng.uniform(0.06, 0.35) * np.exp(wave))
                )
        return inside
