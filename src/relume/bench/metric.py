r"""The contract of a metric that sees the truth: two pictures in, one figure out."""

__all__ = ["EVAL", "PERCEPTUAL", "Measure", "Metric", "Picture", "lacking", "luma", "same_shape"]

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from relume.errors import UsageError

Picture = NDArray[np.floating]
Measure = Callable[[Picture, Picture], float]

# The ways out where an optional library is missing.
EVAL = 'pip install "relume[eval]"'
PERCEPTUAL = 'pip install "relume[perceptual]"'


@dataclass(frozen=True)
class Metric:
    """A figure for a picture beside its truth, both H×W×3 sRGB in [0,1].

    Parameters
    ----------
    name, title:
        How it is called in reports, and what it says in a few words.
    unit:
        ``dB``, ``ratio``, ``ΔE`` ..., or empty where it has none.
    best:
        Its value where the picture is the truth.
    better:
        ``higher``, ``lower``, or ``nearer`` where it is to come near ``best`` from either side.
    measure:
        ``measure(picture, truth) → float``.
    lacking:
        Why it cannot be measured here, with the way out; ``None`` where it can.
    """

    name: str
    title: str
    unit: str
    best: float
    better: Literal["higher", "lower", "nearer"]
    measure: Measure
    lacking: Callable[[], str | None] = lambda: None


def lacking(module: str, install: str) -> str | None:
    """Why an optional module cannot be used, with the line that installs it; ``None`` where it can.

    >>> lacking("numpy", "pip install numpy") is None
    True
    """
    try:
        importlib.import_module(module)
    except Exception as error:  # a binary that does not fit its neighbours fails with whatever it likes
        return f"{module} cannot be loaded ({type(error).__name__}): {install}"
    return None


def luma(picture: Picture) -> Picture:
    """Rec. 601 luma of H×W×3, H×W in the same range: what the eye takes for brightness in sRGB."""
    return np.asarray(picture @ np.asarray([0.299, 0.587, 0.114], np.float32), dtype=np.float32)


def same_shape(picture: Picture, truth: Picture) -> None:
    """Refuses pictures that numpy would broadcast: the figure would mean nothing.

    Raises
    ------
    UsageError
        If the pictures differ in shape.
    """
    if picture.shape != truth.shape:
        raise UsageError(f"pictures of shapes {picture.shape} and {truth.shape} cannot be compared")
