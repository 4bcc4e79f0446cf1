r"""Auto contrast: each channel stretched over the whole range, as a scanner's button does."""

__all__ = ["ROW", "autocontrast"]

import numpy as np
from PIL import Image, ImageOps

from relume.bench.classical.row import Picture, Row, from_levels, to_levels


def autocontrast(picture: Picture) -> Picture:
    """Each channel of an H×W×3 picture stretched to [0,1]; nothing clips (with clipping it did worse)."""
    return from_levels(np.asarray(ImageOps.autocontrast(Image.fromarray(to_levels(picture)))))


ROW = Row("autocontrast", "auto contrast per channel", autocontrast)
