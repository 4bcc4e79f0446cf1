r"""How far a restoration is: told after each evaluation, so that it can be watched and stopped."""

__all__ = ["Moment", "Observe", "Passes", "Progress", "Stopwatch"]

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relume.tiles import Tile

Progress = Callable[[int, int], None]
"""``progress(tiles done, tiles in all)``, after each tile."""


@dataclass(frozen=True)
class Moment:
    """One evaluation of the net is done. All counts start at 1.

    ``clean`` is the net's present idea of the tile: h×w×3 float32 sRGB, as the net gave it (about [0,1]). Its
    upper left pixel is row ``y``, column ``x`` of the picture; where the picture is smaller than a tile it
    reaches beyond.
    """

    step: int
    steps: int
    tile: int
    tiles: int
    sample: int
    samples: int
    y: int
    x: int
    clean: NDArray[np.float32]

    @property
    def share(self) -> float:
        """How much of all evaluations is done, in (0,1].

        >>> Moment(1, 2, 3, 4, 1, 1, 0, 0, np.zeros((1, 1, 3), np.float32)).share
        0.625
        """
        before = ((self.sample - 1) * self.tiles + self.tile - 1) * self.steps
        return (before + self.step) / (self.samples * self.tiles * self.steps)


Observe = Callable[[Moment], None]
"""Told of every moment. What it raises ends the restoration there and reaches the caller."""


class Passes:
    """One progress over several passes through the tiles of a picture."""

    def __init__(self, passes: int, progress: Progress | None, observe: Observe | None) -> None:
        self._passes, self._progress, self._observe = passes, progress, observe
        self._pass, self._tile = 0, 0
        self._places: Sequence[Tile] = ()

    def begin(self, places: Sequence[Tile]) -> None:
        """The next pass begins; its tiles come in the order of ``places``."""
        self._pass += 1
        self._tile, self._places = 0, places

    def evaluated(self, step: int, steps: int, clean: NDArray[np.float32]) -> None:
        """The net was asked once about the present tile, and answered with 1×3×h×w."""
        if self._observe is not None:
            place = self._places[self._tile]
            total = len(self._places)
            picture = clean[0].transpose(1, 2, 0)
            self._observe(
                Moment(
                    step, steps, self._tile + 1, total, self._pass, self._passes, place.y, place.x, picture
                )
            )

    def tile_done(self, done: int, total: int) -> None:
        """The present tile is done."""
        self._tile = done
        if self._progress is not None:
            self._progress((self._pass - 1) * total + done, self._passes * total)


class Stopwatch:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """What ran since the last lap was ``name``."""
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now
