r"""How far the colours are off."""

__all__ = ["delta_e2000", "delta_e2000_lacking"]

import numpy as np

from relume.bench.metric import EVAL, Picture, lacking, same_shape


def delta_e2000(picture: Picture, truth: Picture) -> float:
    r"""Mean colour difference :math:`\Delta E_{00}` of two H×W×3 sRGB pictures in [0,1], under D65.

    0 where they are equal; about 1 is the least that an eye sees, 100 is black against white. Computed by
    scikit-image.

    Raises
    ------
    UsageError
        If the pictures differ in shape.

    Source: Luo, Cui, Rigg, *The Development of the CIE 2000 Colour-Difference Formula: CIEDE2000*, 2001.
    """
    same_shape(picture, truth)
    from skimage.color import deltaE_ciede2000, rgb2lab

    return float(np.mean(deltaE_ciede2000(rgb2lab(truth), rgb2lab(picture))))


def delta_e2000_lacking() -> str | None:
    """Why it cannot be computed here, with the way out; ``None`` where it can."""
    return lacking("skimage.color", EVAL)
