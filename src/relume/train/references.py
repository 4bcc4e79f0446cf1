r"""A laboratory's own references: measured light for simulated samples, and the instrument's map."""

__all__ = ["INSTRUMENT", "References", "read_references"]

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from relume.background import Artefacts
from relume.degrade.illumination.fixed import fixed_map
from relume.degrade.illumination.grid import shrunk
from relume.degrade.illumination.targets import network_target
from relume.errors import ImageError, TrainingError
from relume.scan import open_frames

INSTRUMENT = "instrument.safetensors"
"""Where a run keeps the fixed map that it found, beside its checkpoint."""

_LOWEST = 0.02  # of the median: what is darker says nothing of the light
Plane = NDArray[np.float32]


class References(NamedTuple):
    """``lights``: ln B on the net's grid, each (side, side); ``fixed``: the map (H,W) at full size."""

    lights: list[Plane]
    fixed: Plane


def read_references(path: Path, side: int, *, report: Callable[[str], None] = print) -> References:
    """Empty fields in a file, or in all files of a folder.

    Of a file with flat frames those are taken, else all its frames. Dark frames that the same file marks are
    taken off, and so is the glare that is expected. Each image is brought to a square of
    ``side`` pixels.

    Raises
    ------
    TrainingError
        If there are fewer than two, or they differ in size.
    """
    lights: list[Plane] = []
    frames: list[Plane] = []
    for found in _frames(path, report):
        frame = Artefacts().unveiled(found)
        if not np.median(frame) > 0:
            raise TrainingError(f"a reference in {path} is not above its dark level by its median")
        level = np.maximum(frame / np.median(frame), _LOWEST)
        if frames and level.shape != frames[0].shape:
            raise TrainingError(f"the references in {path} differ in size: {frames[0].shape}, {level.shape}")
        lights.append(np.asarray(network_target(np.maximum(shrunk(level, (side, side)), _LOWEST))))
        frames.append(np.asarray(level, np.float32))
    if len(lights) < 2:
        raise TrainingError(f"{path} holds {len(lights)} references: at least 2 are wanted, better 50")
    report(f"{len(lights)} references of {frames[0].shape[0]}×{frames[0].shape[1]} pixels")
    return References(lights, fixed_map(frames))


def _frames(path: Path, report: Callable[[str], None]) -> Iterator[Plane]:
    files = [path] if path.is_file() else sorted(file for file in path.glob("*") if file.is_file())
    for file in files:
        try:
            found = open_frames(file, "flats")
        except ImageError as error:
            report(f"left out {file}: {error}")
            continue
        dark = _dark(file)
        for frame in found.frames:
            yield np.asarray(frame - dark, np.float32)


def _dark(file: Path) -> Plane | float:
    """The mean of the dark frames that a file marks, or 0."""
    try:
        darks = open_frames(file, "darks")
    except ImageError:  # flats alone
        return 0.0
    return darks.frames.mean() if darks.own else 0.0
