r"""Contenders: everything that is given the same damaged picture, behind one signature."""

__all__ = ["Answer", "Contender", "classical", "diffused", "parameters", "restored"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relume import tiles
from relume.bench.classical import Row
from relume.bundle import Bundle
from relume.diffusion import Table
from relume.diffusion.parametrize import Predicts
from relume.image import Image
from relume.tasks.finish import three_channels
from relume.tasks.generate import drawn
from relume.tasks.restore import Restorer
from relume.tasks.settings import Settings

Array = NDArray[np.float32]
Bands = list[tuple[int, int]]


@dataclass(frozen=True)
class Answer:
    """A picture, where the contender saw damage (H×W, more is more likely), and its evaluations a tile."""

    image: Image
    mask: Array | None = None
    evaluations: int | None = None


@dataclass(frozen=True)
class Contender:
    """One row of a table.

    Parameters
    ----------
    name, title:
        How it is called, and what it does in a few words.
    run:
        Damaged picture → answer.
    control:
        Whether it is a negative control.
    parameters:
        Trained numbers, or ``None`` where nothing was trained.
    probability:
        Whether its mask is a probability, so that one half means something.
    seams:
        ``(height, width)`` → the bands of rows and of columns in which its tiles meet.
    """

    name: str
    title: str
    run: Callable[[Image], Answer]
    control: bool = False
    parameters: int | None = None
    probability: bool = False
    seams: Callable[[int, int], tuple[Bands, Bands]] | None = None


def classical(row: Row) -> Contender:
    """A row without training, on three channels of sRGB."""

    def run(image: Image) -> Answer:
        picture = three_channels(image.srgb())
        return Answer(Image(row.restore(picture)), row.find(picture) if row.find else None)

    return Contender(row.name, row.title, run, control=row.control)


def restored(restorer: Restorer, settings: Settings, *, name: str, title: str) -> Contender:
    """A restorer with its settings, as anybody would call it."""

    def run(image: Image) -> Answer:
        done = restorer.restore(image, settings)
        return Answer(done.image, done.mask, done.evaluations)

    def seams(height: int, width: int) -> tuple[Bands, Bands]:
        size, overlap = restorer.tiling(height, width, settings)
        return tiles.seams(height, size, overlap), tiles.seams(width, size, overlap)

    return Contender(name, title, run, parameters=parameters(restorer.bundle), probability=True, seams=seams)


def diffused(
    net: Any,
    table: Table,
    *,
    name: str,
    title: str,
    seed: int,
    predicts: Predicts = "eps",
    device: str = "cpu",
) -> Contender:
    """A conditional torch net that ``predicts`` noise, on the whole picture, by a chain of its sampler."""

    def run(image: Image) -> Answer:
        size = image.height, image.width
        (picture,) = drawn(net, table, size, [seed], damaged=image.srgb(), predicts=predicts, device=device)
        return Answer(Image(picture), evaluations=table.evaluations)

    count = sum(int(weight.numel()) for weight in net.parameters())
    return Contender(name, title, run, parameters=count)


def parameters(bundle: Bundle) -> int:
    """How many trained numbers a model holds, over all its graphs."""
    return sum(int(tensor.size) for tensor in bundle.tensors().values())
