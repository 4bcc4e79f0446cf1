r"""Decoded samples and raw metadata → :class:`Image`: what every format has in common."""

__all__ = ["assemble", "check_size"]

import math

import numpy as np

from relume.errors import ImageTooLarge, UnreadableImage, UnsupportedImage

from . import colour, exif
from .levels import Samples, to_float, turn
from .picture import Image


def check_size(size: tuple[int, int], max_pixels: int) -> None:
    """Refuses a picture by the size (width, height) in its header, before anything is decoded.

    Raises:
        UnreadableImage: for a size of zero.
        ImageTooLarge: for more than ``max_pixels``.
    """
    width, height = size
    if width < 1 or height < 1:
        raise UnreadableImage(f"its header says {width} × {height} pixels")
    if width * height > max_pixels:
        raise ImageTooLarge(
            f"{width} × {height} is {width * height / 1e6:.4g} megapixels, over the limit of "
            f"{max_pixels / 1e6:.4g} here; make it smaller, or raise the limit (max_pixels)"
        )


def assemble(
    samples: Samples,
    *,
    format: str,
    bit_depth: int,
    top: float | None = None,
    icc: bytes | None = None,
    block: bytes | None = None,
    xmp: bytes | None = None,
    dpi: tuple[float, float] | None = None,
    orientation: int | None = None,
) -> Image:
    """Makes the picture upright, float, and its metadata true.

    Args:
        samples: (H, W) or (H, W, 1 … 4), integer or float; the second or fourth channel is alpha.
        format: as in :class:`Image`.
        bit_depth: as in :class:`Image`.
        top: the value that means 1; None: the largest of an integer type, 1 for floats.
        icc: the embedded profile; dropped if it is unusable.
        block: the EXIF block; dropped if it is damaged.
        xmp: the XMP packet, which is asked only for the orientation.
        dpi: dots per inch as stored.
        orientation: how the samples are stored; None: as the EXIF block, or else XMP, says.

    Raises:
        UnsupportedImage: for float samples that are not in [0,1].
    """
    if samples.ndim == 2:
        samples = samples[:, :, None]
    if samples.dtype.kind == "f" and not (samples.min() >= 0 and samples.max() <= 1):
        raise UnsupportedImage("its float samples are not in [0,1]; scale them, or save 16-bit integers")
    if top is None:
        top = 1 if samples.dtype.kind == "f" else int(np.iinfo(samples.dtype).max)
    way = orientation or exif.orientation(block) or exif.xmp_orientation(xmp) or 1
    samples = turn(samples, way)
    colours = samples.shape[2] - (samples.shape[2] in (2, 4))
    height, width = samples.shape[:2]
    return Image(
        np.ascontiguousarray(to_float(samples[:, :, :colours], top)),
        alpha=np.ascontiguousarray(to_float(samples[:, :, -1], top)) if colours < samples.shape[2] else None,
        format=format,
        bit_depth=bit_depth,
        icc=colour.usable(icc, colours),
        exif=exif.normalised(block, width, height),
        dpi=_sane(dpi if way < 5 or dpi is None else dpi[::-1]),
    )


def _sane(dpi: tuple[float, float] | None) -> tuple[float, float] | None:
    if dpi is None or not all(math.isfinite(value) and 0 < value < 1e6 for value in dpi):
        return None
    return float(dpi[0]), float(dpi[1])
