r"""Fill: a region forgotten, and its surroundings carried on smoothly into it."""

__all__ = ["fill"]

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

_SWEEPS = 30  # of relaxation at each level of the pyramid


def fill(picture: Array, keep: Array) -> Array:
    """H×W×C with the pixels where ``keep`` (H×W in [0,1]) is 0 taken from around, near to harmonic.

    Averages over what is kept are halved in size until nothing is missing; on the way back each level is
    relaxed towards the mean of its four neighbours. Kept pixels stay exactly; a ``keep`` between blends.
    """
    weight = keep[..., None]
    if keep.all() or max(keep.shape) <= 2:
        total = weight.sum(dtype=np.float64)
        mean = (picture * weight).sum(axis=(0, 1)) / total if total > 0 else picture.mean(axis=(0, 1))
        return np.asarray(picture * weight + (1 - weight) * mean, np.float32)
    odd = [(0, side % 2) for side in keep.shape]
    pooled = _half(np.pad(weight, [*odd, (0, 0)]))
    sums = _half(np.pad(picture * weight, [*odd, (0, 0)]))
    coarse = fill(np.where(pooled > 0, sums / np.maximum(pooled, 1e-6), 0), np.minimum(pooled[..., 0] * 4, 1))
    rough = coarse.repeat(2, axis=0).repeat(2, axis=1)[: keep.shape[0], : keep.shape[1]]
    made = picture * weight + (1 - weight) * rough
    for _ in range(_SWEEPS):
        around = np.pad(made, ((1, 1), (1, 1), (0, 0)), mode="edge")
        mean = (around[2:, 1:-1] + around[:-2, 1:-1] + around[1:-1, 2:] + around[1:-1, :-2]) / 4
        made = picture * weight + (1 - weight) * mean
    return np.asarray(made, np.float32)


def _half(stack: Array) -> Array:
    """Means of 2×2 pixels."""
    height, width, channels = stack.shape
    blocks = stack.reshape(height // 2, 2, width // 2, 2, channels)
    return np.asarray(blocks.mean(axis=(1, 3)), np.float32)
