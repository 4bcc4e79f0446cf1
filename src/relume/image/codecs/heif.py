r"""HEIC and HEIF, by the extra ``heif`` (pillow-heif). Ten and twelve bits are read as 16, written as 10."""

__all__ = ["CODEC"]

import io
from typing import Any

import numpy as np

from relume.errors import MissingExtra
from relume.image import exif
from relume.image.assemble import assemble, check_size
from relume.image.levels import to_integer
from relume.image.picture import Image

from .codec import Codec, Source

_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}


def _sniff(data: bytes) -> bool:
    # mif1 is the brand of the container alone: AVIF files bear it too, with their own among the others
    others = data[16 : int.from_bytes(data[:4], "big")][:64]
    return data[4:8] == b"ftyp" and data[8:12] in _BRANDS and not (data[8] == ord("m") and b"avi" in others)


def _library() -> Any:
    try:
        import pillow_heif
    except ImportError as error:
        raise MissingExtra("HEIC", "heif") from error
    return pillow_heif


def _decode(source: Source) -> Image:
    library = _library()
    file = library.open_heif(io.BytesIO(source.data), convert_hdr_to_8bit=False)
    picture = file[file.primary_index]
    check_size(picture.size, source.max_pixels)
    samples = np.asarray(picture)
    block = picture.info.get("exif")
    return assemble(
        samples,
        format="HEIF",
        bit_depth=16 if samples.dtype == np.uint16 else 8,
        icc=picture.info.get("icc_profile"),
        block=block,
        dpi=exif.resolution(exif.parse_block(block)),
        orientation=1,  # libheif has turned it already
    )


def _encode(image: Image, bit_depth: int, quality: int) -> bytes:
    library = _library()
    pixels = to_integer(image.pixels, bit_depth)
    samples = np.repeat(pixels, 3, axis=2) if image.gray else pixels
    if image.alpha is not None:
        samples = np.concatenate([samples, to_integer(image.alpha, bit_depth)[:, :, None]], axis=2)
    mode = ("RGB" if image.alpha is None else "RGBA") + (";16" if bit_depth == 16 else "")
    block = exif.with_resolution(image.exif, image.dpi)
    options: dict[str, Any] = {"exif": b"Exif\0\0" + block if block else None}
    if image.icc:
        options |= {"icc_profile": image.icc, "icc_profile_type": "prof"}
    out = io.BytesIO()
    library.encode(mode, (image.width, image.height), samples.tobytes(), out, quality=quality, **options)
    return out.getvalue()


CODEC = Codec("HEIF", (".heic", ".heif", ".hif"), _sniff, _decode, _encode, depths=(8, 16), side=16384)
