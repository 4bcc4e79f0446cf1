r"""The local net on a whole picture: tiles, chains of evaluations, and the damage that it sees."""

__all__ = ["Job", "Local", "check_side"]

from collections.abc import Generator
from contextlib import closing, suppress
from dataclasses import dataclass
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relume import tiles
from relume.bundle import Card
from relume.diffusion import Table, Walk, begin
from relume.engines import Engine
from relume.errors import RelumeError, UsageError
from relume.tasks.detail import Detail, amplify
from relume.tasks.field import noise_at
from relume.tasks.progress import Passes
from relume.tasks.steps import Chain, Run, one_by_one

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Job:
    """One pass over a picture.

    Parameters
    ----------
    table:
        The chain of each tile; without one the net is asked once, for the damage.
    side, overlap:
        Of the tiles, in pixels.
    lead:
        Rows and columns by which the first tile begins before the picture (:mod:`relume.tasks.lattice`).
    seed:
        Decides the noise, where the chain draws any.
    detail:
        How much of the lost detail is brought back, 0…1.
    answers:
        The net's first answer about each tile by its number: what is missing is put in, what is there is not
        asked for again. ``None``: not kept.
    """

    table: Table | None
    side: int
    overlap: int
    seed: int = 0
    detail: float = 0.0
    answers: dict[int, Array] | None = None
    lead: tiles.Lead = (0, 0)

    @property
    def noisy(self) -> bool:
        """Whether noise enters anywhere, the start included."""
        return self.table is not None and (self.table.stochastic or self.table.start.noise != 0)


def check_side(side: int, multiple: int) -> None:
    """Raises :class:`UsageError` where a net that halves its tiles cannot work on tiles of that side."""
    if side < multiple or side % multiple:
        raise UsageError(f"a tile side of {side} does not fit this model: use a multiple of {multiple}")


class Local:
    """The local net of a model on its engine."""

    def __init__(self, engine: Engine, card: Card) -> None:
        self.engine = engine
        self.multiple = int(card.get("multiple_of", 1))
        # Damage weighed more than it is frequent when the net learned: that is undone, or it would cry wolf.
        self.prior = np.float32(np.log(card.get("damage_weight", 1.0)))
        detail = card.get("detail")
        self.detail = Detail.from_card(detail["weights"]) if detail else None
        self._prepared: set[int] = set()

    def prepare(self, side: int) -> None:
        """Lets the net be compiled for these tiles while something else is done on another core."""
        shapes = (1, 3, side, side), (1, 4, side, side), (1,)

        def prepare() -> None:
            with suppress(RelumeError):  # the first tile will say it
                self.engine.prepare(*shapes)

        if side not in self._prepared:
            self._prepared.add(side)
            Thread(target=prepare, name="prepare").start()

    def __call__(
        self,
        toned: Array,
        mask: Array | None,
        job: Job,
        passes: Passes,
        run: Run | None = None,
        *,
        shown: Array | None = None,
    ) -> Array:
        """All tiles: H×W×3 and a mask → H×W×4, the clean picture and the probability of damage.

        Where ``shown`` (H×W) is 0 all over a tile, the tile comes back as it was, with a probability of 0:
        the caller does not look at it there. ``run`` says who evaluates.

        Raises
        ------
        UsageError
            If the net cannot work on tiles of that side.
        """
        h, w = toned.shape[:2]
        check_side(job.side, self.multiple)
        planes = [toned, np.zeros((h, w, 1), np.float32) if mask is None else mask[..., None]]
        if job.noisy:
            rows, columns = np.indices((h, w), dtype=np.float32)
            planes += [rows[..., None], columns[..., None]]
        if shown is not None:
            planes.append(shown[..., None])
        stack = np.concatenate(planes, axis=2)
        size: Any = {"tile": job.side, "overlap": job.overlap, "lead": job.lead}
        passes.begin(tiles.grid(h, w, **size))
        chains = (
            self._tile(tile, number, job, passes, hidden=shown is not None and not tile[..., -1].any())
            for number, tile in enumerate(tiles.cuts(stack, **size))
        )
        with closing((run or one_by_one(self.engine))(chains)) as done:
            return tiles.blend(done, h, w, **size, progress=passes.tile_done)

    def _tile(self, tile: Array, number: int, job: Job, passes: Passes, *, hidden: bool) -> Chain:
        """One tile: what it wants evaluated, and in the end its H×W×4."""
        if hidden:
            return np.concatenate([tile[..., :3], np.zeros_like(tile[..., :1])], axis=2)
        condition = np.ascontiguousarray(tile[..., :4].transpose(2, 0, 1))[None]
        picture = np.ascontiguousarray(condition[:, :3])
        if job.table is None:
            first = yield picture, condition, np.ones(1, np.float32)
            clean = first[:, :3]
            passes.evaluated(number, 1, clean)
        else:
            places = tile[..., 4:]
            clean, first = yield from self._chain(job.table, picture, condition, places, number, job, passes)
        probability = 1 / (1 + np.exp(-np.clip(first[:, 3:] - self.prior, -30, 30)))
        both: Array = np.concatenate([clean, probability], axis=1)[0].transpose(1, 2, 0)
        if self.detail is not None and job.detail > 0:
            both[..., :3] = amplify(both[..., :3], tile[..., :3], self.detail, job.detail, both[..., 3])
        return both

    def _chain(
        self,
        table: Table,
        picture: Array,
        condition: Array,
        places: Array,
        number: int,
        job: Job,
        passes: Passes,
    ) -> Generator[tuple[Array, ...], Array, tuple[Array, Array]]:
        """The end of the chain, and the net's first answer in it, which may be known."""
        noise = None
        if job.noisy:
            rows, columns = (np.rint(places[..., c]).astype(np.int64) for c in (0, 1))
            noise = lambda step: noise_at(rows, columns, seed=job.seed, step=step)[None]  # noqa: E731
        walk = Walk(table, begin(table, y=picture, noise=noise), y=picture, noise=noise)
        kept = {} if job.answers is None else job.answers
        first = kept.get(number)
        while not walk.over:
            known = None if walk.done else first
            answer = known
            if answer is None:
                answer = yield walk.x, condition, np.full(1, walk.t, np.float32)
            first = answer if first is None else first
            clean = np.ascontiguousarray(answer[:, :3])
            walk.advance(clean)
            if known is None:  # what was kept has been told
                passes.evaluated(number, walk.done, clean)
        assert first is not None  # a chain has at least one step
        kept[number] = first
        return np.asarray(walk.x, dtype=np.float32), first
