r"""The contract of a row: what anybody could do to a damaged picture without a trained model."""

__all__ = ["Picture", "Row", "from_levels", "to_levels"]

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relume.bench.metric import Picture

Levels = NDArray[np.uint8]


@dataclass(frozen=True)
class Row:
    """A method without training, with no setting to tune: what it needs, it estimates from the picture.

    Parameters
    ----------
    name:
        How it is called on the command line and in reports.
    title:
        What it does, in a few words.
    restore:
        H×W×3 sRGB in [0,1] → the same shape and range.
    find:
        Where it sees damage, H×W scores that grow with it; ``None`` where it looks for none.
    control:
        Whether it is a negative control, which nothing that is of use may lose to.
    asked:
        Whether it runs only where it is asked for by name, for its licence's or its time's sake.
    lacking:
        Why it cannot run here, with the way out; ``None`` where it can.
    """

    name: str
    title: str
    restore: Callable[[Picture], Picture]
    find: Callable[[Picture], Picture] | None = None
    control: bool = False
    asked: bool = False
    lacking: Callable[[], str | None] = lambda: None


def to_levels(picture: Picture) -> Levels:
    """[0,1] → 8 bits, contiguous: what the classical libraries work on."""
    return np.ascontiguousarray(np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8))


def from_levels(levels: Levels) -> Picture:
    """8 bits → [0,1]."""
    return np.asarray(levels, dtype=np.float32) / np.float32(255)
