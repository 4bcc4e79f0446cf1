r"""ICC profiles ↔ sRGB, and CMYK → sRGB.

The work is done by Little CMS in float32 and without its pre-computed tables: those are off by up to 20/255
in the shadows of a wide-gamut picture. A profile that *is* sRGB, to within one 8-bit level, costs nothing.
"""

__all__ = ["usable", "is_srgb", "to_srgb", "from_srgb", "cmyk_to_srgb"]

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from .levels import Floats, Samples, to_float

T = TypeVar("T")

_NO_OPTIMISE = 0x0100  # cmsFLAGS_NOOPTIMIZE
_STEPS = 65536  # a gray profile is a curve; this many knots make it exact at 16 bits
_KEPT = 1 << 20  # bytes of a profile
_SPACES = {b"RGB ": "rgb", b"GRAY": "gray", b"CMYK": "cmyk"}


def _remembered(number: int) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Keeps the latest answers, but those on profiles that are too long to be kept."""

    def about(function: Callable[..., T]) -> Callable[..., T]:
        kept = lru_cache(maxsize=number)(function)

        @wraps(function)
        def ask(icc: bytes | None, *rest: int) -> T:
            return (kept if icc is None or len(icc) <= _KEPT else function)(icc, *rest)

        return ask

    return about


@lru_cache(maxsize=1)
def _srgb() -> bytes:
    return bytes(imagecodecs.cms_profile("srgb"))


def _transform(x: Samples, source: bytes, target: bytes, spaces: tuple[str, str]) -> Samples:
    done: Samples = imagecodecs.cms_transform(
        np.ascontiguousarray(x),
        source,
        target,
        colorspace=spaces[0],
        outcolorspace=spaces[1],
        flags=_NO_OPTIMISE,
    )
    return done


def _space(icc: bytes) -> str | None:
    return _SPACES.get(icc[16:20]) if icc[36:40] == b"acsp" else None


@_remembered(32)
def _probe(icc: bytes) -> Floats | None:
    """sRGB of a coarse grid of colours (of grays, for a gray profile); None when Little CMS refuses."""
    space = _space(icc)
    axis = np.linspace(0, 1, 9, dtype=np.float32)
    grid = axis[None] if space == "gray" else np.stack(np.meshgrid(axis, axis, axis), -1).reshape(1, -1, 3)
    if space not in ("rgb", "gray"):
        return None
    try:
        return _transform(grid, icc, _srgb(), (space, "rgb"))
    except (RuntimeError, ValueError, TypeError):
        return None


def usable(icc: bytes | None, channels: int) -> bytes | None:
    """The profile if it can be applied to a picture of 1 or 3 channels, else None.

    A gray picture may carry an RGB profile (many writers do so): it is then read as R = G = B.
    """
    if not icc or _probe(icc) is None:
        return None
    return icc if channels == 1 or _space(icc) == "rgb" else None


@_remembered(32)
def is_srgb(icc: bytes | None, channels: int) -> bool:
    """Whether numbers in this profile mean what they mean in sRGB, to within one 8-bit level.

    No profile means sRGB.
    """
    if icc is None:
        return True
    if channels == 1:
        return bool(np.abs(_curve(icc) - _ramp()).max() < 1 / 255)
    probe = _probe(icc)
    axis = np.linspace(0, 1, 9, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis, axis), -1).reshape(1, -1, 3)
    return probe is not None and bool(np.abs(probe - grid).max() < 1 / 255)


def _ramp() -> NDArray[np.float64]:
    return np.linspace(0, 1, _STEPS)


@_remembered(8)
def _curve(icc: bytes) -> NDArray[np.float64]:
    """The sRGB value of each of the evenly spaced grays of a profile, made monotone so that it inverts."""
    ramp = _ramp().astype(np.float32)[None]
    space = _space(icc) or "rgb"
    x = ramp if space == "gray" else np.repeat(ramp[..., None], 3, axis=-1)
    green = _transform(x, icc, _srgb(), (space, "rgb"))[0, :, 1].astype(np.float64)
    return np.maximum.accumulate(np.clip(green, 0, 1))


def to_srgb(pixels: Floats, icc: bytes) -> Floats:
    """Samples (H, W, 1 or 3) in the encoding of a usable profile → sRGB, clipped to [0,1]."""
    if pixels.shape[2] == 1:
        return np.interp(pixels, _ramp(), _curve(icc)).astype(np.float32)
    done = _transform(pixels, icc, _srgb(), ("rgb", "rgb"))
    return np.clip(done, 0, 1, out=done)


def from_srgb(pixels: Floats, icc: bytes) -> Floats | None:
    """sRGB (H, W, 1 or 3) → the encoding of a profile; None for one that only leads out (a scanner's)."""
    if pixels.shape[2] == 1:
        return np.interp(pixels, _curve(icc), _ramp()).astype(np.float32)
    try:
        done = _transform(pixels, _srgb(), icc, ("rgb", "rgb"))
    except RuntimeError:
        return None
    return np.clip(done, 0, 1, out=done)


def cmyk_to_srgb(samples: Samples, icc: bytes | None) -> Samples:
    r"""CMYK (H, W, 4; uint8 or uint16; 0 = no ink) → sRGB of the same type.

    Through the profile when a usable one is embedded, else :math:`R = (1-C)(1-K)` and so on.
    """
    if icc and _space(icc) == "cmyk":
        try:
            return _transform(samples, icc, _srgb(), ("cmyk", "rgb"))
        except (RuntimeError, ValueError, TypeError):
            pass  # a damaged profile is no profile
    top = np.iinfo(samples.dtype).max
    ink = 1 - to_float(samples, top)
    rgb: Samples = np.rint(ink[..., :3] * ink[..., 3:] * top).astype(samples.dtype)
    return rgb
