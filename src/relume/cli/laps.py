r"""Joules from one moment to the next, by the counters of :mod:`relume.bench.energy`."""

__all__ = ["Laps"]

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relume.bench.energy import Meter


class Laps:
    r"""What the CPU packages, their memory and the GPUs of this machine take, whoever makes them work.

    .. math:: E = \sum_\text{counters} (e_1 - e_0)

    in joules. Where the CPU cannot be counted there is no figure: one of the GPUs alone would look like all.
    """

    def __init__(self, root: Path | None = None) -> None:
        from relume.bench.energy import POWERCAP, meters

        found, _ = meters(root or POWERCAP)
        self._counters: list[Meter] = found if any(meter.part == "cpu" for meter in found) else []
        self._last = self._read()

    def lap(self) -> float | None:
        """Joules since the last lap, or since the start; None where they cannot be read."""
        last, self._last = self._last, self._read()
        return None if last is None or self._last is None else self._last - last

    def _read(self) -> float | None:
        try:
            return sum(meter.read() for meter in self._counters) if self._counters else None
        except Exception:  # of the file system, or of NVML: a counter that is gone takes no work with it
            return None
