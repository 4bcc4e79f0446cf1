r"""Dust: specks, blobs and hairs on the print or the scanner's glass."""

__all__ = ["Dust"]

import numpy as np
from PIL import Image as PilImage
from PIL import ImageDraw, ImageFilter

from relume.degrade.structured import Layers, Structured, paper


class Dust(Structured):
    """Between 5 and 60 specks per 400×400 units, and a hair or two, white and dark."""

    name = "dust"

    def paint(self, layers: Layers, unit: float, rng: np.random.Generator) -> None:
        h, w = layers.alpha.shape
        for share in rng.dirichlet([1, 1]):
            sheet = PilImage.new("L", (w * 2, h * 2))
            pen = ImageDraw.Draw(sheet)
            number = self.severity * share * rng.uniform(5, 60) * max(0.15, h * w / (400 * unit) ** 2)
            for _ in range(rng.poisson(number)):
                self._speck(pen, (h, w), unit, rng)
            if rng.random() < 0.3 * min(1.0, self.severity):
                self._hair(pen, (h, w), unit, rng)
            sheet = sheet.reduce(2).filter(ImageFilter.GaussianBlur(unit * rng.uniform(0.1, 0.6)))
            alpha = np.asarray(sheet, dtype=np.float32) / 255 * rng.uniform(0.4, 1.0)
            layers.add(alpha.astype(np.float32), paper(rng, bright=0.4))

    @staticmethod
    def _speck(
        pen: ImageDraw.ImageDraw, size: tuple[int, int], unit: float, rng: np.random.Generator
    ) -> None:
        radius = 2 * unit * float(np.exp(rng.normal(-0.2, 0.6)))
        stretch = rng.uniform(0.5, 1.0)
        x, y = rng.uniform(0, 2 * size[1]), rng.uniform(0, 2 * size[0])
        pen.ellipse((x - radius, y - radius * stretch, x + radius, y + radius * stretch), fill=255)

    @staticmethod
    def _hair(pen: ImageDraw.ImageDraw, size: tuple[int, int], unit: float, rng: np.random.Generator) -> None:
        n = 24
        heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.18, n))
        step = unit * rng.uniform(2, 8)
        x = rng.uniform(0, 2 * size[1]) + np.cumsum(np.cos(heading)) * step
        y = rng.uniform(0, 2 * size[0]) + np.cumsum(np.sin(heading)) * step
        pen.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=255, width=max(1, round(1.5 * unit)))
