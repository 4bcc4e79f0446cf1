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

from .scan import Format, Frames, Role, Sample, Scan

# One clear line is raised here; what tifffile logs beside it would reach stderr only for want of a handler.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
_MICROMETRES = {"µm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "m": 1e6}


def _sniff(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _open(path: Path, references: bool | Role) -> Scan:
    with tifffile.TiffFile(path) as file:
        chosen = _chosen(file)
        series = file.series[chosen]
        _check_extent(file, path.stat().st_size)
        size = series.shape[-2:]
        count = math.prod(series.shape[:-2])
        if series.dataoffset is not None:
            offset, dtype = series.dataoffset, series.dtype.newbyteorder(file.byteorder)
            if offset + count * math.prod(size) * dtype.itemsize > path.stat().st_size:
                raise UnreadableImage("the file is truncated")
            read = partial(_mapped, path, dtype, offset, size)
        elif len(series.pages) == count:
            read = partial(_page, path, chosen)
        else:
            raise UnreadableImage(f"it promises {count} frames and holds {len(series.pages)}")
        return Scan(
            format=FORMAT.name,
            path=path,
            frames=Frames(size, series.dtype, read, range(count), str(path)),
            **_ome(file.ome_metadata, chosen),
        )


def _chosen(file: Any) -> int:
    """The number of the series that is the measurement: a stack of gray frames.

    It is the one with the most samples. What lies beside it may be single smaller pictures (previews, labels)
    and its own levels of a pyramid; which of two stacks is meant, nobody can tell.
    """
    if not file.series:
        raise UnreadableImage("the file is truncated or holds no picture")
    counted = [_frames_and_pixels(series) for series in file.series]
    best = max(range(len(counted)), key=lambda number: math.prod(counted[number]))
    series = file.series[best]
    if series.dtype is None or series.dtype.kind not in "uif" or "S" in series.axes:
        raise UnsupportedImage("a TIFF of colours or of no numbers; a measurement is a stack of gray frames")
    if series.axes[-2:] != "YX":
        raise UnsupportedImage(f"a TIFF with the axes {series.axes}; write it with y and x last")
    beside = [both for number, both in enumerate(counted) if number != best]
    # Without a mark in the file, tifffile takes any stack of half the size for a level of a pyramid.
    beside += [
        _frames_and_pixels(level)
        for level in series.levels[1:]
        if not (level.keyframe.is_reduced or level.keyframe.is_subifd)
    ]
    rivals = sum(1 for frames, pixels in beside if frames > 1 or pixels >= counted[best][1])
    if rivals:
        raise UnsupportedImage(f"a TIFF of {rivals + 1} series; save the one you want as a file of its own")
    return best


def _frames_and_pixels(series: Any) -> tuple[int, int]:
    """How many frames a series holds, and of how many pixels each."""
    sides = list(zip(series.axes, series.shape, strict=True))
    frames = math.prod(side for axis, side in sides if axis not in "YXS")
    return frames, math.prod(side for axis, side in sides if axis in "YX")


def _check_extent(file: Any, size: int) -> None:
    """tifffile would fill what is missing at the end with zeros."""
    for page in file.pages:
        ends = (a + b for a, b in zip(page.dataoffsets, page.databytecounts, strict=False))
        if max(ends, default=0) > size or 0 in page.dataoffsets:
            raise UnreadableImage("the file is truncated")


def _mapped(path: Path, dtype: np.dtype[Any], offset: int, size: tuple[int, int], number: int) -> Sample:
    at = offset + number * math.prod(size) * dtype.itemsize
    return np.memmap(path, dtype, "r", at, size)


def _page(path: Path, series: int, number: int) -> Sample:
    with tifffile.TiffFile(path) as file:
        samples: Sample = file.series[series].pages[number].asarray()
    return samples


def _ome(text: str | None, series: int) -> dict[str, Any]:
    """Pixel size and exposure from OME-XML, of one of its images."""
    if not text:
        return {}
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return {}
    images = root.findall(".//{*}Pixels")
    pixels = images[series] if series < len(images) else None
    plane = None if pixels is None else pixels.find(".//{*}Plane")
    found: dict[str, Any] = {}
    factor = _MICROMETRES.get("" if pixels is None else pixels.get("PhysicalSizeXUnit", "µm"))
    if pixels is not None and factor and pixels.get("PhysicalSizeX"):
        found["pixel_size"] = float(pixels.get("PhysicalSizeX", "nan")) * factor
    if plane is not None and plane.get("ExposureTimeUnit", "s") == "s" and plane.get("ExposureTime"):
        found["exposure"] = float(plane.get("ExposureTime", "nan"))
    return found


FORMAT = Format("TIFF", _sniff, _open)
