r"""WebP, through Pillow. Quality 100 is lossless. There is no gray WebP: a gray picture becomes R = G = B."""

__all__ = ["CODEC"]

import io

from PIL import WebPImagePlugin

from relume.errors import UnreadableImage, UnsupportedImage
from relume.image import exif
from relume.image.arrays import samples_of, to_pil
from relume.image.assemble import assemble, check_size
from relume.image.picture import Image
from relume.image.quiet import quiet

from .codec import Codec, Source


def _sniff(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def _size(data: bytes) -> tuple[int, int]:
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


def _decode(source: Source) -> Image:
    check_size(_size(source.data), source.max_pixels)
    if len(source.data) < 8 + int.from_bytes(source.data[4:8], "little"):
        raise UnreadableImage("the file is truncated")
    with quiet(), WebPImagePlugin.WebPImageFile(io.BytesIO(source.data)) as file:
        if file.n_frames > 1:
            raise UnsupportedImage("an animated WebP; save the frame you want as a still picture")
        block = file.info.get("exif")
        file.load()
        samples, icc = samples_of(file)
    dpi = exif.resolution(exif.parse_block(block))
    return assemble(samples, format="WEBP", bit_depth=8, icc=icc, block=block, dpi=dpi)


def _encode(image: Image, bit_depth: int, quality: int) -> bytes:
    out = io.BytesIO()
    block = exif.with_resolution(image.exif, image.dpi)
    picture = to_pil(image, "RGB" if image.alpha is None else "RGBA", bare=True)
    options = {"quality": quality, "lossless": quality == 100, "exact": True, "method": 4}
    picture.save(out, "WEBP", exif=block or b"", icc_profile=image.icc or b"", **options)
    return out.getvalue()


CODEC = Codec("WEBP", (".webp",), _sniff, _decode, _encode, depths=(8,), side=16383)
