r"""Thin bright and dark marks, found without a model: top-hat and black-hat."""

__all__ = ["scores", "scratch_mask"]

import numpy as np
from numpy.typing import NDArray

from relume.bench.classical.row import Picture, from_levels, to_levels
from relume.bench.metric import luma

REFERENCE = 400  # the short side, in pixels, for which the widths below are meant
# Chosen on 90 photographs of the training set after damage: looser ones take texture for marks and do harm.
WIDTH = 7  # what is narrower than this is a mark
DEVIATIONS = 15.0  # a mark stands out by so many robust deviations of the scores
LEAST = 0.2  # and by so much of the range
AREA = 60  # smaller specks are texture


def scores(picture: Picture) -> Picture:
    """How far each pixel of an H×W×3 picture stands out from its surroundings as a thin mark: H×W in [0,1].

    The larger of the white and the black top-hat of the luma, by a disc that grows with the picture.
    """
    import cv2

    levels = to_levels(luma(picture))
    side = 2 * round(WIDTH / 2 * _scale(picture)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    hats = [cv2.morphologyEx(levels, kind, disc) for kind in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT)]
    return from_levels(np.maximum(*hats))


def scratch_mask(picture: Picture) -> NDArray[np.bool_]:
    """Where an H×W×3 picture seems to be scratched: marks that stand out, of some size, grown by a pixel."""
    import cv2

    found = scores(picture)
    middle = float(np.median(found))
    spread = 1.4826 * float(np.median(np.abs(found - middle)))
    marks = (found > max(LEAST, middle + DEVIATIONS * spread)).astype(np.uint8)
    _, labels, facts, _ = cv2.connectedComponentsWithStats(marks, connectivity=8)
    large = facts[:, cv2.CC_STAT_AREA] >= AREA * _scale(picture) ** 2
    large[0] = False  # the background
    return np.asarray(cv2.dilate(large[labels].astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)


def _scale(picture: Picture) -> float:
    return float(max(1.0, min(picture.shape[0], picture.shape[1]) / REFERENCE))
