r"""The common field as the robust location of all tiles at each pixel, in passes over them."""

__all__ = ["biweight", "location"]

import numpy as np

from .looks import Field, Level

_SAMPLE = 48  # tiles of the first guess, which is a median
_PASSES = 2


def biweight(values: Field, *, reach: float = 4.7) -> Field:
    """Tukey's biweight mean along the first axis; ``reach`` counts robust standard deviations."""
    middle = np.median(values, axis=0)
    limit = reach * 1.4826 * np.median(np.abs(values - middle), axis=0) + 1e-9
    for _ in range(3):
        weight = np.maximum(0.0, 1 - ((values - middle) / limit) ** 2) ** 2
        total = weight.sum(0)
        middle = np.where(total > 0, (weight * values).sum(0) / np.maximum(total, 1e-12), middle)
    return np.asarray(middle)


def location(level: Level, count: int, shape: tuple[int, int]) -> Field:
    r"""Tukey's biweight mean over the tiles, each less its own median, from a median of 48 of them on.

    .. math:: F(r) = \frac{\sum_i w_i\,x_i(r)}{\sum_i w_i}, \qquad
        w_i = \left(1 - \left(\frac{x_i(r) - F(r)}{4.7\,s(r)}\right)^2\right)_+^2

    s is the spread over the tiles at that pixel. Two passes; memory does not grow with the number of tiles.

    Source: Beaton, Tukey, *The fitting of power series, meaning polynomials, illustrated on
    band-spectroscopic data*, 1974.
    """

    def own(number: int) -> Field:
        x = np.asarray(level(number), np.float64)
        return np.asarray(x - np.median(x))

    first = np.stack([own(i).astype(np.float32) for i in range(0, count, -(-count // _SAMPLE))])
    field: Field = np.median(first, axis=0).astype(np.float64)
    reach = 4.7 * 1.4826 * np.median(np.abs(first - field.astype(np.float32)), axis=0) + 1e-6
    del first
    for _ in range(_PASSES):
        total, weights = np.zeros(shape), np.zeros(shape)
        for i in range(count):
            x = own(i)
            weight = np.maximum(0.0, 1 - ((x - field) / reach) ** 2) ** 2
            total += weight * x
            weights += weight
        field = np.where(weights > 0, total / np.maximum(weights, 1e-12), field)
    return field
