r"""The same kind out as in: what a caller may hand over, and how he gets it back."""

__all__ = ["like", "to_image"]

import os
from typing import Any

import numpy as np

from relume import image as images
from relume.errors import UsageError
from relume.image import Image


def to_image(picture: Any) -> Image:
    """A path, bytes, PIL picture, array or ``Image`` as an ``Image``.

    Raises
    ------
    UsageError
        For any other kind.
    ImageError
        If a file cannot be read.
    """
    if isinstance(picture, Image):
        return picture
    if isinstance(picture, (str, os.PathLike, bytes)):
        return images.read(picture)
    if isinstance(picture, np.ndarray):
        return images.from_array(picture)
    if _is_pil(picture):
        return images.from_pil(picture)
    raise UsageError(
        f"a picture is a path, bytes, a PIL picture, an array or a relume Image, not {type(picture).__name__}"
    )


def like(image: Image, given: Any) -> Any:
    """``image`` in the kind of ``given``; a path gives an ``Image``."""
    if isinstance(given, bytes):
        return images.encode(image)
    if isinstance(given, np.ndarray):
        return images.to_array(image, given)
    if _is_pil(given):
        return images.to_pil(image, given.mode)
    return image


def _is_pil(picture: Any) -> bool:
    from PIL import Image as PilImage

    return isinstance(picture, PilImage.Image)
