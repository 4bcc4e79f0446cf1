r"""TIFF stacks, ImageJ stacks and OME-TIFF: gray frames of one size, in linear units.

Unlike :mod:`relume.image`, which makes pictures of TIFF files, the values are kept as they are.

Source: *TIFF Revision 6.0*, Adobe (1992); Goldberg et al., *The Open Microscopy Environment data
model*, 2005.
"""

__all__ = ["FORMAT"]

import logging
import math
import xml.etree.ElementTree as ElementTree
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from relume.errors import UnreadableImage, UnsupportedImage

from .scan import Format, Frames, Sample, Scan

# One clear line is raised here; what tifffile logs beside it would reach stderr only for want of a handler.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
_MICROMETRES = {"µm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "m": 1e6}


def _sniff(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _open(path: Path, references: bool) -> Scan:
    with tifffile.TiffFile(path) as file:
        series = _series(file)
        _check_extent(file, path.stat().st_size)
        size = series.shape[-2:]
        count = math.prod(series.shape[:-2])
        if series.dataoffset is not None:
            offset, dtype = series.dataoffset, series.dtype.newbyteorder(file.byteorder)
            if offset + count * math.prod(size) * dtype.itemsize > path.stat().st_size:
                raise UnreadableImage("the file is truncated")
            read = partial(_mapped, path, dtype, offset, size)
        elif len(series.pages) == count:
            read = partial(_page, path)
        else:
            raise UnreadableImage(f"it promises {count} frames and holds {len(series.pages)}")
        return Scan(
            format=FORMAT.name,
            path=path,
            frames=Frames(size, series.dtype, read, range(count)),
            **_ome(file.ome_metadata),
        )


def _series(file: Any) -> Any:
    """The first series, if it is a stack of gray frames and the only one of its size."""
    if not file.series:
        raise UnreadableImage("the file is truncated or holds no picture")
    series = file.series[0]
    if series.dtype is None or series.dtype.kind not in "uif" or "S" in series.axes:
        raise UnsupportedImage("a TIFF of colours or of no numbers; a measurement is a stack of gray frames")
    if series.axes[-2:] != "YX":
        raise UnsupportedImage(f"a TIFF with the axes {series.axes}; write it with y and x last")
    full = sum(1 for other in file.series if other.shape[-2:] == series.shape[-2:])
    if full > 1:
        raise UnsupportedImage(f"a TIFF of {full} series; save the one you want as a file of its own")
    return series


def _check_extent(file: Any, size: int) -> None:
    """tifffile would fill what is missing at the end with zeros."""
    for page in file.pages:
        ends = (a + b for a, b in zip(page.dataoffsets, page.databytecounts, strict=False))
        if max(ends, default=0) > size or 0 in page.dataoffsets:
            raise UnreadableImage("the file is truncated")


def _mapped(path: Path, dtype: np.dtype[Any], offset: int, size: tuple[int, int], number: int) -> Sample:
    at = offset + number * math.prod(size) * dtype.itemsize
    return np.memmap(path, dtype, "r", at, size)


def _page(path: Path, number: int) -> Sample:
    with tifffile.TiffFile(path) as file:
        samples: Sample = file.series[0].pages[number].asarray()
    return samples


def _ome(text: str | None) -> dict[str, Any]:
    """Pixel size and exposure from OME-XML."""
    if not text:
        return {}
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return {}
    pixels, plane = root.find(".//{*}Pixels"), root.find(".//{*}Plane")
    found: dict[str, Any] = {}
    factor = _MICROMETRES.get("" if pixels is None else pixels.get("PhysicalSizeXUnit", "µm"))
    if pixels is not None and factor and pixels.get("PhysicalSizeX"):
        found["pixel_size"] = float(pixels.get("PhysicalSizeX", "nan")) * factor
    if plane is not None and plane.get("ExposureTimeUnit", "s") == "s" and plane.get("ExposureTime"):
        found["exposure"] = float(plane.get("ExposureTime", "nan"))
    return found


FORMAT = Format("TIFF", _sniff, _open)
