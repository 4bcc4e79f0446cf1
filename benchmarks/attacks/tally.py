r"""Counting what became of inputs, in a file that outlives the process that counts.

The child maps the file into its memory: whatever ends it, counts and the input that it was at are still
there.
"""

__all__ = ["OUTCOMES", "Tally", "outcome_of"]

import json
import mmap
import struct
import traceback
from pathlib import Path
from types import TracebackType

OUTCOMES = ("accepted", "refused", "inside", "hang", "crash")
"""What was asked for; a status of its own; 500; no answer in time; a dead process."""

_SLOTS = 1024  # one for each status below 1000
_INPUT = 1 << 20
_SIZE = 8 * _SLOTS + 8 + _INPUT


class Tally:
    """Counts by status, and the latest input, in a file."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(_SIZE))
        self._path, self._file = path, path.open("r+b")
        self._map = mmap.mmap(self._file.fileno(), _SIZE)

    def begins(self, data: bytes) -> None:
        """An input is about to be tried."""
        kept = data[:_INPUT]
        struct.pack_into("<Q", self._map, 8 * _SLOTS, len(kept))
        self._map[8 * _SLOTS + 8 : 8 * _SLOTS + 8 + len(kept)] = kept

    def ended(self, status: int) -> None:
        """It was answered."""
        (before,) = struct.unpack_from("<Q", self._map, 8 * status)
        struct.pack_into("<Q", self._map, 8 * status, before + 1)

    @property
    def latest(self) -> bytes:
        """The input that was begun last."""
        (size,) = struct.unpack_from("<Q", self._map, 8 * _SLOTS)
        return self._map[8 * _SLOTS + 8 : 8 * _SLOTS + 8 + size]

    @property
    def counts(self) -> dict[int, int]:
        """How many answers had which status."""
        found = struct.unpack_from(f"<{_SLOTS}Q", self._map, 0)
        return {status: count for status, count in enumerate(found) if count}

    @property
    def total(self) -> int:
        """How many inputs were answered."""
        return sum(self.counts.values())

    def found(self, error: BaseException, data: bytes) -> None:
        """Keeps an input at which the code failed, once for each place in the code."""
        where = _place(error.__traceback__)
        name = f"{type(error).__name__}-{where}"
        folder = self._path.with_suffix(".found")
        if (folder / f"{name}.bin").exists():
            return
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.bin").write_bytes(data)
        told = "".join(traceback.format_exception(error))
        (folder / f"{name}.json").write_text(json.dumps({"size": len(data), "told": told}, indent=1))


def _place(trace: TracebackType | None) -> str:
    frames = traceback.extract_tb(trace)
    ours = [frame for frame in frames if "relume" in frame.filename] or frames
    return f"{Path(ours[-1].filename).stem}-{ours[-1].lineno}" if ours else "nowhere"


def outcome_of(status: int) -> str:
    """The outcome that a status is.

    >>> [outcome_of(status) for status in (202, 422, 503, 500)]
    ['accepted', 'refused', 'refused', 'inside']
    """
    if status < 400:
        return "accepted"
    return "inside" if status == 500 else "refused"
