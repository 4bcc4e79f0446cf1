r"""NumPy arrays and PIL images ↔ :class:`Image`."""

__all__ = ["from_array", "to_array", "from_pil", "to_pil", "samples_of"]

from typing import Any

import numpy as np
import PIL.Image
from PIL import ImageCms

from relume.errors import UnsupportedImage, UsageError

from . import colour, exif
from .assemble import assemble
from .levels import Floats, Samples, to_integer
from .picture import Image
from .quiet import quiet

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow's "L"
_SAME = ("L", "LA", "RGB", "RGBA")
_VIA = {"1": "L", "La": "LA", "RGBa": "RGBA", "RGBX": "RGB", "YCbCr": "RGB", "HSV": "RGB"}


def from_array(array: Samples) -> Image:
    """An array → Image.

    Args:
        array: uint8, uint16, bool, or float in [0,1]; (H, W) or (H, W, C) with C = 1 (gray), 2 (gray, alpha),
            3 (RGB) or 4 (RGBA).

    Raises:
        UsageError: for another type, shape or range.

    Example:
        >>> from_array(np.zeros((2, 3), np.uint16)).bit_depth
        16
    """
    if array.ndim not in (2, 3) or 0 in array.shape or (array.ndim == 3 and array.shape[2] > 4):
        raise UsageError(f"an array must be (H, W) or (H, W, 1 to 4), not {array.shape}")
    if array.dtype == bool:
        array = array.astype(np.uint8) * np.uint8(255)
    if array.dtype not in (np.uint8, np.uint16) and array.dtype.kind != "f":
        raise UsageError(f"an array must be uint8, uint16 or float, not {array.dtype}")
    if array.dtype.kind == "f" and not (array.min() >= 0 and array.max() <= 1):
        raise UsageError("a float array must lie in [0,1]; divide by 255 if it holds 8-bit values")
    return assemble(array, format="PNG", bit_depth=8 if array.dtype == np.uint8 else 16)


def to_array(image: Image, like: Samples) -> Samples:
    """Image → an array of the type, the number of axes and of channels of ``like``.

    Colour becomes gray by its luma, gray becomes colour by repetition; an alpha that ``like`` has and the
    picture has not is opaque.

    Example:
        >>> like = np.zeros((2, 3, 3), np.uint8)
        >>> to_array(from_array(like), like).shape
        (2, 3, 3)
    """
    channels = 1 if like.ndim == 2 else like.shape[2]
    x = _with_colours(image.pixels, 1 if channels < 3 else 3)
    if channels in (2, 4):
        alpha = image.alpha if image.alpha is not None else np.ones(x.shape[:2], np.float32)
        x = np.concatenate([x, alpha[:, :, None]], axis=2)
    if like.ndim == 2:
        x = x[:, :, 0]
    if like.dtype == bool:
        return x >= 0.5
    return x.astype(like.dtype) if like.dtype.kind == "f" else to_integer(x, 8 * like.dtype.itemsize)


def _with_colours(pixels: Floats, colours: int) -> Floats:
    if pixels.shape[2] == colours:
        return pixels
    return np.repeat(pixels, 3, axis=2) if colours == 3 else (pixels @ _LUMA)[:, :, None]


def samples_of(picture: Any) -> tuple[Samples, bytes | None]:
    """The samples of a loaded PIL image of any mode, alpha last, and the profile that still applies."""
    icc = picture.info.get("icc_profile") or None
    mode = picture.mode
    if mode == "CMYK":
        return colour.cmyk_to_srgb(np.asarray(picture), icc), None
    if mode == "LAB":
        return np.asarray(ImageCms.profileToProfile(picture, *_lab_to_srgb(), outputMode="RGB")), None
    if mode.startswith("I;16"):
        return np.asarray(picture).astype(np.uint16), icc
    if mode == "I":
        values = np.asarray(picture)
        if values.min() < 0 or values.max() > 65535:
            raise UnsupportedImage("its 32-bit integers are not in 0 … 65535; save it as 16 bits")
        return values.astype(np.uint16), icc
    if mode in ("P", "PA"):
        return _expanded(picture), icc
    if mode in ("1", "L", "RGB") and "transparency" in picture.info:
        return np.asarray(picture.convert("RGBA" if mode == "RGB" else "LA")), icc
    if mode not in (*_SAME, *_VIA, "F"):
        raise UnsupportedImage(f"a picture of the mode {mode}; convert it to RGB first")
    return np.asarray(picture.convert(_VIA[mode]) if mode in _VIA else picture), icc


def _lab_to_srgb() -> tuple[Any, Any]:
    return ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")


def _expanded(picture: Any) -> Samples:
    palette = picture.getpalette("RGB") or []
    gray = palette[::3] == palette[1::3] == palette[2::3]
    seen_through = picture.mode == "PA" or "transparency" in picture.info
    done = np.asarray(picture.convert("RGBA" if seen_through else "RGB"))
    return done[:, :, [0, 3] if seen_through else [0]] if gray else done


def from_pil(picture: Any) -> Image:
    """A ``PIL.Image.Image`` of any mode → Image, upright.

    Raises:
        UnsupportedImage: for float or 32-bit samples outside the range of a picture.
    """
    formats = {
        "MPO": "JPEG",
        "JPEG": "JPEG",
        "PNG": "PNG",
        "TIFF": "TIFF",
        "WEBP": "WEBP",
        "BMP": "BMP",
        "HEIF": "HEIF",
    }
    picture.load()
    with quiet():
        written = picture.getexif()
    block = picture.info.get("exif") or exif.to_block(exif.describing(exif.parse_block(written.tobytes())))
    samples, icc = samples_of(picture)
    return assemble(
        samples,
        format=formats.get(picture.format or "", "PNG"),
        bit_depth=8 if samples.dtype == np.uint8 else 16,
        icc=icc,
        block=block,
        dpi=picture.info.get("dpi"),
        orientation=written.get(exif.ORIENTATION, 1),
    )


def to_pil(image: Image, mode: str | None = None, *, bare: bool = False) -> Any:
    """Image → a ``PIL.Image.Image``.

    Args:
        image: the picture.
        mode: any mode of Pillow; None: L, LA, RGB or RGBA, as the picture is (16 bits: ``"I;16"`` by name,
            and only for gray, since Pillow holds no other).
        bare: without profile, EXIF and resolution in ``info``.

    Raises:
        UsageError: for a mode that Pillow cannot make.
    """
    natural = ("L" if image.gray else "RGB") + ("A" if image.alpha is not None else "")
    mode = mode or natural
    colours = 1 if mode in ("L", "LA", "I;16", "1", "I", "F") else 3
    x = _with_colours(image.pixels, colours)
    if mode == "I;16":
        done = PIL.Image.fromarray(to_integer(x[:, :, 0], 16))
    else:
        if "A" in natural and "A" in mode.upper().replace("LAB", ""):
            x = np.concatenate(
                [x, (image.alpha if image.alpha is not None else x[:, :, 0])[:, :, None]], axis=2
            )
        done = PIL.Image.fromarray(to_integer(x[:, :, 0] if x.shape[2] == 1 else x, 8))
    try:
        if done.mode != mode:
            done = done.quantize(256) if mode == "P" else done.convert(mode)
    except ValueError as error:
        raise UsageError(f"Pillow cannot make the mode {mode!r}; choose L, LA, RGB or RGBA") from error
    if not bare:
        done.info |= _info(image)
    return done


def _info(image: Image) -> dict[str, Any]:
    found = {
        "icc_profile": image.icc,
        "exif": image.exif and b"Exif\0\0" + image.exif,
        "dpi": image.dpi,
    }
    return {name: value for name, value in found.items() if value}
