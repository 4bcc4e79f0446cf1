r"""A small picture of a job while it runs: the damaged photograph, over which the restored tiles come in."""

__all__ = ["SIDE", "Preview"]

import numpy as np

from relume import image as images
from relume.image import Image
from relume.tasks.compare import flat, resized
from relume.tasks.progress import Moment

SIDE = 640  # pixels along the longer side


class Preview:
    """Starts as the photograph itself, made small."""

    def __init__(self, picture: Image) -> None:
        self._height, self._width = picture.height, picture.width
        self._scale = min(1.0, SIDE / max(self._height, self._width))
        height, width = (max(1, round(side * self._scale)) for side in (self._height, self._width))
        self._small = resized(flat(picture), height, width).copy()

    def take(self, moment: Moment) -> None:
        """Lays one tile, as far as it is, over the picture."""
        inside = moment.clean[: self._height - moment.y, : self._width - moment.x]
        top, left = round(moment.y * self._scale), round(moment.x * self._scale)
        bottom = min(round((moment.y + inside.shape[0]) * self._scale), self._small.shape[0])
        right = min(round((moment.x + inside.shape[1]) * self._scale), self._small.shape[1])
        if bottom > top and right > left:
            self._small[top:bottom, left:right] = resized(inside, bottom - top, right - left)

    def jpeg(self) -> bytes:
        """The bytes of a JPEG file."""
        return images.encode(Image(np.clip(self._small, 0, 1)), format="JPEG", quality=80)
