r"""Inpainting: marks found by top-hat, filled from their borders."""

__all__ = ["NAVIER_STOKES", "TELEA", "telea"]

from functools import partial

import numpy as np

from relume.bench.classical.row import Picture, Row, from_levels, to_levels
from relume.bench.classical.scratches import scores, scratch_mask
from relume.bench.metric import EVAL, lacking

RADIUS = 3


def _inpaint(picture: Picture, *, method: str) -> Picture:
    import cv2

    mask = scratch_mask(picture)
    filled = from_levels(
        cv2.inpaint(to_levels(picture), mask.astype(np.uint8), RADIUS, getattr(cv2, f"INPAINT_{method}"))
    )
    return np.where(mask[..., None], filled, picture)


def telea(picture: Picture) -> Picture:
    """The marks of an H×W×3 picture filled by fast marching; all other pixels keep their exact value.

    Source: Telea, *An Image Inpainting Technique Based on the Fast Marching Method*, 2004.
    """
    return _inpaint(picture, method="TELEA")


def _lacking() -> str | None:
    return lacking("cv2", EVAL)


TELEA = Row("inpaint", "top-hat mask, Telea inpainting", telea, scores, lacking=_lacking)
# Source: Bertalmio, Bertozzi, Sapiro, Navier-Stokes, Fluid Dynamics, and Image and Video Inpainting, 2001.
NAVIER_STOKES = Row(
    "inpaint-ns",
    "top-hat mask, Navier-Stokes inpainting",
    partial(_inpaint, method="NS"),
    scores,
    lacking=_lacking,
)
