r"""Reading and writing: what is the same for every format."""

__all__ = ["read", "encode", "write", "place", "is_picture", "SUFFIXES", "MAX_PIXELS"]

import dataclasses
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from relume.errors import (
    ImageError,
    ImageTooLarge,
    OutputExists,
    RelumeError,
    UnreadableImage,
    UnsupportedImage,
    UsageError,
)

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
    with _named(source):
        data = _bytes_of(source)
        codec = codec_of(data)
        return codec.decode(Source(data, max_pixels))


def _bytes_of(source: str | os.PathLike[str] | bytes | BinaryIO) -> bytes:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    if isinstance(source, (str, os.PathLike)):
        return Path(source).read_bytes()
    return source.read()


@contextmanager
def _named(source: object) -> Iterator[None]:
    """Turns whatever a decoder raises into one line that names the file."""
    name = os.fspath(source) if isinstance(source, (str, os.PathLike)) else "picture"
    try:
        yield
    except ImageError as error:
        raise type(error)(f"{name}: {error}") from error
    except RelumeError:
        raise
    except MemoryError as error:
        raise ImageTooLarge(f"{name}: not enough memory to decode it") from error
    except OSError as error:
        raise UnreadableImage(
            f"{name}: {_line(error.strerror or f'truncated or damaged ({error})')}"
        ) from error
    except Exception as error:
        raise UnreadableImage(f"{name}: truncated or damaged ({_line(error)})") from error


def _line(text: object) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= 120 else line[:119] + "…"


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
        raise ImageError(f"cannot be written as {codec.format}: {_line(error)}") from error


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
) -> Path:
    """Writes a picture to a file, which is whole or is not there at all.

    Args:
        image: the picture.
        path: where to; its suffix tells the format unless ``format`` does. A link is followed.
        format, bit_depth, keep_metadata, quality: as in :func:`encode`.
        overwrite: whether a file that stands there may be replaced.

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
    try:
        place(data, path, overwrite=overwrite)
    except FileExistsError as error:
        raise OutputExists(f"{path} exists; choose another name, or ask for overwriting") from error
    except OSError as error:
        raise ImageError(f"cannot write {path}: {_line(error.strerror or error)}") from error
    return path


def _format_of(path: Path, image: Image) -> str:
    suffix = path.suffix.lower()
    if suffix in _READ_ONLY | _FOREIGN:
        raise UsageError(f"cannot write {suffix} files; end the name in .tif, .png or .jpg")
    return next((codec.format for codec in CODECS if suffix in codec.suffixes), image.format)


def place(data: bytes, path: Path, *, overwrite: bool) -> None:
    """Writes beside the target, then moves it there in one step; on any failure nothing is left behind.

    Raises:
        FileExistsError: when a file stands there and ``overwrite`` is false.
        OSError: when the folder is missing, full or not writable.
    """
    target = path.resolve()
    part = target.with_name(f".relume-{secrets.token_hex(8)}.part")
    try:
        # 0o666, less what the umask takes: a file like any other (tempfile would make it private)
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            with suppress(OSError):
                part.chmod(stat.S_IMODE(target.stat().st_mode))
            part.replace(target)
        else:
            _claim(part, target)
    finally:
        part.unlink(missing_ok=True)


def _claim(part: Path, target: Path) -> None:
    """Moves ``part`` to a name that nobody has, however many try at once."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: take the name first, empty, then fill it in one step
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        try:
            part.replace(target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
