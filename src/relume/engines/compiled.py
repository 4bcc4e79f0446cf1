r"""Compiled models kept on disk, so that the next process does not compile them again.

.. code-block:: text

    <user folder>/cache/compiled/<digest of the key>/<digest of the shapes>.blob     mark, SHA-256, blob

The key holds everything on which a compiled model depends but the shapes: the hash of the bundle, the graph,
the runtime with its version and options, and the machine. A file that is cut short, changed, renamed or made
by another version counts as none, and is made anew. Files appear as a whole, so that processes may share the
folder; one that cannot be written is done without. The least recently used go first where there are more
than ``MOST`` files or ``MOST_BYTES`` bytes. ``RELUME_CACHE=off`` neither takes nor keeps any.
"""

__all__ = ["MOST", "MOST_BYTES", "SWITCH", "Shelf", "Usage", "clear", "usage"]

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relume.bundle import user_folder
from relume.errors import UsageError
from relume.files import place

SWITCH = "RELUME_CACHE"
MOST = 24
MOST_BYTES = 400 * 10**6
_MARK = b"relume compiled 1\n"
_ABANDONED_S = 3600.0  # a part of a file that is older was left by a process that died


@dataclass(frozen=True)
class Usage:
    """What the folder holds."""

    folder: Path
    files: int
    bytes: int


class Shelf:
    """The compiled models of one key, one for each set of shapes.

    Raises:
        UsageError: ``RELUME_CACHE`` is neither on nor off.
    """

    def __init__(self, key: Mapping[str, Any]) -> None:
        switch = os.environ.get(SWITCH, "").lower()
        if switch not in ("", "on", "off"):
            raise UsageError(f'{SWITCH} is "{switch}"; set it to on or off, or leave it away')
        self._open = switch != "off"
        self._key = json.dumps(key, sort_keys=True).encode()
        self._folder = _folder() / hashlib.sha256(self._key).hexdigest()[:32]

    def __len__(self) -> int:
        """How many there are; whether they are whole is seen when one is taken."""
        return len(list(self._folder.glob("*.blob"))) if self._open else 0

    def take(self, shapes: Sequence[Sequence[int]]) -> bytes | None:
        """The compiled model for these shapes, as it was kept; ``None`` where there is none that is whole."""
        path = self._place(shapes)
        if not self._open:
            return None
        try:
            if path.stat().st_size > MOST_BYTES:
                return None
            data = path.read_bytes()
            os.utime(path)  # used just now
        except OSError:
            return None
        head = len(_MARK) + 32
        blob = data[head:]
        return blob if data[:head] == _MARK + self._digest(shapes, blob) else None

    def put(self, shapes: Sequence[Sequence[int]], blob: bytes) -> bool:
        """Keeps a compiled model; false where it is too large or the folder cannot be written."""
        if not self._open or len(blob) > MOST_BYTES // 4:
            return False
        path = self._place(shapes)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            place(_MARK + self._digest(shapes, blob) + blob, path, overwrite=True)
        except OSError:
            return False
        _tidy(spare=path)
        return True

    def drop(self, shapes: Sequence[Sequence[int]]) -> None:
        """Forgets a compiled model that the runtime does not take."""
        with suppress(OSError):
            self._place(shapes).unlink()

    def _place(self, shapes: Sequence[Sequence[int]]) -> Path:
        return self._folder / f"{hashlib.sha256(_text(shapes)).hexdigest()[:32]}.blob"

    def _digest(self, shapes: Sequence[Sequence[int]], blob: bytes) -> bytes:
        """SHA-256 over key, shapes and blob: a file under another's name is none."""
        total = hashlib.sha256(self._key + _text(shapes))
        total.update(blob)
        return total.digest()


def usage() -> Usage:
    """Where compiled models are kept, and how many there are."""
    sizes = [size for _, size, _ in _files()]
    return Usage(_folder(), len(sizes), sum(sizes))


def clear() -> Usage:
    """Removes all compiled models, and says what there was."""
    before = usage()
    _remove(_files())
    return before


def _folder() -> Path:
    return user_folder() / "cache" / "compiled"


def _text(shapes: Sequence[Sequence[int]]) -> bytes:
    return json.dumps([list(shape) for shape in shapes]).encode()


def _files() -> list[tuple[float, int, Path]]:
    """When each was used, its size and its path; the parts of files that died young count too."""
    found = []
    for path in _folder().glob("*/*"):
        with suppress(OSError):
            state = path.stat()
            if path.suffix == ".blob" or state.st_mtime < time.time() - _ABANDONED_S:
                found.append((state.st_mtime, state.st_size, path))
    return sorted(found)


def _tidy(*, spare: Path) -> None:
    """Removes the least recently used until the rest fits, but never ``spare``."""
    files = _files()
    count, total = len(files), sum(size for _, size, _ in files)
    old = []
    for used, size, path in files:
        abandoned = path.suffix != ".blob"
        if path != spare and (abandoned or count > MOST or total > MOST_BYTES):
            old.append((used, size, path))
            count, total = count - 1, total - size
    _remove(old)


def _remove(files: Sequence[tuple[float, int, Path]]) -> None:
    for _, _, path in files:
        with suppress(OSError):  # another process was faster, or holds it open
            path.unlink()
        with suppress(OSError):  # not empty yet
            path.parent.rmdir()
