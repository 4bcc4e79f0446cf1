r"""What damages with a place share: an opacity, a paint, and the ways to draw them."""

__all__ = ["Structured", "Layers", "cloud"]

from abc import abstractmethod
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from relume.degrade.degradation import Array, Degradation, Draw, composite

Map = NDArray[np.float32]


def cloud(size: tuple[int, int], cell: float, rng: np.random.Generator) -> Map:
    """A smooth random field with standard deviation about 1 that varies over ``cell`` pixels."""
    h, w = size
    field = np.zeros(size, dtype=np.float32)
    for octave, weight in ((cell, 1.1), (0.43 * cell, 0.7)):  # two, or the grid would show as a rhythm
        rows, columns = (max(2, int(np.ceil(n / max(octave, 1.0))) + 1) for n in (h, w))
        coarse = PilImage.fromarray(rng.standard_normal((rows, columns), dtype=np.float32))
        field += weight * np.asarray(coarse.resize((w, h), PilImage.Resampling.BICUBIC), dtype=np.float32)
    return field


class Layers:
    """Opaque paints laid one over the other, kept premultiplied: y = x (1 − alpha) + paint."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape = shape
        self.alpha = np.zeros(shape[1:], dtype=np.float32)
        self.paint = np.zeros(shape, dtype=np.float32)

    def add(self, alpha: Map, colour: NDArray[np.floating] | float) -> None:
        """Lay ``colour`` (a number, (C,) or (C,H,W) in [0,1]) over what is there, with opacity ``alpha``."""
        colour = np.asarray(colour, dtype=np.float32)
        if colour.ndim == 1:
            colour = colour[: self.shape[0], None, None]
        self.alpha = self.alpha * (1 - alpha) + alpha
        self.paint = self.paint * (1 - alpha) + alpha * colour

    def draw(self) -> Draw:
        """The finished draw."""
        return {"alpha": self.alpha[None].astype(np.float32), "paint": self.paint.astype(np.float32)}


class Structured(Degradation):
    """A damage that covers some pixels and leaves the others as they are."""

    structured = True

    def sample(self, shape: tuple[int, int, int], rng: np.random.Generator) -> Draw:
        layers = Layers(shape)
        if self.severity > 0:
            self.paint(layers, self.pixel_unit(shape), rng)
        return layers.draw()

    @abstractmethod
    def paint(self, layers: Layers, unit: float, rng: np.random.Generator) -> None:
        """Lay the damage over ``layers``, with lengths in multiples of ``unit`` pixels."""

    def apply(self, picture: Array, draw: Mapping[str, Array]) -> Array:
        return composite(picture, draw)

    def count(self, low: float, high: float, rng: np.random.Generator) -> int:
        """How many, between ``low`` and ``high`` at severity 1."""
        return max(1, round(self.severity * rng.uniform(low, high)))


def paper(rng: np.random.Generator, *, bright: float = 0.75) -> NDArray[np.float64]:
    """The colour under the emulsion: mostly white to cream, sometimes dark."""
    level = rng.uniform(0.7, 1.0) if rng.random() < bright else rng.uniform(0.0, 0.3)
    return np.clip(level * np.array([1.0, 1.0 - rng.uniform(0, 0.06), 1.0 - rng.uniform(0, 0.16)]), 0, 1)
