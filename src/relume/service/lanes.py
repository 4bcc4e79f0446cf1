r"""Lanes: which jobs a worker has in flight at once, so that small ones get past large ones.

The steps of all jobs in flight share the device fairly (:mod:`relume.tasks.scheduler`); this is about who is
in flight at all. Were that the oldest jobs whatever their size, a few scans would fill all places, and a
thumbnail would wait for one of them to end. So every place has a bound on the work of a job (pixels ×
evaluations):

======  ====================================================
lane    the most that a job in it may be
======  ====================================================
first   anything
second  an eighth of the largest picture that is accepted
others  a sixty-fourth of it
======  ====================================================

Each lane takes the oldest job that fits. Nothing starves, as the first lane takes the oldest of all; and the
memory is bounded: four lanes hold at most 1.16 times the pixels of one largest picture, whatever comes.

Source: M. Harchol-Balter, M. Crovella, C. Murta, "On Choosing a Task Assignment Policy for a Distributed
Server System", 1999 (places for sizes).
"""

__all__ = ["Lane", "Lanes"]

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Lane:
    """One place for a job."""

    number: int
    most: int | None
    """Bound on the work of its job, in pixels × evaluations; None: there is none."""

    def fits(self, cost: int) -> bool:
        """Whether a job of so much work may be in it.

        >>> Lane(0, None).fits(10**12), Lane(1, 100).fits(101)
        (True, False)
        """
        return self.most is None or cost <= self.most


class Lanes:
    """The places of one worker, and a stopwatch that those who are in them share.

    ``jobs`` is how many there are; ``pixels`` bounds one picture.
    """

    def __init__(self, jobs: int, pixels: int, *, elapsed: Callable[[], float] = time.perf_counter) -> None:
        bounds = [None, pixels // 8, *[pixels // 64] * max(0, jobs - 2)][:jobs]
        self._free = [Lane(number, most) for number, most in enumerate(bounds)]
        self._total = jobs
        self._elapsed, self._seen, self._shared = elapsed, elapsed(), 0.0
        self._lock = threading.Lock()

    def widest(self) -> Lane | None:
        """Of the free lanes the one that takes most; None where none is free."""
        with self._lock:
            return self._free[0] if self._free else None

    def enter(self, cost: int) -> Lane:
        """Takes the narrowest free lane in which so much work fits; it has to be given to :meth:`leave`."""
        with self._lock:
            self._tick()
            lane = [each for each in self._free if each.fits(cost)][-1]
            self._free.remove(lane)
            return lane

    def leave(self, lane: Lane) -> None:
        """The lane is free again."""
        with self._lock:
            self._tick()
            self._free = sorted([*self._free, lane], key=lambda each: each.number)

    def clock(self) -> float:
        """Seconds, divided at each moment by the number of jobs in flight.

        What it says over a job's time is the job's part of the worker's: over all jobs these sum to the time
        in which the worker was busy, so that the rate that comes of them is the worker's.
        """
        with self._lock:
            self._tick()
            return self._shared

    def _tick(self) -> None:
        now = self._elapsed()
        if in_flight := self._total - len(self._free):
            self._shared += (now - self._seen) / in_flight
        self._seen = now
