r"""PNG, 1 to 16 bits. The container is read and written here, the pixels by libpng (through imagecodecs).

libpng is handed the chunks that make the pixels and no others, so that a damaged text or profile does not
stop a picture from being read.

Source: *Portable Network Graphics (PNG) Specification (Third Edition)*, W3C (2025).
"""

__all__ = ["CODEC"]

import re
import struct
import zlib
from typing import NamedTuple

import imagecodecs
import numpy as np

from relume.errors import UnreadableImage, UnsupportedImage
from relume.image.assemble import assemble, check_size
from relume.image.levels import Samples, to_integer
from relume.image.picture import Image

from .codec import Codec, Source

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")
_METRE = 0.0254
_UNPACKED = 1 << 24  # a compressed profile or text that is longer than this is a bomb


class _Parts(NamedTuple):
    pixels: bytes  # a PNG file of the chunks in _PIXELS
    rest: dict[bytes, bytes]  # the others that matter, by name; the first of each


def _sniff(data: bytes) -> bool:
    return data.startswith(_SIGNATURE)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _split(data: bytes) -> _Parts:
    kept, at = [_SIGNATURE], 8
    rest: dict[bytes, bytes] = {}
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        name, end = data[at + 4 : at + 8], at + 12 + size
        if name == b"IEND":
            break
        if end > len(data):
            raise UnreadableImage("the file is truncated")
        if name in _PIXELS:
            kept.append(data[at:end])
        body = data[at + 8 : end - 4]
        text = name in (b"zTXt", b"tEXt") and body.startswith(
            (b"Raw profile type exif", b"Raw profile type APP1")
        )
        if text or name in (b"IHDR", b"PLTE", b"iCCP", b"eXIf", b"pHYs", b"acTL"):
            rest.setdefault(name, body)
        at = end
    return _Parts(b"".join([*kept, _chunk(b"IEND", b"")]), rest)


def _decode(source: Source) -> Image:
    if source.data[12:16] != b"IHDR" or len(source.data) < 33:
        raise UnreadableImage("the file is truncated or has no header")
    width, height, bits, kind = struct.unpack_from(">IIBB", source.data, 16)
    check_size((width, height), source.max_pixels)
    pixels, rest = _split(source.data)
    if len(rest.get(b"acTL", b"")) >= 4 and struct.unpack_from(">I", rest[b"acTL"])[0] > 1:
        raise UnsupportedImage("an animated PNG; save the frame you want as a still picture")
    samples = imagecodecs.png_decode(pixels)
    if kind == 3 and _gray_palette(rest.get(b"PLTE", b"")):
        samples = samples[..., [0, 3] if samples.shape[2] == 4 else [0]]
    return assemble(
        samples,
        format="PNG",
        bit_depth=16 if bits == 16 else 8,
        icc=_profile(rest.get(b"iCCP", b"")),
        block=rest.get(b"eXIf") or _raw_profile(rest),
        dpi=_dpi(rest.get(b"pHYs", b"")),
    )


def _gray_palette(palette: bytes) -> bool:
    return palette[::3] == palette[1::3] == palette[2::3]


def _inflate(packed: bytes) -> bytes:
    machine = zlib.decompressobj()
    try:
        done = machine.decompress(packed, _UNPACKED)
    except zlib.error:
        return b""
    return b"" if machine.unconsumed_tail else done


def _profile(body: bytes) -> bytes | None:
    _, _, packed = body.partition(b"\0")
    return _inflate(packed[1:]) or None


def _raw_profile(rest: dict[bytes, bytes]) -> bytes | None:
    """EXIF as ImageMagick wrote it before PNG had a chunk for it: hexadecimal, in a text chunk."""
    packed = rest.get(b"zTXt", b"").partition(b"\0")[2]
    text = _inflate(packed[1:]) if packed else rest.get(b"tEXt", b"").partition(b"\0")[2]
    match = re.match(rb"\s*(?:exif|app1|APP1)\s+\d+\s+([0-9a-fA-F\s]+)", text)
    digits = b"".join(match[1].split()) if match else b""
    return bytes.fromhex(digits.decode()) if len(digits) % 2 == 0 else None


def _dpi(body: bytes) -> tuple[float, float] | None:
    if len(body) != 9 or body[8] != 1:  # unit 0 is an aspect ratio
        return None
    x, y = struct.unpack_from(">II", body)
    return x * _METRE, y * _METRE


def _samples(image: Image, bit_depth: int) -> Samples:
    pixels = to_integer(image.pixels, bit_depth)
    if image.alpha is None:
        return pixels[:, :, 0] if image.gray else pixels
    return np.concatenate([pixels, to_integer(image.alpha, bit_depth)[:, :, None]], axis=2)


def _encode(image: Image, bit_depth: int, quality: int) -> bytes:
    data = bytes(imagecodecs.png_encode(np.ascontiguousarray(_samples(image, bit_depth))))
    extra = b""
    if image.icc:
        extra += _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(image.icc))
    if image.dpi:
        x, y = (round(value / _METRE) for value in image.dpi)
        extra += _chunk(b"pHYs", struct.pack(">IIB", x, y, 1))
    if image.exif:
        extra += _chunk(b"eXIf", image.exif)
    return data[:33] + extra + data[33:]  # 8 of signature and 25 of IHDR come first


CODEC = Codec("PNG", (".png",), _sniff, _decode, _encode, depths=(8, 16))
