r"""Joules from the counters of the machine, where it has some that may be read.

Linux shows the energy of each CPU package and of its memory as a counter in µJ that starts again at
``max_energy_range_uj``:

.. math:: E = \sum_\text{zones} (e_1 - e_0) \bmod e_\text{max}

The cores are part of their package and are not added. Virtual machines and containers mostly show nothing,
and elsewhere only root may read: then there is no number, never a guess.

Source: Linux kernel documentation, "Power Capping Framework"; M. Lipp et al., "PLATYPUS: Software-based Power
Side-Channel Attacks on x86", 2021 (why only root may read).
"""

__all__ = ["Meter", "POWERCAP"]

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


class Meter:
    """Energy of the CPU packages and their memory, lap by lap; all processes of the machine count.

    A lap longer than a counter's range (about twenty minutes at full power) is told too small.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        ranges = {zone: _number(zone, "max_energy_range_uj") for zone in _zones(root)}
        self._ranges = {zone: limit for zone, limit in ranges.items() if limit}
        self._last = self._read()

    def lap(self) -> float | None:
        """Joules since the last lap, or since the start; None where they cannot be read."""
        last, self._last = self._last, self._read()
        if last is None or self._last is None:
            return None
        spent = ((self._last[zone] - last[zone]) % limit for zone, limit in self._ranges.items())
        return sum(spent) / 1e6

    def _read(self) -> dict[Path, int] | None:
        found = {zone: _number(zone, "energy_uj") for zone in self._ranges}
        known = {zone: value for zone, value in found.items() if value is not None}
        return known if known and len(known) == len(found) else None


def _zones(root: Path) -> list[Path]:
    """The packages, and the memory beside them."""
    packages = sorted(zone for zone in root.glob("intel-rapl:*") if zone.name.count(":") == 1)
    parts = [part for zone in packages for part in sorted(root.glob(f"{zone.name}:*"))]
    return packages + [part for part in parts if _text(part, "name") == "dram"]


def _text(zone: Path, name: str) -> str:
    try:
        return (zone / name).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _number(zone: Path, name: str) -> int | None:
    text = _text(zone, name)
    return int(text) if text.isdigit() else None
