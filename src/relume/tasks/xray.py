r"""X-ray images over the light that they were taken in."""

__all__ = [
    "METHODS",
    "Artefacts",
    "Background",
    "BackgroundNet",
    "Corrected",
    "correct",
    "estimate_background",
    "find_method",
    "flat_fielded",
    "thickness",
]

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from relume.background import Artefacts, corrected
from relume.errors import UsageError
from relume.scan import Scan
from relume.tasks.background import METHODS, Background, BackgroundNet, estimate_background, find_method
from relume.tasks.correct import Corrected, correct, thickness


def flat_fielded(scan: Scan) -> Iterator[npt.NDArray[np.float32]]:
    r"""The transmission of every frame, by the scan's own flat and dark frames.

    .. math:: T = \frac{I - \bar D}{s\,(\bar F - \bar D)}

    Bars are means over frames, s is the ratio of exposures. Without dark frames D is 0, and T too near to 1.
    Frames (H,W) of float32 are made one at a time; nothing is clipped, and nan stands where the flat is not
    above the dark.

    Raises
    ------
    UsageError
        If the scan has no flat frames, or was corrected before.
    """
    if scan.corrected:
        raise UsageError(f"{scan.path} has been divided by its reference already")
    if scan.flats is None:
        raise UsageError(f"{scan.path} has no flat frames; give some, or estimate the background")
    dark = np.zeros(scan.frames.size, np.float32) if scan.darks is None else scan.darks.mean()
    light = scan.flat_scale * (scan.flats.mean() - dark)
    return (corrected(frame, light, dark=dark) for frame in scan.frames)
