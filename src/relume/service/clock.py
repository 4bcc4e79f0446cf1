r"""Time that does not jump.

Leases use no time of day at all (see ``leases.py``). Retention does, and a clock that is set forward by a
year must not delete what was made a minute ago.
"""

__all__ = ["Clock", "monotonic"]

import time
from collections.abc import Callable


def monotonic() -> float:
    """Seconds that only grow, a suspended machine's sleep included where the system counts it."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class Clock:
    """Seconds since 1970: the time of day is looked at once, from then on only elapsed time is added.

    ``floor`` is the latest time that is known to have been; the clock never says less.
    """

    def __init__(
        self,
        *,
        floor: float = 0.0,
        wall: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = monotonic,
    ) -> None:
        self._elapsed = elapsed
        self._offset = max(wall(), floor) - elapsed()

    def now(self) -> float:
        """The present time."""
        return self._offset + self._elapsed()
