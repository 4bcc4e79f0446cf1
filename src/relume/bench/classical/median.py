r"""The median of 3×3 neighbours: the oldest cure for specks and thin scratches."""

__all__ = ["ROW", "median"]

import numpy as np
from PIL import Image, ImageFilter

from relume.bench.classical.row import Picture, Row


def median(picture: Picture) -> Picture:
    """Each pixel's median over its 3×3 neighbours, per channel."""
    planes = [
        Image.fromarray(np.ascontiguousarray(picture[..., c])).filter(ImageFilter.MedianFilter(3))
        for c in range(picture.shape[2])
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


ROW = Row("median", "median 3×3", median)
