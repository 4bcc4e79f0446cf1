r"""Where are faces? People look at them first, so they are measured by themselves."""

__all__ = ["find_faces", "faces_lacking"]

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from relume.bench.metric import EVAL, Picture, lacking, luma
from relume.bench.regions import Box

_CASCADE = "haarcascade_frontalface_alt2.xml"


def faces_lacking() -> str | None:
    """Why faces cannot be found here, with the way out; ``None`` where they can.

    OpenCV 4 ships its cascades within the package; OpenCV 5 has neither the files nor the class.
    """
    reason = lacking("cv2", EVAL)
    if reason is None and _cascade() is None:
        reason = f"this OpenCV ships no face cascade: {EVAL}"
    return reason


def find_faces(picture: Picture) -> list[Box]:
    """Frontal faces in an H×W×3 sRGB picture in [0,1], the largest first; 24 pixels or more on each side.

    A cascade of Haar features: it misses faces in profile and now and then takes a pattern for a face, so
    figures over its boxes are meant for comparing rows, which all get the same boxes.

    Raises
    ------
    ImportError
        If OpenCV or its cascade is not installed; :func:`faces_lacking` tells before.

    Source: Viola, Jones, *Rapid Object Detection using a Boosted Cascade of Simple Features*, 2001.
    """
    cascade = _cascade()
    if cascade is None:
        raise ImportError(f"faces cannot be found: {faces_lacking()}")
    levels = np.round(luma(picture) * 255).clip(0, 255).astype(np.uint8)
    found = cascade.detectMultiScale(levels, scaleFactor=1.1, minNeighbors=5, minSize=(24, 24))
    boxes = [Box(int(y), int(x), int(h), int(w)) for x, y, w, h in found]
    return sorted(boxes, key=lambda box: (-box.height * box.width, box))


@cache
def _cascade() -> Any:
    import cv2

    make = getattr(cv2, "CascadeClassifier", None)
    file = Path(getattr(getattr(cv2, "data", None), "haarcascades", "")) / _CASCADE
    if make is None or not file.is_file():
        return None
    return make(str(file))
