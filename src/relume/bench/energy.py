r"""How many joules does a call take? Counters that the hardware keeps, read before and after.

``cpu`` and ``dram`` are the package and the memory as RAPL counts them (Linux powercap, also on AMD); ``gpu``
is the board of each NVIDIA GPU, by NVML. Where a counter cannot be read (a virtual machine, no permission, no
library) the figure is ``None`` and the reason is told: a missing figure is never 0. Nothing is estimated, and
nothing outside these boundaries (power supply, disks, cooling) is in any figure.

The counters tick slowly (NVML about every 100 ms; on several boards only a part of the time is sampled), so a
window is refused when it is shorter than a second, and should have five or more.
"""

__all__ = ["Energy", "Meter", "Nvml", "Rapl", "joules", "meters"]

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from relume.errors import UsageError

POWERCAP = Path("/sys/class/powercap")
LEAST_S = 1.0
WINDOW_S = 5.0
_ZONES = {"package": "cpu", "dram": "dram"}  # the cores are part of the package, and psys of neither


class Meter(Protocol):
    """A counter of energy: which ``part`` it counts, and joules since its own beginning."""

    part: str

    def read(self) -> float: ...


class Rapl:
    """One powercap zone. Its counter wraps round at ``max_energy_range_uj``; one wrap between reads is seen.

    At 100 W a counter wraps round about every 45 minutes.
    """

    def __init__(self, zone: Path, part: str) -> None:
        self.part, self._file = part, zone / "energy_uj"
        self._range = int((zone / "max_energy_range_uj").read_text())
        self._last = int(self._file.read_text())
        self._sum = 0

    def read(self) -> float:
        now = int(self._file.read_text())
        self._sum += now - self._last if now >= self._last else now - self._last + self._range
        self._last = now
        return self._sum * 1e-6


class Nvml:
    """The board of one NVIDIA GPU (Volta or later), through the ``pynvml`` module that is handed in."""

    part = "gpu"

    def __init__(self, pynvml: Any, index: int) -> None:
        self._nvml, self._handle = pynvml, pynvml.nvmlDeviceGetHandleByIndex(index)
        self.read()

    def read(self) -> float:
        return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) * 1e-3


@dataclass(frozen=True)
class Energy:
    """Joules of one call, by part, and what the same parts take in the same time with nothing to do.

    ``None`` where a part cannot be measured; ``lacking`` says why. ``window_s`` seconds held ``calls`` calls.
    """

    cpu_j: float | None = None
    dram_j: float | None = None
    gpu_j: float | None = None
    idle_cpu_j: float | None = None
    idle_dram_j: float | None = None
    idle_gpu_j: float | None = None
    window_s: float | None = None
    calls: int | None = None


def meters(root: Path = POWERCAP) -> tuple[list[Meter], dict[str, str]]:
    """Every counter that can be read here, and for each part that has none the reason."""
    found, lacking = _rapl(root)
    boards, reason = _nvml()
    if reason:
        lacking["gpu"] = reason
    return [*found, *boards], lacking


def joules(
    call: Callable[[], object],
    counters: Sequence[Meter],
    *,
    window_s: float = WINDOW_S,
    idle: bool = True,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> Energy:
    """Repeats a call for ``window_s`` seconds and divides what the counters gained by the number of calls.

    Counters of one part are added up. A counter that did not move has measured nothing: ``None``. With
    ``idle`` the counters also run for as long with nothing to do, and ``idle_…_j`` is their gain in the time
    of one call. A call has to end only when its work is done (a GPU has to be waited for).

    Raises
    ------
    UsageError
        If the window is shorter than a second.
    """
    if window_s < LEAST_S:
        raise UsageError(
            f"a window of {window_s:g} s is too short for these counters: take 5 s, at least 1 s"
        )
    if not counters:
        return Energy()
    before, began, calls = _read(counters), clock(), 0
    while clock() - began < window_s:
        call()
        calls += 1
    seconds, after = clock() - began, _read(counters)
    gained = {part: (after[part] - before[part]) / calls for part in after}
    resting = dict[str, float]()
    if idle:
        before, began = after, clock()
        sleep(window_s)
        waited, after = clock() - began, _read(counters)
        resting = {part: (after[part] - before[part]) / waited * seconds / calls for part in after}
    values = {f"{part}_j": value or None for part, value in gained.items()}
    values |= {f"idle_{part}_j": value or None for part, value in resting.items()}
    return Energy(**values, window_s=seconds, calls=calls)


def _read(counters: Sequence[Meter]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for meter in counters:
        sums[meter.part] = sums.get(meter.part, 0.0) + meter.read()
    return sums


def _rapl(root: Path) -> tuple[list[Meter], dict[str, str]]:
    found: list[Meter] = []
    refused = False
    for zone in sorted(root.glob("*rapl:*")):
        try:
            name = (zone / "name").read_text().strip().partition("-")[0]
            if name in _ZONES and "mmio" not in zone.name:
                found.append(Rapl(zone, _ZONES[name]))
        except PermissionError:
            refused = True
        except (OSError, ValueError):
            continue
    why = "its RAPL counter may be read by root only" if refused else f"no RAPL counter under {root}"
    there = {meter.part for meter in found}
    return found, {part: why for part in _ZONES.values() if part not in there}


def _nvml() -> tuple[list[Meter], str]:
    try:
        import pynvml
    except ImportError:
        return [], 'NVML is read by nvidia-ml-py: pip install "relume[energy]"'
    try:
        pynvml.nvmlInit()
        return [Nvml(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())], ""
    except pynvml.NVMLError as error:
        return [], f"NVML: {error}"
