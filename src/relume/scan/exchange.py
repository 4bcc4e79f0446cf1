r"""Data Exchange: HDF5 with ``/exchange/data``, ``data_white``, ``data_dark`` and ``theta``.

Source: De Carlo et al., *Scientific data exchange: a schema for HDF5-based storage of raw
and analyzed data*, 2014.
"""

__all__ = ["FORMAT"]

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from relume.errors import InconsistentScan, UnreadableImage

from .hdf5 import dataset, frames_of, is_hdf5, library
from .scan import Format, Scan


def _sniff(path: Path) -> bool:
    if not is_hdf5(path):
        return False
    with library().File(path, "r") as file:
        return "exchange" in file


def _open(path: Path, references: bool) -> Scan:
    with library().File(path, "r") as file:
        data = dataset(file, "exchange/data")
        if data is None:
            raise UnreadableImage("it has no /exchange/data")
        frames = frames_of(path, data)
        white, dark = dataset(file, "exchange/data_white"), dataset(file, "exchange/data_dark")
        return Scan(
            format=FORMAT.name,
            path=path,
            frames=frames,
            flats=None if white is None or not references else frames_of(path, white),
            darks=None if dark is None or not references else frames_of(path, dark),
            angles=_angles(dataset(file, "exchange/theta"), len(frames)),
            facts={f"exchange/data@{key}": value for key, value in data.attrs.items()},
        )


def _angles(theta: Any | None, count: int) -> npt.NDArray[np.float64] | None:
    """In degrees. Files that say nothing of the unit are in degrees, as the schema has it."""
    if theta is None or theta.size == 0:
        return None
    if theta.size != count:
        raise InconsistentScan(f"its /exchange/theta has {theta.size} angles for {count} frames")
    values: npt.NDArray[np.float64] = np.asarray(theta[()], np.float64).ravel()
    return np.rad2deg(values) if str(theta.attrs.get("units", "")).startswith("rad") else values


FORMAT = Format("Data Exchange", _sniff, _open)
