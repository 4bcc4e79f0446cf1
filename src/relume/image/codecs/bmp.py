r"""BMP, read through Pillow. Alpha and ICC profile need the fifth version of its header.

Source: *BITMAPV5HEADER structure*, Microsoft (Windows GDI reference).
"""

__all__ = ["CODEC"]

import io
import struct

import numpy as np
from PIL import BmpImagePlugin

from relume.errors import UnreadableImage
from relume.image.arrays import samples_of, to_pil
from relume.image.assemble import assemble, check_size
from relume.image.levels import to_integer
from relume.image.picture import Image
from relume.image.quiet import quiet

from .codec import Codec, Source

_METRE = 0.0254
_RUN_LENGTH = (1, 2)
_EMBEDDED, _SRGB = b"DEBM", b"BGRs"  # 'MBED' and 'sRGB' as little-endian words


def _sniff(data: bytes) -> bool:
    sizes = (12, 16, 40, 52, 56, 64, 108, 124)
    return data[:2] == b"BM" and len(data) >= 18 and int.from_bytes(data[14:18], "little") in sizes


def _decode(source: Source) -> Image:
    with quiet(), BmpImagePlugin.BmpImageFile(io.BytesIO(source.data)) as file:
        check_size(file.size, source.max_pixels)
        if file.info.get("compression") in _RUN_LENGTH and file.width * file.height > 255 * len(source.data):
            raise UnreadableImage("it holds far less than its header says")
        dpi = file.info.get("dpi")
        file.load()
        samples, _ = samples_of(file)
    return assemble(samples, format="BMP", bit_depth=8, icc=_profile(source.data), dpi=dpi)


def _profile(data: bytes) -> bytes | None:
    if len(data) < 138 or int.from_bytes(data[14:18], "little") != 124 or data[70:74] != _EMBEDDED:
        return None
    offset, size = struct.unpack_from("<II", data, 126)
    return data[14 + offset : 14 + offset + size]


def _encode(image: Image, bit_depth: int, quality: int) -> bytes:
    if image.alpha is not None or image.icc is not None:
        return _version5(image)
    out = io.BytesIO()
    to_pil(image, bare=True).save(out, "BMP", dpi=image.dpi or (0, 0))
    return out.getvalue()


def _version5(image: Image) -> bytes:
    """32 bits a pixel, B G R A, from the bottom up."""
    height, width = image.height, image.width
    rows = np.full((height, width, 4), 255, np.uint8)
    rows[:, :, :3] = to_integer(image.pixels, 8)[:, :, ::-1]
    if image.alpha is not None:
        rows[:, :, 3] = to_integer(image.alpha, 8)
    body, icc = rows[::-1].tobytes(), image.icc or b""
    x, y = (round(value / _METRE) for value in image.dpi or (0, 0))
    header = struct.pack("<IiiHHIIiiII", 124, width, height, 1, 32, 3, len(body), x, y, 0, 0)
    header += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header += (_EMBEDDED if icc else _SRGB) + bytes(48)  # 36 of end points, 12 of gamma
    header += struct.pack("<IIII", 4, 124 + len(body) if icc else 0, len(icc), 0)
    total = 14 + len(header) + len(body) + len(icc)
    return struct.pack("<2sIHHI", b"BM", total, 0, 0, 14 + len(header)) + header + body + icc


CODEC = Codec("BMP", (".bmp",), _sniff, _decode, _encode, depths=(8,))
