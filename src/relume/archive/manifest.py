r"""The manifests of an archive: a line of JSON for everything that happened to a picture, only ever appended.

.. code-block:: text

    OUT/.relume/shard-3-of-16.jsonl          one file for each who writes; all of them are read together
    OUT/.relume/shard-3-of-16.4711-0a1b.jsonl   an actor of a cluster that works for that shard

A line is written by one call and is on the disk before the work goes on. A process that is killed while it
writes leaves half a line; that is passed over, and what it would have said is found out from the files.

==============  ================================================================================
field           is
==============  ================================================================================
``status``      ``begun``, ``done`` or ``failed``
``result``      where the result is, below OUT: what the line is about
``picture``     where the picture is
``input``       SHA-256 of its bytes; ``size`` and ``modified`` (ns) tell without reading that it is the same
``mask``        SHA-256 of a mask that was given, or null
``options``     SHA-256 of the options that decide the result
``model``       the hash of the model
``before``      (begun) SHA-256 of what stood at the result's place, or null
``output``      (done) SHA-256 of the result, and ``length``, its bytes
``seconds``     (done, failed) the time it took
``joules``      (done) what the machine's counters say about that time, or null where it has none to read
``engine``      (done) engine/device/precision
``error``       (failed) one line
``at``          when, in UTC; ``relume`` the version and ``process`` the number of the process
==============  ================================================================================
"""

__all__ = ["FOLDER", "Lines", "Manifest", "Record", "is_open", "now"]

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from relume._version import __version__
from relume.errors import ImageError, UsageError

FOLDER = ".relume"


@dataclass(frozen=True, kw_only=True)
class Record:
    """One line; see the table above."""

    status: Literal["begun", "done", "failed"]
    result: str
    picture: str
    input: str | None = None
    size: int | None = None
    modified: int | None = None
    mask: str | None = None
    options: str = ""
    model: str = ""
    before: str | None = None
    output: str | None = None
    length: int | None = None
    seconds: float | None = None
    joules: float | None = None
    engine: str | None = None
    error: str | None = None
    at: str = field(default_factory=lambda: now())
    relume: str = __version__
    process: int = field(default_factory=os.getpid)

    def line(self) -> bytes:
        """The line, in ASCII: names of files survive whatever they hold."""
        kept = {"joules"} if self.status == "done" else set()
        facts = {key: value for key, value in asdict(self).items() if value is not None or key in kept}
        return json.dumps(facts, allow_nan=False).encode() + b"\n"

    @classmethod
    def of(cls, line: bytes) -> "Record | None":
        """From a line; None where it is half written or something else.

        >>> Record.of(b'{"status": "done", "result": "a.jpg", "pict') is None
        True
        """
        try:
            facts: dict[str, Any] = json.loads(line)
            known = {each.name for each in fields(cls)}
            return cls(**{key: value for key, value in facts.items() if key in known})
        except (ValueError, TypeError, AttributeError):
            return None


class Manifest:
    """A file that this process alone appends to, for as long as it has it open.

    Raises:
        UsageError: another process has it open, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}; give another -o") from error
        if not _lock(self._file):
            os.close(self._file)
            raise UsageError(f"another process writes {path}: this shard is being worked on")
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":  # someone was killed in the middle of a line
            os.write(self._file, b"\n")

    def append(self, record: Record) -> None:
        """Writes a line; it is on the disk when this returns.

        Raises:
            ImageError: there is no room, or the disk is gone.
        """
        try:
            line = record.line()
            if os.write(self._file, line) != len(line):
                raise OSError(None, "no room for a whole line")
            os.fsync(self._file)
        except OSError as error:
            raise ImageError(f"cannot write {self.path}: {error.strerror}") from error

    def close(self) -> None:
        """Leaves the file to others."""
        os.close(self._file)


class Lines:
    """The lines of all manifests of an output folder, read once and then only what was added."""

    def __init__(self, out: Path) -> None:
        self._folder = out / FOLDER
        self._read: dict[Path, int] = {}
        self.damaged = 0
        """How many lines could not be read: each is where a process was killed."""

    def new(self, *, but: Path | None = None) -> list[Record]:
        """What was added since the last call, except to the file ``but``, in the order of time.

        Within one file the order is its own: clocks may jump.
        """
        found: list[tuple[str, Record]] = []
        for path in sorted(self._folder.glob("*.jsonl")):
            at = ""
            for record in self._added(path) if path != but else ():
                at = max(at, record.at)
                found.append((at, record))
        return [record for _, record in sorted(found, key=lambda each: each[0])]

    def _added(self, path: Path) -> Iterator[Record]:
        with path.open("rb") as file:
            file.seek(self._read.get(path, 0))
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]  # the rest is being written, or never will be
        self._read[path] = self._read.get(path, 0) + len(whole)
        for line in whole.splitlines():
            record = Record.of(line)
            if record is not None:
                yield record
            elif line:
                self.damaged += 1


def now() -> str:
    """The time in UTC, so written that it sorts."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def is_open(path: Path) -> bool:
    """Whether some process has that manifest open."""
    with path.open("rb+") as file:
        return not _lock(file.fileno())


def _lock(file: int) -> bool:
    """Takes a lock that ends with the process, whatever ends it. Where there is none to be had: True."""
    try:
        import fcntl
    except ImportError:  # Windows: O_APPEND and the names of the files must do
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
