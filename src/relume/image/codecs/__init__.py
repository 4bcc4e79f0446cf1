r"""One file format a file, each a :class:`Codec`.

To add one: write ``newformat.py`` with a ``CODEC`` and put it into :data:`CODECS`, before any other whose
``sniff`` would take its files (camera RAW files are TIFF files too). The contract tests run over the list.
"""

__all__ = ["CODECS", "REFUSED", "Codec", "Source", "codec_of", "codec_named"]

from relume.errors import UnreadableImage, UnsupportedImage, UsageError

from . import bmp, heif, jpeg, png, raw, tiff, webp
from .codec import Codec, Source

CODECS: tuple[Codec, ...] = (jpeg.CODEC, png.CODEC, raw.CODEC, tiff.CODEC, webp.CODEC, bmp.CODEC, heif.CODEC)

# Pictures that are known and not read: their first bytes (after an offset), and their names.
REFUSED: tuple[tuple[int, bytes, str], ...] = (
    (0, b"GIF8", "GIF"),
    (0, b"8BPS", "Photoshop"),
    (4, b"ftypavi", "AVIF"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"v/1\x01", "OpenEXR"),
    (0, b"%PDF", "PDF"),
    (0, b"\0\0\x01\0", "icon"),
    (0, b"<svg", "SVG"),
    (128, b"DICM", "DICOM"),
)


def codec_of(data: bytes) -> Codec:
    """The format of these bytes, by content: what a file is called says nothing.

    Raises:
        UnreadableImage: when they are no picture, or none at all.
        UnsupportedImage: when they are a picture of a format that is not read.
    """
    if not data:
        raise UnreadableImage("the file is empty")
    for codec in CODECS:
        if codec.sniff(data):
            return codec
    for offset, magic, name in REFUSED:
        if data[offset : offset + len(magic)] == magic:
            raise UnsupportedImage(f"{name} files are not read; save it as PNG or TIFF first")
    raise UnreadableImage("not a picture of a known format")


def codec_named(format: str) -> Codec:
    """The format of that name or suffix ("TIFF", "tif", ".tif"), for writing.

    Raises:
        UsageError: for a name that is unknown or only read.
    """
    for codec in CODECS:
        known = codec.format == format.upper() or "." + format.lower().lstrip(".") in codec.suffixes
        if known and codec.encode is not None:
            return codec
    names = ", ".join(codec.format for codec in CODECS if codec.encode is not None)
    raise UsageError(f"cannot write the format {format!r}; choose one of {names}")
