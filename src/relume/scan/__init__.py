r"""Scientific files ↔ frames of linear float32 with their metadata.

A :class:`Format` is one file format, a :class:`Scan` what it opens: frames that are read when they are asked
for, dark and flat frames, and what the file says of itself. To add a format, write ``newformat.py`` with a
``FORMAT`` and list it in :data:`FORMATS`.
"""

__all__ = [
    "FORMATS",
    "Format",
    "Frames",
    "Provenance",
    "References",
    "Role",
    "Scan",
    "open_frames",
    "open_scan",
    "provenance_of",
    "with_references",
    "write",
    "write_picture",
]

import os
from dataclasses import replace
from pathlib import Path

from relume.errors import UnreadableImage, UnsupportedImage
from relume.files import reading

from . import exchange, folder, nexus, tiff, xradia
from .output import Provenance, provenance_of, write, write_picture
from .scan import Format, Frames, References, Role, Scan

FORMATS: tuple[Format, ...] = (folder.FORMAT, xradia.FORMAT, tiff.FORMAT, exchange.FORMAT, nexus.FORMAT)


def open_scan(path: str | os.PathLike[str], *, references: bool | Role = True) -> Scan:
    """Opens a measurement; its frames are read later.

    What it is, is told by its content and not by its name.

    Args:
        path: a .xrm, .txrm, HDF5, NeXus or TIFF file, or a folder of tiles.
        references: false leaves out the flat and dark frames that are in it, so that they are not checked;
            ``"flats"`` or ``"darks"`` leaves out the others.

    Raises:
        UnreadableImage: missing, empty, truncated or damaged.
        UnsupportedImage: of a kind that is not read.
        InconsistentScan: its parts contradict each other.
        MissingExtra: the library that reads it is not installed.
    """
    where = Path(path)
    with reading(str(path)):
        return _format_of(where).open(where, references)


def open_frames(path: str | os.PathLike[str], role: Role) -> References:
    """Opens a file that is to be used as a reference: frames of the empty field, or frames without light.

    They are the frames that the file marks as such, where it does; nothing else in it has to fit them, and a
    file without a sample will do. In a folder they are those of the first tile. Of any other file they are
    its frames: a TIFF stack of empty fields, say. Frames are read later.

    Args:
        path: as for :func:`open_scan`.
        role: ``"flats"`` for the empty field, ``"darks"`` for no light.

    Returns:
        the frames (N, H, W), whether the file marks them, and their exposure (s) and binning.

    Raises:
        UnreadableImage, UnsupportedImage, InconsistentScan, MissingExtra: as for :func:`open_scan`. A file
            that marks flats and no darks is unreadable as darks: its frames are those of a sample.
    """
    where = Path(path)
    with reading(str(path)):
        format = _format_of(where)
        found = format.references(where, role)
        if found is not None:
            return found
        if role == "darks" and format.references(where, "flats") is not None:
            raise UnreadableImage(
                "it holds flat frames and no dark ones; give a file of frames without light"
            )
        scan = format.open(where, False)
    return References(scan.frames, False, scan.exposure, scan.binning)


def _format_of(where: Path) -> Format:
    if where.is_file() and not where.stat().st_size:
        raise UnreadableImage("the file is empty")
    where.stat()
    format = next((format for format in FORMATS if format.sniff(where)), None)
    if format is None:
        names = ", ".join(format.name for format in FORMATS)
        raise UnsupportedImage(f"no measurement of a known format ({names})")
    return format


def with_references(
    scan: Scan,
    *,
    flats: Scan | References | None = None,
    darks: Scan | References | None = None,
    stale: bool = False,
) -> Scan:
    """A scan with the frames of other files as its flat and dark frames.

    Args:
        scan: the measurement.
        flats, darks: what takes the place of its own; ``None`` leaves those.
        stale: the flats are of another day, and only their shape counts: their exposure and binning are not
            compared, and the scale is 1.

    Raises:
        InconsistentScan: they differ from the scan in size, binning or exposure.
    """
    if flats is not None:
        exposure, binning = (None, None) if stale else (flats.exposure, flats.binning)
        exposures = None if stale else scan.exposures
        scan = replace(
            scan, flats=flats.frames, flat_exposure=exposure, flat_binning=binning, exposures=exposures
        )
    return scan if darks is None else replace(scan, darks=darks.frames)
