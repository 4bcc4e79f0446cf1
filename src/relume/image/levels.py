r"""Integers ↔ float32 in [0,1], and the eight orientations of EXIF."""

__all__ = ["Floats", "Samples", "to_float", "to_integer", "turn"]

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
Samples: TypeAlias = NDArray[Any]


def to_float(samples: Samples, top: float) -> Floats:
    r"""Maps samples in 0 … ``top`` to float32 in [0,1]: :math:`x = v / \mathrm{top}`.

    Example:
        >>> to_float(np.array([0, 51, 255], np.uint8), 255).tolist()
        [0.0, 0.20000000298023224, 1.0]
    """
    # float32 holds 16 bits exactly, 32-bit integers and doubles it does not
    if samples.dtype.name in ("uint32", "float64"):
        return (samples / np.float64(top)).astype(np.float32)
    x = samples.astype(np.float32)
    if top != 1:
        np.divide(x, np.float32(top), out=x)
    return x


def to_integer(x: Floats, bit_depth: int) -> Samples:
    r"""Maps float32 in [0,1] to integers, :math:`v = \mathrm{round}(x\,(2^b - 1))`, ties to even.

    It is the exact inverse of :func:`to_float` at every one of the 256 (65 536) levels. What lies outside
    [0,1] is clipped, and a NaN becomes 0.

    Example:
        >>> to_integer(np.array([-1, 0.2, 2], np.float32), 8).tolist()
        [0, 51, 255]
    """
    y = np.fmax(x, np.float32(0))  # fmax, not maximum: a NaN would be undefined as an integer
    np.fmin(y, np.float32(1), out=y)
    np.multiply(y, np.float32(2**bit_depth - 1), out=y)
    np.rint(y, out=y)
    return y.astype(np.uint8 if bit_depth == 8 else np.uint16)


def turn(array: Samples, orientation: int) -> Samples:
    r"""Brings an array (H, W, ...) upright, given the EXIF orientation 1 … 8 that it is stored in.

    Anything but 2 … 8 leaves it as it is. The answer is a view.
    """
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return array
