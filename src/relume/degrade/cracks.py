r"""Cracks: branched random walks, wide where the emulsion flaked, with torn bright or shaded edges."""

__all__ = ["Cracks"]

import numpy as np
from PIL import Image as PilImage
from PIL import ImageChops, ImageDraw, ImageFilter

from relume.degrade.structured import Layers, Map, Structured, cloud, paper

Point = tuple[float, float]


class Cracks(Structured):
    r"""Random-walk polylines with heading jitter :math:`\mathcal N(0, 0.3)` rad that branch and taper.

    The core shows the paper (textured, mostly white); the rim is lighter or darker where the emulsion lifts.
    At some corners of the walk a flake is missing.
    """

    name = "cracks"

    def paint(self, layers: Layers, unit: float, rng: np.random.Generator) -> None:
        size = (layers.alpha.shape[0], layers.alpha.shape[1])
        over = 3 if max(size) <= 1500 else 1  # drawn larger and reduced, for soft edges
        for _ in range(self.count(1, 3, rng)):
            sheet = PilImage.new("L", (size[1] * over, size[0] * over))
            self._walk(ImageDraw.Draw(sheet), size, unit, over, rng)
            core = self._soften(sheet, over, unit, rng)
            self._lay(layers, core, unit, rng)

    def _walk(
        self,
        pen: ImageDraw.ImageDraw,
        size: tuple[int, int],
        unit: float,
        over: int,
        rng: np.random.Generator,
    ) -> None:
        h, w = size
        step = rng.uniform(4, 9) * unit
        width = unit * float(np.exp(rng.uniform(np.log(0.7), np.log(4.5))))
        branching = rng.uniform(0.03, 0.09)
        jitter = rng.uniform(0.15, 0.4)
        flakes = rng.uniform(0, 0.12)
        from_border = rng.random() < 0.6
        start = (rng.uniform(0, w), rng.uniform(0, h))
        if from_border:
            start = (
                (start[0], float(rng.choice([0, h])))
                if rng.random() < 0.5
                else (float(rng.choice([0, w])), start[1])
            )
        towards = np.arctan2(h * rng.uniform(0.2, 0.8) - start[1], w * rng.uniform(0.2, 0.8) - start[0])
        reach = rng.uniform(0.25, 1.3) * max(h, w)
        paths = [(start, float(towards), width, reach)]
        drawn = 0
        while paths and drawn < 4000:
            (x, y), heading, thick, left = paths.pop()
            while left > 0 and -step < x < w + step and -step < y < h + step and thick > 0.35 * unit:
                heading += rng.normal(0, jitter)
                length = step * rng.uniform(0.5, 1.5)
                end = (x + length * np.cos(heading), y + length * np.sin(heading))
                stroke = thick * float(np.exp(rng.normal(0, 0.35)))
                if rng.random() > 0.04:  # a gap now and then
                    pen.line(
                        [(x * over, y * over), (end[0] * over, end[1] * over)],
                        255,
                        max(1, round(stroke * over)),
                    )
                    radius = 0.5 * stroke * over
                    pen.ellipse(
                        (
                            end[0] * over - radius,
                            end[1] * over - radius,
                            end[0] * over + radius,
                            end[1] * over + radius,
                        ),
                        255,
                    )
                if rng.random() < flakes:
                    self._flake(pen, end, stroke * rng.uniform(1, 3.5), over, rng)
                if rng.random() < branching and len(paths) < 12:
                    turn = rng.choice([-1, 1]) * np.deg2rad(rng.uniform(30, 70))
                    paths.append(
                        (
                            end,
                            heading + float(turn),
                            thick * rng.uniform(0.4, 0.8),
                            left * rng.uniform(0.2, 0.7),
                        )
                    )
                x, y = end
                left -= length
                thick *= 0.995
                drawn += 1

    @staticmethod
    def _flake(
        pen: ImageDraw.ImageDraw, at: Point, radius: float, over: int, rng: np.random.Generator
    ) -> None:
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(5, 10))))
        radii = radius * rng.uniform(0.4, 1.3, len(angles))
        pen.polygon(
            [
                ((at[0] + r * np.cos(a)) * over, (at[1] + r * np.sin(a)) * over)
                for a, r in zip(angles, radii, strict=True)
            ],
            255,
        )

    @staticmethod
    def _soften(sheet: PilImage.Image, over: int, unit: float, rng: np.random.Generator) -> Map:
        if over > 1:
            sheet = sheet.reduce(over)
        if rng.random() < 0.5:
            sheet = sheet.filter(ImageFilter.GaussianBlur(unit * rng.uniform(0.2, 0.7)))
        return np.asarray(sheet, dtype=np.float32) / np.float32(255)

    @staticmethod
    def _lay(layers: Layers, core: Map, unit: float, rng: np.random.Generator) -> None:
        size = (core.shape[0], core.shape[1])
        colour = paper(rng, bright=0.65)
        if rng.random() < 0.6:  # a lifted rim, shifted to one side as the light falls
            sheet = PilImage.fromarray((core * 255).astype(np.uint8))
            wide = sheet.filter(ImageFilter.GaussianBlur(unit * rng.uniform(0.6, 1.8)))
            shift = [int(v) for v in np.round(rng.normal(0, 1.0 * unit, 2))]
            rim = np.asarray(ImageChops.offset(wide, shift[0], shift[1]), dtype=np.float32) / 255
            layers.add((rim * rng.uniform(0.2, 0.7)).astype(np.float32), rng.choice([0.08, 0.9]) * np.ones(3))
        texture = rng.uniform(0, 0.08) * cloud(size, 1.5 * unit, rng) + rng.uniform(0, 0.08) * cloud(
            size, 9 * unit, rng
        )
        fill = np.clip(np.asarray(colour)[: layers.shape[0], None, None] + texture, 0, 1)
        opacity = rng.uniform(0.75, 1.0) if rng.random() < 0.75 else rng.uniform(0.35, 0.75)
        layers.add((core * opacity).astype(np.float32), fill)
