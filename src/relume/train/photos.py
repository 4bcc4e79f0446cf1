r"""Photographs on disk → crops in memory, split by whom or what they show.

Any folder of pictures will do. A UTKFace folder is known by its file names (age_gender_race_date) and split
as the original system split it: 16,595 for training and 7,113 for testing, of 23,708.
"""

__all__ = ["Photos", "find_photos", "is_utkface", "split_photos"]

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageOps

from relume.errors import TrainingError

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
_UTKFACE = re.compile(r"^\d{1,3}_[01]_[0-4]_\d{8,}.*\.jpg$")
# More files than this under one name are a camera's numbering (IMG_0001, ...), not crops of one photograph.
_MOST_CROPS = 32


def find_photos(folder: Path, *, exclude: Sequence[str] = ()) -> list[Path]:
    """All pictures below ``folder``, sorted by path, without those whose name starts with an excluded prefix.

    Hidden files are not pictures (a Mac leaves ``._IMG_0001.jpg`` beside each photograph on a stick).

    Raises
    ------
    TrainingError
        If the folder does not exist or holds no picture.
    """
    if not folder.is_dir():
        raise TrainingError(f"{folder} is not a folder: name one that holds photographs")
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in _SUFFIXES and not path.name.startswith((".", *exclude))
    )
    if not found:
        raise TrainingError(f"{folder} holds no photographs ({', '.join(sorted(_SUFFIXES))})")
    return found


def is_utkface(files: Sequence[Path]) -> bool:
    """Whether nearly all names are UTKFace's ``age_gender_race_date.jpg``."""
    named = sum(bool(_UTKFACE.match(path.name)) for path in files)
    return named > 0.95 * len(files)


def split_photos(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Split into training and held-out files.

    UTKFace is split 70 to 30 as the original system did (rounded as theirs: 16,595 of 23,708). Other folders
    hold out 5 %, at most about 64, and never their only photograph. Files that share a name up to the last
    ``_`` are crops of one photograph and never fall on both sides, unless so many share it that the number
    behind it must be a camera's. Neither the order of ``files`` nor any seed matters: names alone decide, so
    that a later stage of training on the same folder learns from nothing that an earlier one held out.
    """
    files = sorted(files, key=lambda path: (path.name, str(path)))
    if is_utkface(files):
        drawn = sorted(files, key=lambda path: _lot(path.name))
        cut = int(len(files) * 0.7)
        return drawn[:cut], drawn[cut:]
    groups: dict[str, list[Path]] = {}
    shared = Counter(_photograph(path) for path in files)
    for path in files:
        name = _photograph(path)
        groups.setdefault(name if shared[name] <= _MOST_CROPS else str(path), []).append(path)
    held: list[Path] = []
    for name in sorted(groups, key=lambda name: _lot(Path(name).name))[: len(groups) - 1]:
        if len(held) >= min(64, max(1, len(files) // 20)):
            break
        held += groups[name]
    out = set(held)
    return [path for path in files if path not in out], held


def _lot(name: str) -> bytes:
    """A number that looks drawn, the same for one name on every machine."""
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()


def _photograph(path: Path) -> str:
    return path.stem.rsplit("_", 1)[0]


class Photos:
    """Photographs held in memory as uint8 RGB, upright, each at most ``side`` pixels on its short side.

    Files that cannot be decoded are left out and listed in ``unreadable``: one bad download must not end a
    run over a hundred thousand.
    """

    def __init__(self, files: Sequence[Path], *, side: int = 192) -> None:
        self.files: list[Path] = []
        self.unreadable: list[Path] = []
        self.pictures: list[NDArray[np.uint8]] = []
        for path in files:
            try:
                with PilImage.open(path) as opened:
                    picture = ImageOps.exif_transpose(opened).convert("RGB")
            except (OSError, ValueError, SyntaxError, PilImage.DecompressionBombError):
                self.unreadable.append(path)
                continue
            self.files.append(path)
            scale = side / min(picture.size)
            if scale < 1:
                size = (max(side, round(picture.width * scale)), max(side, round(picture.height * scale)))
                picture = picture.resize(size, PilImage.Resampling.LANCZOS)
            self.pictures.append(np.asarray(picture))

    def __len__(self) -> int:
        return len(self.pictures)

    def crop(
        self, size: int, rng: np.random.Generator, *, whole: bool = False, zoom: float = 1.0
    ) -> NDArray[np.float32]:
        """A random square crop, size×size×3 float32 in [0,1], mirrored half of the time.

        Half of the crops are taken larger and reduced, so that detail comes at several scales; ``whole``
        always takes most of the photograph. With ``zoom`` above 1 a part of that side is enlarged so many
        times, and is as smooth as a large scan.
        """
        picture = self.pictures[int(rng.integers(len(self.pictures)))]
        h, w = picture.shape[:2]
        largest = min(h, w)
        smallest = min(size, largest) if not whole else max(1, int(0.7 * largest))
        side = smallest
        if zoom > 1:
            side = max(1, min(largest, round(size / zoom)))
        elif whole or rng.random() < 0.5:
            side = int(rng.integers(smallest, largest + 1))
        top, left = int(rng.integers(h - side + 1)), int(rng.integers(w - side + 1))
        cut = picture[top : top + side, left : left + side]
        if rng.random() < 0.5:
            cut = cut[:, ::-1]
        if side != size:
            resized = PilImage.fromarray(np.ascontiguousarray(cut)).resize(
                (size, size), PilImage.Resampling.BICUBIC
            )
            cut = np.asarray(resized)
        return np.asarray(cut, dtype=np.float32) / np.float32(255)
