r"""What of a mosaic is done already, in a folder beside the result, so that a killed run goes on."""

__all__ = ["Work"]

import hashlib
import io
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from relume.files import make_folder, place

from .registration import Link

Arrays = dict[str, npt.NDArray[Any]]


class Work:
    """A folder of finished parts. Each is written whole or not at all; a part of other settings is not used.

    Args:
        folder: where; it is made, and emptied when it belongs to another run.
        key: all that decides the result.

    Attributes:
        resumed: whether parts of this run were found.
    """

    def __init__(self, folder: Path, key: Mapping[str, Any]) -> None:
        text = json.dumps(key, sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode()).hexdigest()
        self.folder, stamp = folder, folder / "key"
        same = stamp.is_file() and stamp.read_text(encoding="ascii") == digest
        if folder.exists() and not same:
            shutil.rmtree(folder)
        make_folder(folder)
        self.resumed = same and any(path != stamp for path in folder.iterdir())
        if not same:
            place(digest.encode(), stamp, overwrite=True)

    def load(self, name: str) -> Arrays | None:
        """The arrays of a part, or ``None``."""
        path = self.folder / f"{name}.npz"
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as found:
            return dict(found)

    def save(self, name: str, **arrays: npt.NDArray[Any]) -> None:
        """Keeps a part."""
        data = io.BytesIO()
        np.savez(data, **arrays)  # type: ignore[arg-type]
        place(data.getvalue(), self.folder / f"{name}.npz", overwrite=True)

    def links(self) -> dict[tuple[int, int], Link]:
        """The shifts that were measured. A line that was cut off by a kill is measured again."""
        path, found = self.folder / "links.jsonl", {}
        for line in path.read_text(encoding="ascii").splitlines() if path.is_file() else []:
            with suppress(ValueError, TypeError):
                i, j, y, x, ncc = json.loads(line)
                found[i, j] = Link(i, j, (y, x), ncc)
        return found

    def add(self, link: Link) -> None:
        """Keeps a measured shift."""
        path = self.folder / "links.jsonl"
        line = json.dumps([link.i, link.j, *link.offset, link.ncc]) + "\n"
        with path.open("r+b" if path.exists() else "w+b") as file:
            end = file.seek(0, os.SEEK_END)
            if end and file.seek(end - 1) >= 0 and file.read(1) != b"\n":
                file.write(b"\n")
            file.seek(0, os.SEEK_END)
            file.write(line.encode())

    def remove(self) -> None:
        """Takes the folder away: the result is whole."""
        shutil.rmtree(self.folder, ignore_errors=True)
