r"""CLAHE: the histogram of each neighbourhood spread out, with a limit."""

__all__ = ["ROW", "clahe"]

import numpy as np

from relume.bench.classical.row import Picture, Row, from_levels, to_levels
from relume.bench.metric import EVAL, lacking

LIMIT, GRID = 2.0, (8, 8)


def clahe(picture: Picture) -> Picture:
    """Contrast-limited adaptive equalisation of the lightness of an H×W×3 picture, limit 2, 8×8 cells.

    Source: Zuiderveld, *Contrast Limited Adaptive Histogram Equalization*, 1994.
    """
    import cv2

    lab = cv2.cvtColor(to_levels(picture), cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(LIMIT, GRID).apply(np.ascontiguousarray(lab[..., 0]))
    return from_levels(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB))


ROW = Row("clahe", "CLAHE of the lightness", clahe, lacking=lambda: lacking("cv2", EVAL))
