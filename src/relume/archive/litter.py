r"""What killed processes leave behind: half-written files under names that nobody looks for."""

__all__ = ["sweep"]

import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

AGE = 3600.0  # seconds without a byte, after which a half-written file is nobody's


def sweep(folders: Iterable[Path], *, age: float = AGE) -> int:
    """Removes what is half-written and has not grown for ``age`` seconds; returns how many files.

    Younger ones may be somebody's who works in the same folder.
    """
    swept = 0
    for part in (part for folder in folders for part in folder.glob(".relume-*.part")):
        with suppress(OSError):  # gone meanwhile
            if time.time() - part.stat().st_mtime > age:
                part.unlink()
                swept += 1
    return swept
