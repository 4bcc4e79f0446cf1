r"""Many pictures on one device: the unit of work is one evaluation of one tile.

Each picture is restored by a thread of its own, which cuts, mixes, draws noise, blends and reports. What it
wants evaluated waits here; the device evaluates one batch after another, and between any two of them pictures
join and leave.

.. code-block:: text

    picture a ─ tile 3, step 2 ─┐
    picture a ─ tile 4, step 1 ─┤ whose turn?  ──▶ batch of one shape ──▶ engine ──▶ back to the threads
    picture b ─ tile 1, step 1 ─┘

**Whose turn it is.** Fair queueing: every picture has a tag, which grows by what was evaluated for it, and
the smallest tag is next. A clock grows by what is evaluated for all, divided by the number of those who wait;
a newcomer starts there. So all that have work waiting get the same share of the device, whatever their
sizes. A thumbnail beside a scan of a hundred tiles waits for the batch that runs, and then has every second
turn; and a scan beside n thumbnails, each followed by the next, has every (n+1)th. (Were a newcomer to start
at the tag that was served last, as in start-time fair queueing, such a stream would keep the scan out for
ever.) Deficit round robin is the same thing approximated, so that a router need not look for the smallest tag
among thousands; here there are a handful, and a newcomer need not wait for a whole round. Shortest-remaining-
first has the better mean, but lets a scan starve without an ageing constant, and who knows how to choose it.

**What a batch changes.** With ``batch=1`` nothing: each tile has the very bytes that it has alone. Larger
batches hold evaluations of one shape, from any pictures; engines choose other kernels for other batches, so
the last bits may differ, within what :data:`~relume.engines.BATCH_TOLERANCE` says of each precision. Noise is
no matter of batches: it is a function of seed, step and place.

Source: A. Demers, S. Keshav, S. Shenker, "Analysis and Simulation of a Fair Queueing Algorithm", 1989;
P. Goyal, H. Vin, H. Cheng, "Start-time Fair Queueing", 1996; M. Shreedhar, G. Varghese, "Efficient Fair
Queuing Using Deficit Round-Robin", 1995; G.-I. Yu et al., "Orca" (batches made anew at every step), 2022.
"""

__all__ = ["Scheduler"]

import heapq
import threading
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from relume.errors import EngineError, OutOfMemory, UsageError
from relume.tasks.steps import Chain, Evaluate

Array = NDArray[np.float32]

IDLE = (
    0.5  # seconds without work after which a thread of the device ends; one starts again when there is some
)


@dataclass(order=True)
class _Wanted:
    """One evaluation that waits; of one picture the earliest tile comes first."""

    number: int
    arrays: tuple[Array, ...] = field(compare=False)

    @property
    def kind(self) -> tuple[tuple[int, ...], ...]:
        """What evaluations must have in common to share a batch."""
        return tuple(array.shape[1:] for array in self.arrays)

    @property
    def cost(self) -> int:
        """Pixels (of all channels): what the time is about proportional to."""
        return sum(array.size for array in self.arrays)


@dataclass(eq=False)
class _Picture:
    """One who takes part: its tag, what it wants evaluated, and where the answers go."""

    tag: float
    waiting: list[_Wanted] = field(default_factory=list)
    answers: "SimpleQueue[tuple[int, Array | Exception]]" = field(default_factory=SimpleQueue)


class Scheduler:
    """Shares one device among all who call :meth:`run`, each from a thread of its own.

    It knows arrays and one callable, and nothing of pictures, jobs or networks: a service, an actor of a
    cluster and a script use it alike. Make one for each device.

    Parameters
    ----------
    evaluate:
        The engine. It is called from ``calls`` threads.
    batch:
        The most evaluations at once. Batches have 1, 2, 4, … members, so that an engine which compiles for
        every shape meets few of them; nobody waits for a batch to fill.
    thread:
        Whether the scheduler works by itself. Otherwise somebody calls :meth:`step`.
    calls:
        How many batches are evaluated at once: the engine's own ``calls``.

    Raises
    ------
    UsageError
        If ``batch`` or ``calls`` is below 1.

    >>> import numpy as np
    >>> def tile(k):
    ...     answer = yield (np.full((1, 2), k, np.float32),)
    ...     return answer
    >>> [float(done.mean()) for done in Scheduler(lambda x: 10 * x, batch=4).run(map(tile, range(5)))]
    [0.0, 10.0, 20.0, 30.0, 40.0]
    """

    def __init__(self, evaluate: Evaluate, *, batch: int = 1, thread: bool = True, calls: int = 1) -> None:
        if min(batch, calls) < 1:
            raise UsageError(f"{calls} batches of {batch} hold nothing: use 1 or more")
        self._evaluate, self._batch, self._own, self._calls = evaluate, batch, thread, calls
        self._pictures: list[_Picture] = []
        self._clock = 0.0  # what a picture had been given by now that was there all the time
        self._change = threading.Condition()
        self._threads = 0  # that evaluate

    def run(self, chains: Iterable[Chain]) -> Generator[Array, None, None]:
        """The chains' results, in order; see :data:`~relume.tasks.steps.Run`.

        Twice as many chains are under way as are evaluated at once: half of them may be in the engine while
        this thread gets the others ready. What a chain or the engine raises ends the run, and reaches the
        caller; nothing else is disturbed. When it ends, in whatever way, what still waits is taken out.
        """
        picture = self._join()
        coming = enumerate(chains)
        under_way: dict[int, Chain] = {}
        done: dict[int, Array] = {}
        given = 0
        most = 2 * self._batch * self._calls

        def advance(number: int, answer: Array | None) -> None:
            try:
                self._want(picture, number, under_way[number].send(answer))  # type: ignore[arg-type]
            except StopIteration as end:  # a tile that nobody looks at asks for nothing
                del under_way[number]
                done[number] = end.value

        try:
            while True:
                while len(under_way) + len(done) < most and (new := next(coming, None)):
                    number, under_way[number] = new
                    advance(number, None)
                if given in done:
                    yield done.pop(given)
                    given += 1
                    continue
                if not under_way:
                    return
                number, answer = picture.answers.get()
                if isinstance(answer, Exception):
                    raise answer
                advance(number, answer)
        finally:
            self._leave(picture)
            for chain in under_way.values():
                chain.close()

    @property
    def waiting(self) -> int:
        """How many evaluations wait."""
        with self._change:
            return sum(len(each.waiting) for each in self._pictures)

    def step(self) -> int:
        """Evaluates one batch, if anything waits; returns how many evaluations it held."""
        with self._change:
            batch = self._next()
        answers = self._answers([wanted for _, wanted in batch])
        for (picture, wanted), answer in zip(batch, answers, strict=True):
            picture.answers.put((wanted.number, answer))
        return len(batch)

    def _join(self) -> _Picture:
        with self._change:
            picture = _Picture(self._clock)
            self._pictures.append(picture)
        return picture

    def _leave(self, picture: _Picture) -> None:
        with self._change:
            self._pictures.remove(picture)

    def _want(self, picture: _Picture, number: int, arrays: tuple[Array, ...]) -> None:
        with self._change:
            if not picture.waiting:  # who had nothing to do has no claim on what was missed
                picture.tag = max(picture.tag, self._clock)
            heapq.heappush(picture.waiting, _Wanted(number, arrays))
            if self._own and self._threads < self._calls:
                # No daemon: the interpreter waits for the step that runs, and does not end beneath an engine.
                self._threads += 1
                threading.Thread(target=self._serve, name="device").start()
            self._change.notify()

    def _serve(self) -> None:
        while True:
            with self._change:
                if not self._change.wait_for(lambda: any(each.waiting for each in self._pictures), IDLE):
                    self._threads -= 1
                    return
            self.step()

    def _next(self) -> list[tuple[_Picture, _Wanted]]:
        """The next batch: whose turn it is decides the shape, and others of that shape may come along."""
        ready = [each for each in self._pictures if each.waiting]
        present = len(ready)
        batch: list[tuple[_Picture, _Wanted]] = []
        while ready and len(batch) < self._batch:
            picture = min(ready, key=lambda each: each.tag)
            wanted = heapq.heappop(picture.waiting)
            picture.tag += wanted.cost
            batch.append((picture, wanted))
            ready = [each for each in ready if each.waiting and each.waiting[0].kind == batch[0][1].kind]
        keep = 1 << len(batch).bit_length() - 1 if batch else 0
        for picture, wanted in batch[keep:]:
            heapq.heappush(picture.waiting, wanted)
            picture.tag -= wanted.cost
        self._clock += sum(wanted.cost for _, wanted in batch[:keep]) / max(1, present)
        return batch[:keep]

    def _answers(self, batch: Sequence[_Wanted]) -> list[Array | Exception]:
        """One answer each. A batch that fails is taken apart: nobody fails because of a neighbour."""
        try:
            return list(self._together(batch)) if batch else []
        except Exception as error:
            if len(batch) == 1:
                return [error]
            if isinstance(error, OutOfMemory):
                self._batch = len(batch) // 2
            return [self._answers([each])[0] for each in batch]

    def _together(self, batch: Sequence[_Wanted]) -> list[Array]:
        if len(batch) == 1:
            return [np.asarray(self._evaluate(*batch[0].arrays))]
        stacked = (np.concatenate(each) for each in zip(*(wanted.arrays for wanted in batch), strict=True))
        out = np.asarray(self._evaluate(*stacked))
        if len(out) != len(batch):
            raise EngineError(f"a batch of {len(batch)} came back as {len(out)}: use --batch 1")
        return np.split(out, len(batch))
