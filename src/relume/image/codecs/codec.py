r"""The contract of a file format."""

__all__ = ["Codec", "Source"]

from collections.abc import Callable
from dataclasses import dataclass

from relume.image.picture import Image


@dataclass(frozen=True)
class Source:
    """A file to decode: all of its bytes, and how many pixels it may have."""

    data: bytes
    max_pixels: int


@dataclass(frozen=True)
class Codec:
    """One file format.

    Args:
        format: the name in ``Image.format`` (for a format that is only read: a name for messages).
        suffixes: lower case, with the dot; the first one is the usual one.
        sniff: whether these bytes are of this format, by content alone.
        decode: bytes → Image. Raises ImageError, or whatever its library raises on damaged data. Checks the
            size in the header before it decodes.
        encode: image, bit depth (one of ``depths``), quality 1 … 100 → bytes; None: only read.
        depths: the bit depths that the format holds.
        side: the largest width or height that the format holds.
    """

    format: str
    suffixes: tuple[str, ...]
    sniff: Callable[[bytes], bool]
    decode: Callable[[Source], Image]
    encode: Callable[[Image, int, int], bytes] | None = None
    depths: tuple[int, ...] = (8,)
    side: int = 2**31 - 1
