r"""Noise that belongs to a place: a function of seed, step, channel, row and column alone.

Two tiles that overlap see the same noise where they do, in whatever order or batch they are computed.
"""

__all__ = ["noise_at"]

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64.

    Source: Steele, Lea, Flood, *Fast Splittable Pseudorandom Number Generators*, 2014.
    """
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def noise_at(
    rows: NDArray[np.integer], columns: NDArray[np.integer], *, seed: int, step: int, channels: int = 3
) -> NDArray[np.float32]:
    """Standard normal noise, channels×(shape of ``rows``), by Box and Muller's transform."""
    with np.errstate(over="ignore"):
        place = (rows.astype(np.uint64) << np.uint64(32)) | columns.astype(np.uint64)
        stream = _mix(np.array([seed & 0xFFFFFFFFFFFFFFFF], np.uint64) * _GOLDEN + np.uint64(step + 1))
        pairs = []
        for channel in range(channels):
            first = _mix(_mix(place * _GOLDEN + stream) + np.uint64(2 * channel + 1) * _GOLDEN)
            second = _mix(first + _GOLDEN)
            pairs.append((first, second))
    to_unit = 2.0**-53
    fields = []
    for first, second in pairs:
        u = ((first >> np.uint64(11)).astype(np.float64) + 1) * to_unit  # in (0,1]: its logarithm is finite
        v = (second >> np.uint64(11)).astype(np.float64) * to_unit
        fields.append(np.sqrt(-2 * np.log(u)) * np.cos(2 * np.pi * v))
    return np.stack(fields).astype(np.float32)
