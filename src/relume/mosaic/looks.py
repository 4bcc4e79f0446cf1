r"""Tiles as logarithms of counts, a few of them kept."""

__all__ = ["Looks", "Counts", "Field", "Level"]

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from relume.background import NO_ARTEFACTS, Artefacts, filled
from relume.errors import UsageError

Field = npt.NDArray[np.float64]
Counts = Sequence[npt.NDArray[np.floating]] | Sequence[npt.NDArray[np.integer]]
Level = Callable[[int], npt.NDArray[np.floating]]
"""Tile number → ln counts less the tile's own gain and slow modes (H,W): the common field and the sample."""
_FLOOR = 0.02  # of a tile's median: what is darker says nothing about the light


class Added(NamedTuple):
    """What a camera added to a tile: outliers ``where`` (flattened) stood in place of ``values``, a ``veil``
    of so many counts, a share ``glare`` of the mean. ``middle`` is the median with the veil in it, ``light``
    the mean without."""

    where: npt.NDArray[np.intp]
    values: Field
    veil: float
    glare: float
    middle: float
    light: float


class Looks:
    """ln counts of tiles (H,W), less their dark level; the last ones used stay in memory.

    What is below 2 % of a tile's median is raised to that, so that a dead pixel has a logarithm; what is not
    finite is taken from a neighbour.

    Args:
        tiles: (H,W) counts of one size, each read when it is asked for.
        dark: what the detector gives without light, a number or (H,W).
        keep: how many tiles are kept. Neighbours come by twice when two rows are.
        names: of the tiles, for errors; their numbers from 1 on without.
        artefacts: what the camera adds and is taken off.
        bright: pixels of the flattened tile that shine in a reference too, and are no outliers.

    Raises:
        UsageError: there is no tile, or one is dark or of another size.
    """

    def __init__(
        self,
        tiles: Counts,
        dark: npt.NDArray[np.floating] | float = 0.0,
        *,
        keep: int = 0,
        names: Sequence[str] = (),
        artefacts: Artefacts = NO_ARTEFACTS,
        bright: npt.NDArray[np.intp] | None = None,
    ) -> None:
        if not len(tiles):
            raise UsageError("a mosaic needs tiles")
        self.tiles, self.dark, self.names, self.artefacts = tiles, dark, names, artefacts
        self._bright = bright
        self._added: dict[int, Added] = {}
        self._keep = keep or 2 * int(len(tiles) ** 0.5) + 4
        self._kept: OrderedDict[int, npt.NDArray[np.float32]] = OrderedDict()
        self.shape = self[0].shape

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, number: int) -> npt.NDArray[np.float32]:
        found = self._kept.pop(number, None)
        if found is None:
            found = self._read(number)
            while len(self._kept) >= self._keep:
                self._kept.popitem(last=False)
        self._kept[number] = found
        return found

    def counts(self, number: int) -> Field:
        """Counts of a tile (H,W) less the dark level and what else the camera adds."""
        counts = np.array(np.asarray(self.tiles[number], np.float64) - self.dark)
        added = self._added.get(number) or self._sought(number, counts)
        counts.flat[added.where] = added.values
        return np.asarray(counts - added.veil)

    def added(self, number: int) -> Added:
        """What the camera added to a tile."""
        if number not in self._added:
            self.counts(number)
        return self._added[number]

    def _sought(self, number: int, counts: Field) -> Added:
        """A tile is read many times; what is wrong with it is sought once."""
        off = self.artefacts
        mended, where, _ = off.mended(counts, bright=self._bright)
        finite = np.isfinite(mended)
        mean = float(np.mean(mended, where=finite)) if finite.any() else 0.0
        share = off.share(mended)
        veil = share / (1 + share) * mean
        middle = float(np.median(mended[finite])) if finite.any() else 0.0
        values = np.asarray(mended.flat[where], np.float64)
        self._added[number] = Added(where, values, veil, share, middle, mean - veil)
        return self._added[number]

    def _read(self, number: int) -> npt.NDArray[np.float32]:
        counts = self.counts(number)
        # with the veil: of a tile that is mostly opaque little else is left
        middle = self._added[number].middle
        if not middle > 0:
            raise UsageError(
                f"{self._name(number)} is dark; is the dark level right? A tile without light is left out by "
                "taking its line out of the TileConfiguration.txt"
            )
        if self._kept and counts.shape != self.shape:
            raise UsageError(f"{self._name(number)} is {counts.shape}, the first {self.shape}")
        counts = filled(counts)
        return np.log(np.maximum(counts, _FLOOR * middle)).astype(np.float32)

    def _name(self, number: int) -> str:
        named = f" ({self.names[number]})" if number < len(self.names) else ""
        return f"tile {number + 1}{named}"
