r"""What repeats in every tile beyond chance: the grid that an imperfect common field would leave."""

__all__ = ["repeats"]

import numpy as np

from .looks import Field, Level

_ORDERS = 16  # cosines along a side: waves down to an eighth of a tile
_GRID = 4  # orders along one side alone that make up a visible grid: its pitch and half of it
_CLEAR, _GRID_CLEAR = 9.0, 1.5  # squared standard errors that a wave must exceed


def repeats(level: Level, count: int, shape: tuple[int, int]) -> Field:
    r"""The mean over the tiles of each cosine wave, less what the sample can give by chance.

    .. math:: \hat e_k = \bar c_k \left(1 - \frac{\tau_k^2 s_k^2}{N\,\bar c_k^2}\right)_+

    c are coefficients of a cosine transform of ``level(i)``, ln counts less all that is known of the light;
    s is their standard deviation over the N tiles. A sample does not know where the tiles begin: its
    coefficients are of either sign, and their mean is near its standard error. What stands out of that is in
    the light, and is given back as a field (H,W) of mean 0. Of the slowest waves along one side, which show
    as rows and columns of tiles, all beyond 1.2 standard errors is given; of the others, which are many, only
    what exceeds three: each wave that is taken by chance harms the field. Where the sample hides a wave, as
    it does where few tiles are full of large grains, nothing is found. Fewer than eight tiles tell nothing.

    Source: Breiman, *Better subset regression using the nonnegative garrote*, 1995, for the factor.
    """
    if count < 8:
        return np.zeros(shape)
    down, right = (_waves(side) for side in shape)
    found = np.stack([down @ np.asarray(level(i), np.float64) @ right.T for i in range(count)])
    mean, chance = found.mean(0), found.var(0, ddof=1) / count
    limit = np.full(mean.shape, _CLEAR)
    limit[0, : _GRID + 1] = limit[: _GRID + 1, 0] = _GRID_CLEAR
    mean *= np.maximum(0.0, 1 - limit * chance / np.maximum(mean**2, 1e-30))
    mean[0, 0] = 0.0
    return np.asarray(down.T @ mean @ right)


def _waves(side: int) -> Field:
    """Orthonormal cosines (16, side), of fewer orders where a tile has fewer pixels."""
    orders = np.arange(min(_ORDERS, side))[:, None]
    waves = np.cos(np.pi * orders * (np.arange(side) + 0.5) / side)
    return np.asarray(waves / np.linalg.norm(waves, axis=1, keepdims=True))
