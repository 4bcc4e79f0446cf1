r"""Reading and writing: what is the same for every format."""

__all__ = ["read", "encode", "write", "is_picture", "SUFFIXES", "MAX_PIXELS"]

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from relume.errors import ImageError, OutputExists, RelumeError, UnsupportedImage, UsageError
from relume.files import one_line, placing, reading

from . import colour
from .codecs import CODECS, Codec, Source, codec_named, codec_of
from .picture import Image

MAX_PIXELS = 200_000_000
SUFFIXES: tuple[str, ...] = tuple(suffix for codec in CODECS for suffix in codec.suffixes)

# Names under which nothing is written: the file would not be what its name says.
_READ_ONLY = {suffix for codec in CODECS if codec.encode is None for suffix in codec.suffixes}
_FOREIGN = {".gif", ".psd", ".avif", ".jp2", ".j2k", ".jxl", ".exr", ".pdf", ".ico", ".svg", ".dcm"}


def is_picture(path: str | os.PathLike[str]) -> bool:
    """Whether the name ends like that of a picture that can be read.

    Example:
        >>> is_picture("scan.TIF"), is_picture("notes.txt")
        (True, False)
    """
    return Path(path).suffix.lower() in SUFFIXES


def read(source: str | os.PathLike[str] | bytes | BinaryIO, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Reads a picture: a path, the bytes of a file, or a file that is open for reading.

    What it is, is told by its content and never by its name. Palettes and single bits are expanded to 8, CMYK
    and CIELAB become sRGB, other depths become 8 or 16 bits.

    Raises:
        UnreadableImage: missing, empty, truncated, or not a picture.
        UnsupportedImage: animated, of several pages, or of a kind that is not read.
        ImageTooLarge: more than ``max_pixels`` by its header, which is checked before anything is decoded.
        MissingExtra: HEIC or camera RAW without the extra that reads it.
    """
    with reading(os.fspath(source) if isinstance(source, (str, os.PathLike)) else "picture"):
        data = _bytes_of(source)
        codec = codec_of(data)
        return codec.decode(Source(data, max_pixels))


def _bytes_of(source: str | os.PathLike[str] | bytes | BinaryIO) -> bytes:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    if isinstance(source, (str, os.PathLike)):
        return Path(source).read_bytes()
    return source.read()


def encode(
    image: Image,
    *,
    format: str | None = None,
    bit_depth: int | None = None,
    keep_metadata: bool = True,
    quality: int = 95,
) -> bytes:
    """The bytes of a file that holds this picture.

    Args:
        image: the picture.
        format: JPEG, PNG, TIFF, WEBP, BMP or HEIF; None: the one it came from.
        bit_depth: 8 or 16; None: the one it came from, or 8 where the format holds no more.
        keep_metadata: False leaves out EXIF and resolution, and a profile that says sRGB. Any other profile
            stays, as it tells what the numbers mean.
        quality: 1 … 100 for JPEG, WebP (100: lossless) and HEIF.

    JPEG holds no alpha: it is laid over white.

    Raises:
        UsageError: for a format or depth that cannot be written.
        UnsupportedImage: for a picture that is too wide or too high for the format.
    """
    codec = codec_named(format or image.format)
    if not 1 <= quality <= 100:
        raise UsageError(f"quality must be 1 to 100, not {quality}")
    if bit_depth is not None and bit_depth not in codec.depths:
        raise UsageError(f"{codec.format} cannot hold {bit_depth} bits a channel; choose {_choices(codec)}")
    if max(image.width, image.height) > codec.side:
        raise UnsupportedImage(f"{codec.format} holds at most {codec.side} pixels a side; write PNG or TIFF")
    depth = bit_depth or (image.bit_depth if image.bit_depth in codec.depths else codec.depths[0])
    if not keep_metadata:
        plain = image.icc is not None and colour.is_srgb(image.icc, image.pixels.shape[2])
        image = dataclasses.replace(image, exif=None, dpi=None, icc=None if plain else image.icc)
    assert codec.encode is not None  # codec_named answers with no other
    try:
        return codec.encode(image, depth, quality)
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, RelumeError):
            raise
        raise ImageError(f"cannot be written as {codec.format}: {one_line(error)}") from error


def _choices(codec: Codec) -> str:
    others = [c.format for c in CODECS if c.encode is not None and 16 in c.depths and c is not codec]
    return " or ".join(map(str, codec.depths)) + (
        f", or write {' or '.join(others)}" if len(codec.depths) == 1 else ""
    )


def write(
    image: Image,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    bit_depth: int | None = None,
    keep_metadata: bool = True,
    overwrite: bool = False,
    quality: int = 95,
    seal: Callable[[bytes], None] | None = None,
) -> Path:
    """Writes a picture to a file, which is whole or is not there at all.

    Args:
        image: the picture.
        path: where to; its suffix tells the format unless ``format`` does. A link is followed.
        format, bit_depth, keep_metadata, quality: as in :func:`encode`.
        overwrite: whether a file that stands there may be replaced.
        seal: told the bytes of the file before they take its name; what it raises leaves no file behind.

    Returns:
        The path.

    Raises:
        OutputExists: when a file stands there and ``overwrite`` is false.
        UsageError: as :func:`encode`.
        ImageError: when the folder is missing, full or not writable.
    """
    path = Path(path)
    if not overwrite and path.exists():
        raise OutputExists(f"{path} exists; choose another name, or ask for overwriting")
    data = encode(
        image,
        format=format or _format_of(path, image),
        bit_depth=bit_depth,
        keep_metadata=keep_metadata,
        quality=quality,
    )
    with placing(path, overwrite=overwrite) as part:
        part.write_bytes(data)
        if seal is not None:
            seal(data)
    return path


def _format_of(path: Path, image: Image) -> str:
    suffix = path.suffix.lower()
    if suffix in _READ_ONLY | _FOREIGN:
        raise UsageError(f"cannot write {suffix} files; end the name in .tif, .png or .jpg")
    return next((codec.format for codec in CODECS if suffix in codec.suffixes), image.format)
