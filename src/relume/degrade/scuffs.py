r"""Scuffs: many short, fine strokes, as handling leaves them on a glossy print."""

__all__ = ["Scuffs"]

import numpy as np
from PIL import Image as PilImage
from PIL import ImageDraw, ImageFilter

from relume.degrade.structured import Layers, Structured, paper


class Scuffs(Structured):
    """Between 8 and 70 strokes per 400×400 units, 3 to 40 units long and up to one unit wide.

    Each has a brightness of its own; most of a picture's strokes share a direction.
    """

    name = "scuffs"

    def paint(self, layers: Layers, unit: float, rng: np.random.Generator) -> None:
        h, w = (int(n) for n in layers.alpha.shape)
        sheet = PilImage.new("L", (w * 2, h * 2))
        pen = ImageDraw.Draw(sheet)
        number = self.severity * rng.uniform(8, 70) * max(0.15, h * w / (400 * unit) ** 2)
        direction, spread = rng.uniform(0, np.pi), rng.uniform(0.1, 1.5)
        for _ in range(max(1, rng.poisson(number))):
            self._stroke(pen, (h, w), direction + rng.normal(0, spread), unit, rng)
        sheet = sheet.reduce(2).filter(ImageFilter.GaussianBlur(unit * rng.uniform(0.1, 0.4)))
        alpha = np.asarray(sheet, dtype=np.float32) / np.float32(255)
        layers.add(alpha, paper(rng, bright=0.8))

    @staticmethod
    def _stroke(
        pen: ImageDraw.ImageDraw,
        size: tuple[int, int],
        heading: float,
        unit: float,
        rng: np.random.Generator,
    ) -> None:
        """A bent stroke that may fade out at one end."""
        length = 2 * unit * float(np.exp(rng.uniform(np.log(3), np.log(40))))
        n = 6
        headings = heading + np.cumsum(rng.normal(0, 0.12, n))
        x = rng.uniform(0, 2 * size[1]) + np.cumsum(np.cos(headings)) * length / n
        y = rng.uniform(0, 2 * size[0]) + np.cumsum(np.sin(headings)) * length / n
        width = max(1, round(2 * unit * rng.uniform(0.2, 1.0)))
        begin, end = 255 * rng.uniform(0.25, 1.0), 255 * rng.uniform(0.0, 1.0)
        for i in range(n - 1):
            level = round(begin + (end - begin) * i / (n - 2))
            pen.line([(x[i], y[i]), (x[i + 1], y[i + 1])], fill=level, width=width)
