r"""Uploads and results on disk: one private folder a job, files named by what is in them.

.. code-block:: text

    jobs/3f…/job.json       what was asked for; written last: where it is, the upload is whole
             9a…41          the upload, named by its SHA-256
             preview.jpg    replaced while the job runs
             result.json    which file is which part of the result; written last
             c0…7e          the parts, named by their SHA-256

Every file is written beside its place and moved there in one step, so that a process that is killed at any
moment leaves whole files or none.
"""

__all__ = ["Folders"]

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from relume.errors import StoreBroken, StoreFull
from relume.files import place

_NAME = re.compile(r"[0-9a-f]{32}")
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Folders:
    """The folders of all jobs.

    Raises
    ------
    StoreFull
        From whatever writes, when the disk has no room; nothing is left behind.
    StoreBroken
        When files cannot be written or read for another reason, or are not what they were.
    """

    def __init__(self, root: Path) -> None:
        self.root = root / "jobs"
        with _told():
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            root.chmod(0o700)

    def make(self) -> str:
        """A new folder; its name."""
        name = secrets.token_hex(16)
        with _told():
            (self.root / name).mkdir(mode=0o700)
        return name

    def put(self, folder: str, data: bytes) -> str:
        """Writes a file under the SHA-256 of its bytes; returns that name. The same bytes are kept once."""
        name = hashlib.sha256(data).hexdigest()
        if not (self.root / folder / name).exists():
            self.write(folder, name, data)
        return name

    def write(self, folder: str, name: str, data: bytes) -> None:
        """Writes or replaces a file."""
        with _told():
            place(data, self.root / folder / name, overwrite=True)

    def get(self, folder: str, name: str) -> bytes:
        """Reads a file that :meth:`put` wrote, and makes sure that it still is what it was."""
        data = self.read(folder, name)
        if hashlib.sha256(data).hexdigest() != name:
            raise StoreBroken("a stored file is not what it was; delete the job and send the picture again")
        return data

    def read(self, folder: str, name: str) -> bytes:
        """Reads any file."""
        with _told():
            return (self.root / folder / name).read_bytes()

    def write_facts(self, folder: str, name: str, facts: dict[str, Any]) -> None:
        """Writes a JSON file."""
        self.write(folder, name, json.dumps(facts, sort_keys=True).encode())

    def facts(self, folder: str, name: str) -> dict[str, Any] | None:
        """A JSON file, or None where there is none."""
        try:
            found = json.loads(self.read(folder, name))
        except (StoreBroken, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def has(self, folder: str, name: str) -> bool:
        """Whether there is such a file."""
        return (self.root / folder / name).is_file()

    def drop(self, folder: str) -> None:
        """Deletes a folder with all that is in it."""
        if _NAME.fullmatch(folder):
            shutil.rmtree(self.root / folder, ignore_errors=True)

    def all(self) -> set[str]:
        """The names of all folders."""
        with _told():
            return {each.name for each in self.root.iterdir() if _NAME.fullmatch(each.name)}

    def tidy(self, folder: str) -> None:
        """Takes away what a killed process left half-written."""
        with suppress(FileNotFoundError):  # the job was deleted meanwhile: what reads it next will say so
            for part in (self.root / folder).glob(".relume-*.part"):
                with suppress(OSError):
                    part.unlink()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "input/output error"
        if error.errno in _NO_ROOM:
            raise StoreFull("no room is left for pictures: free the disk, or try again later") from error
        raise StoreBroken(f"a stored file cannot be written or read ({reason})") from error
