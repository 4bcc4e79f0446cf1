r"""Auto contrast: each channel stretched over the whole range, as a scanner's button does."""

__all__ = ["ROW", "autocontrast"]

import numpy as np
from PIL import Image, ImageOps

from relume.bench.classical.row import Picture, Row, from_levels, to_levels

CUT = 0.5  # percent of the pixels at either end that may clip


def autocontrast(picture: Picture) -> Picture:
    """Each channel of an H×W×3 picture stretched to [0,1], half a percent clipped at either end."""
    return from_levels(np.asarray(ImageOps.autocontrast(Image.fromarray(to_levels(picture)), cutoff=CUT)))


ROW = Row("autocontrast", "auto contrast per channel", autocontrast)
