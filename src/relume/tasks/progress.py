r"""How far a restoration is: told after each evaluation, so that it can be watched and stopped."""

__all__ = ["InTwo", "Moment", "Observe", "Passes", "Progress", "Stopwatch"]

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from relume.tiles import Tile

Progress = Callable[[int, int], None]
"""``progress(tiles done, tiles in all)``, after each tile."""


@dataclass(frozen=True)
class Moment:
    """One evaluation of the net is done. All counts start at 1.

    ``done`` counts the evaluations of all tiles and samples, those of both passes with ``mask="twice"``,
    and ``total`` is what it will be at the end: samples × tiles × steps where nothing else is said. (Where
    the first of two passes surely finds nothing there is no second, and ``done`` ends at a half.) Several
    tiles may be under way at once, so ``tile`` and ``step`` need not come in order.
    ``clean`` is the net's present idea of the tile: h×w×3 float32 sRGB, as the net gave it (about [0,1]). Its
    upper left pixel is row ``y``, column ``x`` of the picture; at the right and the lower border it may reach
    beyond.
    """

    step: int
    steps: int
    tile: int
    tiles: int
    sample: int
    samples: int
    done: int
    y: int
    x: int
    clean: NDArray[np.float32]
    total: int = 0

    def __post_init__(self) -> None:
        if not self.total:
            object.__setattr__(self, "total", self.samples * self.tiles * self.steps)

    @property
    def share(self) -> float:
        """How much of all evaluations is done, in (0,1].

        >>> Moment(1, 2, 3, 4, 1, 1, 5, 0, 0, np.zeros((1, 1, 3), np.float32)).share
        0.625
        """
        return self.done / self.total


Observe = Callable[[Moment], None]
"""Told of every moment. What it raises ends the restoration there and reaches the caller."""


class Passes:
    """One progress over several passes through the tiles of a picture, one a sample.

    With ``look`` the first sample takes two: its first evaluations are made in a pass of their own.
    """

    def __init__(
        self,
        samples: int = 1,
        steps: int = 1,
        progress: Progress | None = None,
        observe: Observe | None = None,
        *,
        look: bool = False,
    ) -> None:
        self._samples, self._steps, self._look = samples, steps, look
        self._progress, self._observe = progress, observe
        self._pass, self._done = 0, 0
        self._places: Sequence[Tile] = ()

    def begin(self, places: Sequence[Tile]) -> None:
        """The next pass begins; its tiles are those of ``places``."""
        self._pass += 1
        self._places = places

    def evaluated(self, tile: int, step: int, clean: NDArray[np.float32]) -> None:
        """The net was asked once about a tile (of ``places``, from 0 on), and answered with 1×3×h×w."""
        self._done += 1
        if self._observe is not None:
            place = self._places[tile]
            sample = max(1, self._pass - self._look)
            at = (step, self._steps, tile + 1, len(self._places), sample, self._samples, self._done)
            top, left = max(0, -place.y), max(0, -place.x)
            inside = clean[0, :, top:, left:].transpose(1, 2, 0)
            self._observe(Moment(*at, place.y + top, place.x + left, inside))

    def tile_done(self, done: int, total: int) -> None:
        """So many tiles of this pass are done."""
        if self._progress is not None:
            self._progress((self._pass - 1) * total + done, (self._samples + self._look) * total)


class InTwo:
    """One progress over two restorations of a picture in turn, taken to be of one length."""

    def __init__(self, progress: Progress | None, observe: Observe | None) -> None:
        self._progress, self._observe = progress, observe
        self._tiles = self._evaluations = 0  # of the first
        self._second = False
        self.observe: Observe | None = None if observe is None else self._observed

    def progress(self, done: int, total: int) -> None:
        """As :data:`Progress`, to be given to both."""
        if self._second:
            done, total = self._tiles + done, self._tiles + total
        else:
            self._tiles, total = total, 2 * total
        if self._progress is not None:
            self._progress(done, total)

    def _observed(self, moment: Moment) -> None:
        done, total = moment.done, moment.total
        if self._second:
            done, total = self._evaluations + done, self._evaluations + total
        else:
            self._evaluations, total = total, 2 * total
        if self._observe is not None:
            self._observe(replace(moment, done=done, total=total))

    def then(self) -> None:
        """The second begins."""
        self._second = True

    def end(self) -> None:
        """There is no second."""
        if self._progress is not None:
            self._progress(self._tiles, self._tiles)


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
