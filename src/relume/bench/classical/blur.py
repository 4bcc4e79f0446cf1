r"""Blur: it takes noise away and everything else too, and some metrics like it."""

__all__ = ["ROW"]

import numpy as np
from PIL import Image, ImageFilter

from relume.bench.classical.row import Picture, Row, from_levels, to_levels

SIGMA = 1.5


def blur(picture: Picture) -> Picture:
    """A Gaussian of σ = 1.5 pixels."""
    blurred = Image.fromarray(to_levels(picture)).filter(ImageFilter.GaussianBlur(SIGMA))
    return from_levels(np.asarray(blurred))


ROW = Row("blur", "Gaussian blur, σ 1.5", blur, control=True)
