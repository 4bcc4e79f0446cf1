r"""Where nothing stands in the light ln T is one level: that evens what an estimate of B leaves uneven.

The brightest parts of an image are empty if they agree. Which these are, and how well they agree, follows
from the values alone: :func:`densest`.
"""

__all__ = ["densest", "evened", "likely"]

import numpy as np
import numpy.typing as npt

from .estimator import Field, normalised
from .smooth import polynomials

_SHARE, _NORMAL = 0.4, 0.5244  # this share of a normal distribution lies within so many standard deviations
_LEAST = 0.003  # standard deviation of a block's brightest part, by photon noise and by the field
_BLOCKS, _BRIGHT = 8, 90  # along a side of the image; percentile of a block's cells
_CELLS, _LARGE = 64, 4  # along a side of the image, of so many pixels at least: what is averaged first
_DARK = 0.5  # of the median light: what is darker says nothing
_DEGREE, _SIZE = 2, 0.02  # of the polynomial, and how large its coefficients are, at a guess
_AGREE, _MANY = 0.005, 0.7  # how well blocks agree that are empty, and how many of all have to
_ROUNDS, _STILL = 30, 2e-4


def densest(values: Field) -> tuple[float, float]:
    """Middle and standard deviation of the densest 40 % of the values, as of a normal distribution.

    Parts that are empty agree, those that a sample fills do not.
    """
    line = np.sort(values)
    count = min(len(line), max(2, int(_SHARE * len(line))))
    width = line[count - 1 :] - line[: len(line) - count + 1]
    first = int(np.argmin(width))
    middle = 0.5 * float(line[first] + line[first + count - 1])
    return middle, max(_LEAST, 0.5 * float(width[first]) / _NORMAL)


def likely(values: Field, level: float, sigma: float) -> Field:
    """Cauchy's weights over the variance: of values near the level, and hardly any of what is far off."""
    return np.asarray(1 / (1 + ((values - level) / (2 * sigma)) ** 2) / sigma**2)


def _near(values: Field, level: float, sigma: float) -> Field:
    """Tukey's weights over the variance: nothing beyond four standard deviations, or a faint sample with
    sharp edges would be taken for light bit by bit."""
    return np.asarray(np.maximum(0.0, 1 - ((values - level) / (4 * sigma)) ** 2) ** 2 / sigma**2)


def evened(image: npt.NDArray[np.floating], field: npt.NDArray[np.floating]) -> Field:
    r"""B times a polynomial of degree 2 that makes the empty parts of image / B agree; B where none are sure.

    .. math:: \min_a \sum_k \rho\!\left(t_k - \ell - a\cdot P(r_k)\right) + \lVert a\rVert^2/0.02^2

    t are the brightest parts of 8×8 blocks: the 90th percentile of means over cells of a 64th of the image.
    ℓ is the densest level of what is left. Only if 7 of 10 blocks then agree to 0.5 % is the answer taken:
    a sample that fills the image is bright nowhere alike, unless it is as smooth as light. Slabs of a few per
    cent may still tilt it by one, and where light is weak the brightest cells are noise: at 500 counts a
    corner may come out half a per cent too bright.

    Args:
        image: counts less the dark level (H,W).
        field: an estimate of B (H,W).
    """
    values, y, x = _brightest(image, field)
    if len(values) < _BLOCKS:
        return np.asarray(field, np.float64)
    waves = polynomials(y, x, _DEGREE)[1:].T
    found: Field = np.zeros(waves.shape[1])
    for _ in range(_ROUNDS):
        left = values - waves @ found
        level, sigma = densest(left)
        weight = _near(left, level, sigma)[:, None]
        square = waves.T @ (weight * waves) + np.eye(len(found)) / _SIZE**2
        before = found
        found = np.asarray(np.linalg.solve(square, waves.T @ (weight[:, 0] * (values - level))), np.float64)
        if np.abs(found - before).max() < _STILL:
            break
    left = values - waves @ found
    level, sigma = densest(left)
    if sigma > _AGREE or np.mean(np.abs(left - level) < 3 * sigma) < _MANY:
        return np.asarray(field, np.float64)
    down, right = ((2 * np.arange(side) + 1) / side - 1 for side in image.shape)
    slow = np.tensordot(found, polynomials(down[:, None], right[None, :], _DEGREE)[1:], 1)
    return normalised(np.asarray(field * np.exp(slow), np.float64))


def _brightest(
    image: npt.NDArray[np.floating], field: npt.NDArray[np.floating]
) -> tuple[Field, Field, Field]:
    """ln T of the brightest part of each block of which a third is lit, and its y and x from −1 to 1."""
    step = max(_LARGE, min(image.shape) // _CELLS)
    rows, columns = (side // step for side in image.shape)
    area = np.s_[: rows * step, : columns * step]
    lit = (field > _DARK * np.nanmedian(field)) & np.isfinite(image)
    t = np.where(lit, image / np.where(lit, field, 1), np.nan)[area]
    cells = t.reshape(rows, step, columns, step).mean((1, 3))
    usable = np.isfinite(cells) & (cells > 0)
    level = np.log(np.where(usable, cells, 1))
    edges = [np.linspace(0, count, min(_BLOCKS, count // 4) + 1).round().astype(int) for count in cells.shape]
    values, y, x = [], [], []
    for top, bottom in zip(edges[0], edges[0][1:], strict=False):
        for left, right in zip(edges[1], edges[1][1:], strict=False):
            kept = usable[top:bottom, left:right]
            if kept.mean() > 1 / 3:
                values.append(np.percentile(level[top:bottom, left:right][kept], _BRIGHT))
                y.append((top + bottom) / rows - 1)
                x.append((left + right) / columns - 1)
    return np.array(values), np.array(y), np.array(x)
