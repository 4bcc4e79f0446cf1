r"""Samples beside the simulator's, so that a net learns what light is and not what ten kinds of sample are.

All are planes of transmission (S,S), float32. None of them is among what the simulator's test is made of.
"""

__all__ = ["layout", "magnified", "stacked", "stairs", "thicker"]

import numpy as np
from numpy.typing import NDArray

from relume.degrade.illumination.grid import shrunk

Plane = NDArray[np.float32]
_OPAQUE = 1e-3  # below this T is taken for this


def _along(size: int, angle: float) -> NDArray[np.float64]:
    """Positions along a direction, −1 to 1 from border to border when it is that of an axis."""
    line = (2 * np.arange(size) + 1) / size - 1
    return np.asarray(np.cos(angle) * line[:, None] + np.sin(angle) * line[None, :])


def stairs(size: int, rng: np.random.Generator) -> Plane:
    """Bands of different optical depth in any direction: what light never does, and what wedges are."""
    along = _along(size, rng.uniform(0, 2 * np.pi))
    depths = rng.uniform(0, 1.6, int(rng.integers(2, 9)))
    if rng.random() < 0.6:
        depths = np.sort(depths)
    edges = np.sort(rng.uniform(along.min(), along.max(), len(depths) - 1))
    return np.asarray(np.exp(-depths[np.searchsorted(edges, along)]), np.float32)


def layout(size: int, rng: np.random.Generator) -> Plane:
    """Layers of lines and rectangles along two directions, as of a chip: each a grating or a few pads,
    within a part of the frame or over all of it."""
    turn = rng.normal(0, 0.1) if rng.random() < 0.7 else rng.uniform(0, np.pi)
    axes = [_along(size, turn), _along(size, turn + np.pi / 2)]
    depth = np.zeros((size, size))
    for _ in range(int(rng.integers(1, 6))):
        drawn = np.zeros((size, size), bool)
        if rng.random() < 0.6:
            along = axes[int(rng.integers(2))]
            period = np.exp(rng.uniform(np.log(0.03), np.log(0.8)))
            drawn |= (along / period + rng.random()) % 1 < rng.uniform(0.2, 0.8)
        else:
            for _ in range(int(rng.integers(1, 9))):
                drawn |= _pad(axes, rng, 0.02, 0.5)
        if rng.random() < 0.6:
            drawn &= _pad(axes, rng, 0.3, 1.2)
        depth += rng.uniform(0.02, 0.7) * drawn
    return np.asarray(np.exp(-depth), np.float32)


def _pad(
    axes: list[NDArray[np.float64]], rng: np.random.Generator, least: float, most: float
) -> NDArray[np.bool_]:
    """A rectangle along both axes, its half sides between ``least`` and ``most``."""
    inside = [
        np.abs(along - rng.uniform(-1, 1)) < np.exp(rng.uniform(np.log(least), np.log(most)))
        for along in axes
    ]
    return np.asarray(inside[0] & inside[1])


def magnified(sample: Plane, size: int, rng: np.random.Generator) -> Plane:
    """A square part of a sample (S,S), half of its side and more, on ``size`` pixels."""
    whole = len(sample)
    side = int(rng.integers(max(size, whole // 2), whole + 1))
    y, x = rng.integers(0, whole - side + 1, 2)
    return np.maximum(shrunk(sample[y : y + side, x : x + side], (size, size)), 0)


def thicker(sample: Plane, factor: float) -> Plane:
    r"""The same of ``factor`` times the optical density: :math:`T^f`."""
    return np.asarray(np.maximum(sample, _OPAQUE) ** factor, np.float32)


def stacked(one: Plane, other: Plane) -> Plane:
    """Two samples behind one another."""
    return np.maximum(one * other, np.float32(_OPAQUE))
