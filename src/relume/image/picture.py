r"""The picture itself: samples in [0,1] and all that has to survive beside them."""

__all__ = ["Image"]

import dataclasses
from dataclasses import dataclass

import numpy as np

from relume.errors import UsageError

from . import colour
from .levels import Floats


@dataclass(frozen=True, eq=False)
class Image:
    r"""A still picture in memory.

    Args:
        pixels: float32, (H, W, C) with C = 1 (gray) or 3, in [0,1], in the file's own colour encoding.
        alpha: float32, (H, W), in [0,1], not multiplied into the pixels; or None.
        format: what it came from and goes back to: JPEG, PNG, TIFF, WEBP, BMP or HEIF.
        bit_depth: 8 or 16, of the file it came from.
        icc: the embedded ICC profile, known to be usable; None means sRGB.
        exif: the EXIF block without its ``Exif`` prefix, its orientation already applied and reset.
        dpi: dots per inch, across and down; or None.

    Raises:
        UsageError: when shapes or types are other than that.

    Example:
        >>> import numpy as np
        >>> Image(np.zeros((2, 3, 1), np.float32)).gray
        True
    """

    pixels: Floats
    alpha: Floats | None = None
    format: str = "PNG"
    bit_depth: int = 8
    icc: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if self.pixels.dtype != np.float32 or len(shape) != 3 or shape[2] not in (1, 3) or 0 in shape:
            raise UsageError(f"pixels must be float32 (H, W, 1 or 3), not {self.pixels.dtype} {shape}")
        if self.alpha is not None and (self.alpha.dtype != np.float32 or self.alpha.shape != shape[:2]):
            raise UsageError(f"alpha must be float32 {shape[:2]}, not {self.alpha.dtype} {self.alpha.shape}")
        if self.bit_depth not in (8, 16):
            raise UsageError(f"bit_depth must be 8 or 16, not {self.bit_depth}")

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])

    @property
    def gray(self) -> bool:
        """Whether there is one channel."""
        return int(self.pixels.shape[2]) == 1

    def srgb(self) -> Floats:
        """The samples in sRGB, (H, W, C), in [0,1]: through the ICC profile where it is another space.

        Colours outside sRGB are clipped; :meth:`with_srgb` brings them back.
        """
        if self.icc is None or colour.is_srgb(self.icc, self.pixels.shape[2]):
            return self.pixels
        return colour.to_srgb(self.pixels, self.icc)

    def with_srgb(self, new: Floats) -> "Image":
        r"""This picture with new sRGB samples, in its own colour encoding.

        .. math:: p' = p + \phi^{-1}(\mathrm{new}) - \phi^{-1}(\phi(p))

        with :math:`\phi` the way to sRGB. Where ``new`` is what :meth:`srgb` gave, the samples keep their
        exact value, colours outside sRGB included. One channel over a colour picture is spread over three;
        three channels over a gray one make it a colour picture in sRGB.

        Raises:
            UsageError: when the height or width differs.
        """
        if new.ndim != 3 or new.shape[:2] != self.pixels.shape[:2] or new.shape[2] not in (1, 3):
            raise UsageError(f"new samples must be {self.pixels.shape}, not {new.shape}")
        new = np.clip(new, 0, 1).astype(np.float32, copy=False)
        channels = self.pixels.shape[2]
        if new.shape[2] > channels:
            return dataclasses.replace(self, pixels=new, icc=None)
        if new.shape[2] < channels:
            new = np.repeat(new, 3, axis=2)
        if self.icc is None or colour.is_srgb(self.icc, channels):
            return dataclasses.replace(self, pixels=new)
        there = colour.from_srgb(new, self.icc)
        back = colour.from_srgb(self.srgb(), self.icc)
        if there is None or back is None:  # nothing can be written in such a profile: the result is sRGB
            return dataclasses.replace(self, pixels=new, icc=None)
        there -= back
        there += self.pixels
        return dataclasses.replace(self, pixels=np.clip(there, 0, 1, out=there))

    def replace(self, *, pixels: Floats) -> "Image":
        """This picture with other samples in the same colour encoding; an alpha of another size is dropped.

        A profile that does not fit the new number of channels is dropped too.
        """
        alpha = self.alpha if self.alpha is not None and self.alpha.shape == pixels.shape[:2] else None
        icc = (
            self.icc
            if pixels.shape[2:] == self.pixels.shape[2:]
            else colour.usable(self.icc, pixels.shape[-1])
        )
        return dataclasses.replace(self, pixels=pixels, alpha=alpha, icc=icc)
