r"""WebP, read by libwebp (through imagecodecs), written through Pillow. Quality 100 is lossless.

There is no gray WebP: a gray picture becomes R = G = B.
"""

__all__ = ["CODEC", "size"]

import io

import imagecodecs

from relume.errors import UnreadableImage, UnsupportedImage
from relume.image import exif
from relume.image.arrays import to_pil
from relume.image.assemble import assemble, check_size
from relume.image.picture import Image

from .codec import Codec, Source

_KEPT = (b"ANIM", b"EXIF", b"ICCP", b"XMP ")


def _sniff(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def size(data: bytes) -> tuple[int, int]:
    """Width and height by the first chunk: the decoder reserves a canvas as soon as it is opened."""
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        raise UnreadableImage("the file is truncated")
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    raise UnreadableImage("not a WebP picture inside")


def _chunks(data: bytes) -> dict[bytes, bytes]:
    """The chunks of the container that matter, by name; the first of each."""
    found: dict[bytes, bytes] = {}
    at, end = 12, 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise UnreadableImage("the file is truncated")
    while at + 8 <= end:
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if (name := data[at : at + 4]) in _KEPT:
            found.setdefault(name, data[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    return found


def _decode(source: Source) -> Image:
    check_size(size(source.data), source.max_pixels)
    chunks = _chunks(source.data)
    if b"ANIM" in chunks:
        raise UnsupportedImage("an animated WebP; save the frame you want as a still picture")
    block = chunks.get(b"EXIF")
    return assemble(
        imagecodecs.webp_decode(source.data),
        format="WEBP",
        bit_depth=8,
        icc=chunks.get(b"ICCP"),
        block=block,
        xmp=chunks.get(b"XMP "),
        dpi=exif.resolution(exif.parse_block(block)),
    )


def _encode(image: Image, bit_depth: int, quality: int) -> bytes:
    out = io.BytesIO()
    block = exif.with_resolution(image.exif, image.dpi)
    picture = to_pil(image, "RGB" if image.alpha is None else "RGBA", bare=True)
    options = {"quality": quality, "lossless": quality == 100, "exact": True, "method": 4}
    picture.save(out, "WEBP", exif=block or b"", icc_profile=image.icc or b"", **options)
    return out.getvalue()


CODEC = Codec("WEBP", (".webp",), _sniff, _decode, _encode, depths=(8,), side=16383)
