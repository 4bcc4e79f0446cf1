r"""Data Exchange: HDF5 with ``/exchange/data``, ``data_white``, ``data_dark`` and ``theta``.

Source: De Carlo et al., *Scientific data exchange: a schema for HDF5-based storage of raw
and analyzed data*, 2014.
"""

__all__ = ["FORMAT"]

from pathlib import Path
from typing import Any

from relume.errors import UnreadableImage

from .hdf5 import dataset, degrees, frames_of, is_hdf5, library
from .scan import Format, Frames, References, Role, Scan, keeps

_NAMES: dict[Role, str] = {"flats": "exchange/data_white", "darks": "exchange/data_dark"}


def _sniff(path: Path) -> bool:
    if not is_hdf5(path):
        return False
    with library().File(path, "r") as file:
        return "exchange" in file


def _open(path: Path, references: bool | Role) -> Scan:
    with library().File(path, "r") as file:
        data = dataset(file, "exchange/data")
        if data is None:
            alone = any(_filled(file, role) is not None for role in _NAMES)
            raise UnreadableImage(
                "it has no /exchange/data" + ("; it can only be used as a reference" if alone else "")
            )
        frames = frames_of(data)
        facts = {f"exchange/data@{key}": value for key, value in data.attrs.items()}
        theta = dataset(file, "exchange/theta")
        angles = degrees(theta) if theta is not None and theta.size else None
        if angles is not None and len(angles) != len(frames):
            # Of a scan that was stopped, or of flats and darks too: which belongs to which is not known.
            facts["exchange/theta"] = f"{len(angles)} angles for {len(frames)} frames; left out"
            angles = None
        return Scan(
            format=FORMAT.name,
            path=path,
            frames=frames,
            flats=_filled(file, "flats") if keeps(references, "flats") else None,
            darks=_filled(file, "darks") if keeps(references, "darks") else None,
            angles=angles,
            facts=facts,
        )


def _filled(file: Any, role: Role) -> Frames | None:
    """Flats or darks; writers that took none leave the dataset out, or leave it empty."""
    data = dataset(file, _NAMES[role])
    return None if data is None or not data.size else frames_of(data)


def _references(path: Path, role: Role) -> References | None:
    with library().File(path, "r") as file:
        frames = _filled(file, role)
    return None if frames is None else References(frames, own=True)


FORMAT = Format("Data Exchange", _sniff, _open, _references)
