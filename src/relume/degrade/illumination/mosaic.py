r"""A mosaic of one sample: K×K overlapping tiles, each made when it is asked for."""

__all__ = ["Mosaic"]

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from relume.degrade.phantoms import KINDS, draw_kind, phantom
from relume.errors import UsageError

from .formation import optics
from .shots import Shot, Simulator, window
from .streams import stream


class Mosaic(Sequence[Shot]):
    """K×K tiles in the order in which they were taken, from the lower left, rows upwards.

    Neither the canvas nor the tiles are kept: a tile is computed from its place. A mosaic of 31×31 takes the
    memory of one tile.

    Args:
        seed: of the session, the sample and the stage.
        k: tiles along a side.
        n: pixels along a side of a tile.
        step: nominal distance of neighbours in pixels; ``None`` draws it, 76 to 98 % of a tile.
        serpentine: whether every second row runs backwards; ``None`` draws it.
        instrument, kinds, zernike: as for :class:`Simulator`.
        content: whether a tile's gain depends on what it holds.

    Attributes:
        nominal: (N,2) upper left corners (y, x) as the stage reports them.
        positions: (N,2) where the tiles really lie.

    Raises:
        UsageError: fewer than one tile, or a step of more than a tile.
    """

    def __init__(
        self,
        seed: int,
        k: int,
        n: int = 512,
        *,
        step: float | None = None,
        serpentine: bool | None = None,
        instrument: int | None = None,
        kinds: Sequence[str] = tuple(KINDS),
        zernike: bool | None = None,
        content: bool = True,
    ) -> None:
        rng = stream(seed, "mosaic")
        drawn, order = rng.uniform(389, 500) / 512 * n, bool(rng.random() < 0.5)
        self.step = drawn if step is None else float(step)
        if k < 1 or not 0 < self.step <= n:
            raise UsageError(f"a mosaic of {k}×{k} tiles {self.step:g} pixels apart: use tiles that overlap")
        self.k, self.n = k, n
        self.serpentine = order if serpentine is None else serpentine
        self.simulator = Simulator(
            seed, n, instrument=instrument, moments=k * k, kinds=kinds, zernike=zernike
        )
        self.nominal = self._nominal()
        self.positions = self._real(rng)
        how = optics(rng, zernike=zernike)
        self.optics = how if content else how._replace(kappa=0.0, jitter=1.0)
        self._jitter = np.exp(rng.normal(0, 0.02, k * k)) if content else np.ones(k * k)
        side = (k - 1) * self.step + n
        self.sample = phantom(draw_kind(rng, kinds), (side, side), n / 2, rng)

    def _nominal(self) -> npt.NDArray[np.float64]:
        rows, columns = np.divmod(np.arange(self.k**2), self.k)
        if self.serpentine:
            columns = np.where(rows % 2, self.k - 1 - columns, columns)
        return np.stack([(self.k - 1 - rows) * self.step, columns * self.step], axis=1)

    def _real(self, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Of a stage that is turned by half a degree or so, and does not stop quite where it should."""
        turn = np.deg2rad(rng.normal(0, 0.5))
        middle = (self.k - 1) * self.step / 2
        y, x = (self.nominal - middle).T
        turned = np.stack([y * np.cos(turn) - x * np.sin(turn), y * np.sin(turn) + x * np.cos(turn)], axis=1)
        return middle + turned + rng.normal(0, 6 * self.n / 512, (self.k**2, 2))

    def __len__(self) -> int:
        return self.k**2

    def __getitem__(self, index: int) -> Shot:  # type: ignore[override]
        index = range(len(self))[index]
        how = self.optics._replace(jitter=float(self._jitter[index]))
        y, x = self.positions[index]
        return self.simulator.exposed(window(self.sample, how, (y, x), self.n), index)

    def __iter__(self) -> Iterator[Shot]:
        return (self[i] for i in range(len(self)))
