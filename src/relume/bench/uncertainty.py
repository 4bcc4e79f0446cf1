r"""Whether an error bar keeps what it promises."""

__all__ = ["coverage", "risk_coverage"]

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from relume.bench.transmission import Field, Mask


def coverage(found: Field, truth: Field, sigma: Field, valid: Mask, *, level: float = 0.9) -> float:
    """Share of pixels whose truth lies within the central interval of a normal error. Ideal: ``level``."""
    reach = NormalDist().inv_cdf((1 + level) / 2) * sigma[valid]
    return float(np.mean(np.abs(found[valid] - truth[valid]) <= reach))


def risk_coverage(
    found: Field, truth: Field, sigma: Field, valid: Mask, *, points: int = 20
) -> NDArray[np.float64]:
    """Root mean square error of the surest 1/points, 2/points, … of the pixels: (points, 2), share and error.

    An uncertainty that means something gives a curve that rises.
    """
    order = np.argsort(sigma[valid], kind="stable")
    squares = np.cumsum(((found[valid] - truth[valid]).astype(np.float64) ** 2)[order])
    shares = np.arange(1, points + 1) / points
    counts = np.maximum(1, np.rint(shares * len(squares)).astype(int))
    return np.stack([shares, np.sqrt(squares[counts - 1] / counts)], axis=1)
