r"""A simulated transmission X-ray microscope: raw images with their true background and sample.

:class:`Simulator` gives single exposures of a session, :class:`Mosaic` overlapping tiles of one sample, each
as a :class:`Shot`. Everything is drawn first and painted afterwards, by one definition for numpy (float64,
the reference) and torch (``batched.py``). Values are linear; only the camera's saturation clips.

>>> import numpy as np
>>> shot = Simulator(7, n=64).shot(0)
>>> shot.raw.shape, shot.raw.dtype, round(float(np.median(shot.background)), 6)
((64, 64), dtype('uint16'), 1.0)
"""

__all__ = [
    "PATTERNS",
    "SHOTS",
    "TEST",
    "TRAIN",
    "VALIDATION",
    "Illumination",
    "Mosaic",
    "Shot",
    "Simulator",
    "session",
]

from .mosaic import Mosaic
from .patterns import PATTERNS
from .session import Illumination, session
from .shots import SHOTS, TEST, TRAIN, VALIDATION, Shot, Simulator
