r"""JPEG, through Pillow. The first picture of a phone's multi-picture file (MPO) is the photograph."""

__all__ = ["CODEC"]

import io
from typing import Any

import numpy as np
from PIL import JpegImagePlugin

from relume.image import exif
from relume.image.arrays import samples_of, to_pil
from relume.image.assemble import assemble, check_size
from relume.image.picture import Image
from relume.image.quiet import quiet

from .codec import Codec, Source

_APP1 = 65533  # bytes that one JPEG segment holds


def _sniff(data: bytes) -> bool:
    return data[:3] == b"\xff\xd8\xff"


def _decode(source: Source) -> Image:
    with quiet(), JpegImagePlugin.JpegImageFile(io.BytesIO(source.data)) as file:
        check_size(file.size, source.max_pixels)
        info = dict(file.info)
        file.load()
        samples, icc = samples_of(file)
    block = info.get("exif")
    unit = {1: 1.0, 2: 2.54}.get(info.get("jfif_unit", 0))
    density = info.get("jfif_density")
    dpi = (
        (density[0] * unit, density[1] * unit)
        if unit and density
        else exif.resolution(exif.parse_block(block))
    )
    return assemble(samples, format="JPEG", bit_depth=8, icc=icc, block=block, dpi=dpi, xmp=info.get("xmp"))


def _over_white(image: Image) -> Image:
    """JPEG has no alpha: what shows through is white paper."""
    if image.alpha is None:
        return image
    a = image.alpha[:, :, None]
    return Image(np.asarray(image.pixels * a + (1 - a), dtype=np.float32), icc=image.icc)


def _encode(image: Image, bit_depth: int, quality: int) -> bytes:
    out = io.BytesIO()
    options: dict[str, Any] = {
        "quality": quality,
        "subsampling": 0,
    }  # 4:4:4: colour is not thinned out once more
    # A block that is longer than a segment is left out, as JPEG has no room for it.
    if image.exif and len(image.exif) + 6 <= _APP1:
        options["exif"] = b"Exif\0\0" + image.exif
    if image.icc:
        options["icc_profile"] = image.icc
    if image.dpi:
        options["dpi"] = image.dpi
    to_pil(_over_white(image), bare=True).save(out, "JPEG", **options)
    return out.getvalue()


CODEC = Codec(
    "JPEG", (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), _sniff, _decode, _encode, depths=(8,), side=65535
)
