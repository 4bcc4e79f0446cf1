r"""Measurements kept on disk, for as long as nothing that they depend on has changed.

.. code-block:: text

    <user folder>/cache/<shelf>/<first half of SHA-256 of the key>.json   {format, key, measured, …}

A file that cannot be read, or is not what it should be, counts as none.
"""

__all__ = ["Key", "place_of", "recall", "remember"]

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from relume.bundle import user_folder
from relume.files import place

Key = dict[str, Any]
FORMAT = 1
_LARGEST = 1 << 20  # bytes; a file of ours is a thousand times smaller


def place_of(shelf: str, key: Key) -> Path:
    """The file that belongs to a key."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return user_folder() / "cache" / shelf / f"{digest[:32]}.json"


def recall(shelf: str, key: Key) -> dict[str, Any] | None:
    """What was kept under a key, with the key itself; ``None`` where there is nothing that can be used."""
    path = place_of(shelf, key)
    try:
        if path.stat().st_size > _LARGEST:
            return None
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if found["format"] == FORMAT and found["key"] == key else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def remember(shelf: str, key: Key, facts: Mapping[str, Any]) -> bool:
    """Keeps facts, atomically. False where the folder cannot be written: the next run measures again."""
    path = place_of(shelf, key)
    whole = {
        "format": FORMAT,
        "key": key,
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        **facts,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        place((json.dumps(whole, indent=2) + "\n").encode(), path, overwrite=True)
    except OSError:
        return False
    return True
