r"""PNG, 1 to 16 bits. The container is read and written here, the pixels by libpng (through imagecodecs).

All is checked and inflated here first, and libpng is handed a file of the rows and the palette alone. So a
damaged text or profile does not stop a picture from being read, nothing is printed, and libpng never has to
leave by its emergency exit, on which imagecodecs loses a reference to None each time.

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
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT")
_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"iCCP", b"eXIf", b"pHYs", b"acTL")
_TEXTS = (b"Raw profile type exif\0", b"Raw profile type APP1\0", b"XML:com.adobe.xmp\0")
_METRE = 0.0254
_UNPACKED = 1 << 24  # a compressed profile or text that is longer than this is a bomb


# Adam7: where the pixels of each of the seven passes begin, and how far apart they are (x, y, dx, dy).
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_INDEXED = 3
_CHANNELS = {0: 1, 2: 3, _INDEXED: 1, 4: 2, 6: 4}  # stored, by colour type
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), _INDEXED: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PART = 1 << 30  # bytes that go into one IDAT chunk, which holds less than 2³¹


class _Parts(NamedTuple):
    pixels: list[bytes]  # the bodies of all IDAT chunks
    body: dict[bytes, bytes]  # the bodies of the others that matter, by name; the first of each


class _Header(NamedTuple):
    width: int
    height: int
    bits: int
    kind: int
    packing: int
    filtering: int
    interlaced: int


def _sniff(data: bytes) -> bool:
    return data.startswith(_SIGNATURE)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _split(data: bytes) -> _Parts:
    parts, at = _Parts([], {}), 8
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        name, end = data[at + 4 : at + 8], at + 12 + size
        if name == b"IEND" or (name == b"IHDR" and at > 8):
            break
        body = data[at + 8 : end - 4]
        if end > len(data):
            raise UnreadableImage("the file is truncated")
        if name in _CRITICAL and zlib.crc32(name + body) != int.from_bytes(data[end - 4 : end], "big"):
            raise UnreadableImage("the file is damaged (a checksum is wrong)")
        if name == b"IDAT":
            parts.pixels.append(body)
        elif name in _KEPT or body.startswith(_TEXTS):
            parts.body.setdefault(name, body)
        at = end
    return parts


def _decode(source: Source) -> Image:
    parts = _split(source.data)
    head = _header(parts, source.max_pixels)
    frames = parts.body.get(b"acTL", b"")
    if len(frames) >= 4 and struct.unpack_from(">I", frames)[0] > 1:
        raise UnsupportedImage("an animated PNG; save the frame you want as a still picture")
    samples = _samples_of(head, parts)
    if head.kind == _INDEXED and _gray_palette(parts.body[b"PLTE"]):
        samples = samples[..., [0, 3] if samples.shape[2] == 4 else [0]]
    return assemble(
        samples,
        format="PNG",
        bit_depth=16 if head.bits == 16 else 8,
        icc=_profile(parts.body.get(b"iCCP", b"")),
        block=parts.body.get(b"eXIf") or _raw_profile(parts.body),
        xmp=_xmp(parts.body.get(b"iTXt", b"")),
        dpi=_dpi(parts.body.get(b"pHYs", b"")),
    )


def _header(parts: _Parts, max_pixels: int) -> _Header:
    if len(parts.body.get(b"IHDR", b"")) != 13:
        raise UnreadableImage("the file is truncated or has no header")
    head = _Header(*struct.unpack(">IIBBBBB", parts.body[b"IHDR"]))
    check_size((head.width, head.height), max_pixels)
    if head.bits not in _DEPTHS.get(head.kind, ()) or head.packing or head.filtering or head.interlaced > 1:
        raise UnreadableImage("its header makes no sense")
    if head.kind == _INDEXED and not 3 <= len(parts.body.get(b"PLTE", b"")) <= 768:
        raise UnreadableImage("its palette is missing or damaged")
    return head


def _samples_of(head: _Header, parts: _Parts) -> Samples:
    """Inflates the pixels, and has libpng decode each pass of an interlaced picture, or the only one."""
    passes = _PASSES if head.interlaced else ((0, 0, 1, 1),)
    bits = head.bits * _CHANNELS[head.kind]
    sizes = [(-((x - head.width) // dx), -((y - head.height) // dy)) for x, y, dx, dy in passes]
    rows = [(1 + (w * bits + 7) // 8) if w > 0 else 0 for w, _ in sizes]
    lengths = [row * max(h, 0) for row, (_, h) in zip(rows, sizes, strict=True)]
    data = zlib.decompressobj().decompress(b"".join(parts.pixels), sum(lengths) + 1)
    if len(data) < sum(lengths):
        raise UnreadableImage("the file is truncated")
    found: list[Samples | None] = []
    at = 0
    for size, row, length in zip(sizes, rows, lengths, strict=True):
        found.append(_plain(head, size, data[at : at + length], row, parts) if length else None)
        at += length
    if not head.interlaced and found[0] is not None:
        return found[0]
    assert found[0] is not None  # the first pass holds the first pixel
    whole = np.empty((head.height, head.width, *found[0].shape[2:]), found[0].dtype)
    for (x, y, dx, dy), part in zip(passes, found, strict=True):
        if part is not None:
            whole[y::dy, x::dx] = part
    return whole


def _plain(head: _Header, size: tuple[int, int], data: bytes, row: int, parts: _Parts) -> Samples:
    """Filtered rows → samples, by libpng, from a file that holds nothing it could object to."""
    if (np.frombuffer(data, np.uint8)[::row] > 4).any():
        raise UnreadableImage("the file is damaged (a filter that does not exist)")
    chunks = [_chunk(b"IHDR", struct.pack(">IIBBBBB", *size, head.bits, head.kind, 0, 0, 0))]
    entries = 2**head.bits if head.kind == _INDEXED else 0
    if entries:
        chunks.append(_chunk(b"PLTE", parts.body[b"PLTE"].ljust(3 * entries, b"\0")[: 3 * entries]))
    clear = _transparency(head, parts.body.get(b"tRNS", b""), entries)
    if clear:
        chunks.append(_chunk(b"tRNS", clear))
    stored = zlib.compress(data, 0)
    chunks += [_chunk(b"IDAT", stored[at : at + _PART]) for at in range(0, len(stored), _PART)]
    done: Samples = imagecodecs.png_decode(b"".join([_SIGNATURE, *chunks, _chunk(b"IEND", b"")]))
    return done


def _transparency(head: _Header, body: bytes, entries: int) -> bytes:
    """The transparent colour, or the alphas of the palette, within what the bit depth can say."""
    if entries:
        return body[:entries]
    if len(body) != {0: 2, 2: 6}.get(head.kind):
        return b""
    return struct.pack(
        f">{len(body) // 2}H", *(v & (2**head.bits - 1) for (v,) in struct.iter_unpack(">H", body))
    )


def _xmp(body: bytes) -> bytes:
    """The text of an XMP chunk: keyword, compression, language and translation come before it."""
    _, _, text = body.partition(b"\0")
    return _inflate(text[4:]) if text[:1] == b"\1" else text


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
    digits = match[1].translate(None, b" \t\r\n\f\v") if match else b""
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
