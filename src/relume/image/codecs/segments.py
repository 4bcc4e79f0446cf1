r"""Strips and tiles of a TIFF that are pictures of another format, with a size of their own.

Their decoders believe that size and not the directory's: a few kilobytes of JPEG 2000 in a TIFF of 16 × 16
pixels may promise gigabytes. Here every such segment has to say a size within its strip or tile, before
anything is decoded. Compressions whose size cannot be told beforehand are not read.

Source: *JPEG 2000 image coding system: Core coding system*, ISO/IEC 15444-1 (2019), A.5.1 (the SIZ marker).
"""

__all__ = ["check_segments"]

import io
import re
import struct
from collections.abc import Callable
from typing import Any

from PIL import JpegImagePlugin, PngImagePlugin

from relume.errors import UnreadableImage, UnsupportedImage
from relume.image.quiet import quiet

from . import webp

# None, CCITT, LZW, Deflate, PackBits, LZMA, Zstandard: they fill the strip or tile, and stop.
_FILLING = frozenset({1, 2, 3, 4, 5, 8, 32771, 32773, 32946, 34925, 50000})
_BLOCK = 16  # to a multiple of which some writers of JPEG fill up
_SIZ = re.compile(rb"\xff\x4f\xff\x51.{4}(.{16})", re.DOTALL)


def _jpeg(data: bytes) -> tuple[int, int]:
    with quiet(), JpegImagePlugin.JpegImageFile(io.BytesIO(data)) as file:
        width, height = file.size
    return width, height


def _png(data: bytes) -> tuple[int, int]:
    with quiet(), PngImagePlugin.PngImageFile(io.BytesIO(data)) as file:
        width, height = file.size
    return width, height


def _jpeg2000(data: bytes) -> tuple[int, int]:
    """The largest size that stands anywhere in it: one of them is the decoder's."""
    found = [struct.unpack(">4I", match) for match in _SIZ.findall(data)]
    if not found:
        raise UnreadableImage("a strip or tile of it is no picture")
    return max(x - left for x, _, left, _ in found), max(y - top for _, y, _, top in found)


_SIZE: dict[int, Callable[[bytes], tuple[int, int]]] = {
    6: _jpeg,
    7: _jpeg,
    33003: _jpeg2000,
    33004: _jpeg2000,
    33005: _jpeg2000,
    34712: _jpeg2000,
    34933: _png,
    50001: webp.size,
}


def check_segments(page: Any, data: bytes) -> None:
    """Raises where a strip or tile is a picture larger than its place.

    Args:
        page: tifffile's page.
        data: the file.

    Raises:
        UnsupportedImage: for a compression whose segments cannot be measured.
        UnreadableImage: for a segment that is too large or damaged.
    """
    way = int(page.compression)
    if way in _FILLING:
        return
    if way not in _SIZE:
        raise UnsupportedImage("a TIFF of a rare compression; save it with Deflate or LZW")
    width, height = page.tilewidth or page.imagewidth, page.tilelength or page.rowsperstrip
    height = height if page.is_tiled else min(height, page.imagelength)
    for offset, length in zip(page.dataoffsets, page.databytecounts, strict=False):
        x, y = _SIZE[way](data[offset : offset + length])
        if x >= width + _BLOCK or y >= height + _BLOCK:
            raise UnreadableImage(
                f"a strip or tile of {width} × {height} pixels holds a picture of {x} × {y}"
            )
