r"""Camera RAW, by the extra ``raw`` (rawpy, LibRaw): read only, developed to 16-bit sRGB, written as TIFF."""

__all__ = ["CODEC"]

import io
import struct
from typing import Any

from relume.errors import MissingExtra
from relume.image import exif
from relume.image.assemble import assemble, check_size
from relume.image.picture import Image

from . import tiff
from .codec import Codec, Source

_MAGIC = (b"FUJIFILMCCD-RAW", b"IIU\0", b"IIRO", b"IIRS", b"MMOR", b"FOVb", b"\0MRM")
_DNG_VERSION, _SUB_DIRECTORIES, _PHOTOMETRIC = 50706, 330, 262
_MOSAIC = (32803, 34892)  # colour filter array, linear raw


def _sniff(data: bytes) -> bool:
    if data.startswith(_MAGIC) or data[4:11] == b"ftypcrx" or (data[8:10] == b"CR" and data[:2] == b"II"):
        return True
    return tiff.CODEC.sniff(data) and _is_mosaic(data)


def _is_mosaic(data: bytes) -> bool:
    """Whether a TIFF file holds what the sensor saw rather than a picture, in it or in a branch of it."""
    try:
        order, offset, big = tiff.header(data)
        first, _ = exif.read_directory(data, offset, order, big=big)
        branches = [int(where) for where in exif.numbers(first.get(_SUB_DIRECTORIES))[:8]]
        directories = [first, *(exif.read_directory(data, where, order, big=big)[0] for where in branches)]
    except struct.error:
        return False
    kinds = [exif.numbers(directory.get(_PHOTOMETRIC)) for directory in directories]
    return _DNG_VERSION in first or any(kind and kind[0] in _MOSAIC for kind in kinds)


def _library() -> Any:
    try:
        import rawpy
    except ImportError as error:
        raise MissingExtra("camera RAW", "raw") from error
    return rawpy


def _decode(source: Source) -> Image:
    library = _library()
    with library.imread(io.BytesIO(source.data)) as file:
        check_size((file.sizes.width, file.sizes.height), source.max_pixels)
        samples = file.postprocess(use_camera_wb=True, output_bps=16)
    block = tiff.description(source.data) if tiff.CODEC.sniff(source.data) else None
    return assemble(samples, format="TIFF", bit_depth=16, block=block, orientation=1)


CODEC = Codec(
    "camera RAW",
    (
        ".dng",
        ".cr2",
        ".cr3",
        ".nef",
        ".nrw",
        ".arw",
        ".srf",
        ".sr2",
        ".raf",
        ".rw2",
        ".orf",
        ".pef",
        ".srw",
        ".x3f",
    ),
    _sniff,
    _decode,
)
