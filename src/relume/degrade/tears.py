r"""Torn corners and frayed borders: what is gone, down to the background."""

__all__ = ["Tears"]

import numpy as np
from PIL import Image as PilImage
from PIL import ImageDraw, ImageFilter

from relume.degrade.structured import Layers, Structured, paper


class Tears(Structured):
    """One or two corners torn off along a rough line, or a border frayed, with a bright torn rim."""

    name = "tears"

    def paint(self, layers: Layers, unit: float, rng: np.random.Generator) -> None:
        h, w = (int(n) for n in layers.alpha.shape)
        for _ in range(self.count(0.6, 2.0, rng)):
            reach = min(h, w) * rng.uniform(0.06, 0.28)
            outline = self._outline(h, w, reach, unit, rng)
            sheet = PilImage.new("L", (w * 2, h * 2))
            ImageDraw.Draw(sheet).polygon([(2 * x, 2 * y) for x, y in outline], fill=255)
            gone = sheet.reduce(2)
            rim = gone.filter(ImageFilter.GaussianBlur(unit * rng.uniform(1.0, 3.0)))
            wide = np.minimum(1, np.asarray(rim, dtype=np.float32) / 255 * 2.2)
            layers.add((wide * rng.uniform(0.5, 1.0)).astype(np.float32), paper(rng, bright=1.0))
            layers.add(np.asarray(gone, dtype=np.float32) / np.float32(255), paper(rng, bright=0.6))

    @staticmethod
    def _outline(
        h: int, w: int, reach: float, unit: float, rng: np.random.Generator
    ) -> list[tuple[float, float]]:
        """A rough line from one border to the next, closed outside of the picture."""
        n = 14
        if rng.random() < 0.7:  # a corner, drawn at the origin and then turned to one of the four
            t = np.linspace(0, 1, n)
            x, y = reach * rng.uniform(0.6, 1.6) * (1 - t), reach * rng.uniform(0.6, 1.6) * t
            close = [(-9.0, y[-1]), (-9.0, -9.0), (x[0], -9.0)]
        else:
            x = np.linspace(-5, max(h, w) + 5, n)
            y = np.full(n, reach * rng.uniform(0.05, 0.25))
            close = [(x[-1], -9.0), (x[0], -9.0)]
        x = x + rng.normal(0, 1.2 * unit, n)
        y = y + rng.normal(0, 1.2 * unit, n)
        points = [*zip(x.tolist(), y.tolist(), strict=True), *close]
        if rng.random() < 0.5:
            points = [(w - px, py) for px, py in points]
        if rng.random() < 0.5:
            points = [(px, h - py) for px, py in points]
        return points
