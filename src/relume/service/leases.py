r"""Finding workers that are dead, without trusting any clock but one's own stopwatch.

A lease holds a number that its worker raises at every heartbeat. An observer remembers when, by its own
monotonic clock, it saw a number for the first time; a number that stands still for ``lease`` seconds belongs
to a dead worker. No two clocks are compared, so none that jumps can end a lease early or late. The price: an
observer that has just begun to look waits one whole lease before it judges.
"""

__all__ = ["Observer", "name_of_this_worker"]

import functools
import hashlib
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from relume.service.clock import monotonic
from relume.service.store import Lease, Store

_DIED = {
    "type": "about:blank",
    "title": "The work could not be finished",
    "status": 500,
    "detail": "the worker died on this picture more than once; it may be too large for the memory",
}


def name_of_this_worker() -> str:
    """Machine and process, so that another process there can tell whether this one has ended."""
    return f"{_machine()}:{os.getpid()}"


@functools.cache
def _machine() -> str:
    """Where process numbers mean the same: one boot of one machine, one container."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:16]


class Observer:
    """Gives the jobs of dead workers back to the queue."""

    def __init__(
        self, store: Store, *, lease: float, attempts: int, elapsed: Callable[[], float] = monotonic
    ) -> None:
        self._store, self._lease, self._attempts, self._elapsed = store, lease, attempts, elapsed
        self._seen: dict[tuple[str, str, int], float] = {}

    def look(self, now: float) -> int:
        """Looks at all leases; returns how many were taken away. ``now`` only dates what fails."""
        present = self._elapsed()
        leases = {(lease.token, lease.id, lease.beat): lease for lease in self._store.leases()}
        self._seen = {key: self._seen.get(key, present) for key in leases}
        dead = [
            lease
            for key, lease in leases.items()
            if present - self._seen[key] >= self._lease or _is_gone(lease.worker)
        ]
        return sum(self.take(lease, now) for lease in dead)

    def take(self, lease: Lease, now: float) -> bool:
        """Takes the job from this worker, which is known to be dead."""
        return self._store.expire(lease, attempts=self._attempts, problem=_DIED, now=now)


def _is_gone(worker: str) -> bool:
    """Whether a worker on this machine has certainly ended: no need to wait for its lease then."""
    machine, _, process = worker.rpartition(":")
    if machine != _machine() or not process.isdigit() or os.name != "posix":
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
