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
    "Scan",
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
from .scan import Format, Frames, Scan

FORMATS: tuple[Format, ...] = (folder.FORMAT, xradia.FORMAT, tiff.FORMAT, exchange.FORMAT, nexus.FORMAT)


def open_scan(path: str | os.PathLike[str], *, references: bool = True) -> Scan:
    """Opens a measurement; its frames are read later.

    What it is, is told by its content and not by its name.

    Args:
        path: a .xrm, .txrm, HDF5, NeXus or TIFF file, or a folder of tiles.
        references: false leaves out the flat and dark frames that are in it, so that they are not checked.

    Raises:
        UnreadableImage: missing, empty, truncated or damaged.
        UnsupportedImage: of a kind that is not read.
        InconsistentScan: its parts contradict each other.
        MissingExtra: the library that reads it is not installed.
    """
    where = Path(path)
    with reading(str(path)):
        if where.is_file() and not where.stat().st_size:
            raise UnreadableImage("the file is empty")
        where.stat()
        format = next((format for format in FORMATS if format.sniff(where)), None)
        if format is None:
            names = ", ".join(format.name for format in FORMATS)
            raise UnsupportedImage(f"no measurement of a known format ({names})")
        return format.open(where, references)


def with_references(scan: Scan, *, flats: Scan | None = None, darks: Scan | None = None) -> Scan:
    """A scan with the frames of other files as its flat and dark frames.

    Raises:
        InconsistentScan: they differ from the scan in size, binning or exposure.
    """
    if flats is not None:
        scan = replace(scan, flats=flats.frames, flat_exposure=flats.exposure, flat_binning=flats.binning)
    return scan if darks is None else replace(scan, darks=darks.frames)
