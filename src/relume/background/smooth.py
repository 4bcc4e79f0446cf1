r"""From the image alone, as a smooth field: Gaussian blur, robust polynomial, rolling ball.

Each takes large structures of the sample for light, and none sees the fine pattern of the detector.
"""

__all__ = ["GAUSSIAN", "POLYNOMIAL", "ROLLING_BALL", "gaussian", "polynomial", "polynomials", "rolling_ball"]

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from relume.errors import MissingExtra

from .estimator import Estimator, Field

_COARSE = 4  # pixels that are averaged before a slow field is fitted


def _library(module: str, what: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(what, "xray") from error


def gaussian(image: Field, references: Sequence[Field] = (), *, sigma: float = 64) -> Field:
    """The image blurred by ``sigma`` pixels, mirrored at its borders."""
    blurred: Field = _library("scipy.ndimage", "the Gaussian background").gaussian_filter(image, sigma)
    return blurred


def polynomial(image: Field, references: Sequence[Field] = (), *, degree: int = 4) -> Field:
    r"""A polynomial of x and y fitted to log counts, by reweighted least squares with Huber's weights.

    .. math:: \min_c \sum_r \rho\!\left(\ln I(r) - \sum_{j+k \le d} c_{jk}\,P_j(x) P_k(y)\right)

    Source: Huber, *Robust estimation of a location parameter*, 1964.
    """
    small = _shrunk(image)
    level = np.log(np.maximum(small, 0.01 * np.median(small))).ravel()
    basis = _basis(small.shape, degree).reshape(-1, level.size).T
    weights = np.ones_like(level)
    for _ in range(15):
        root = np.sqrt(weights)
        coefficients = np.linalg.lstsq(basis * root[:, None], level * root, rcond=None)[0]
        residual = level - basis @ coefficients
        spread = 1.345 * 1.4826 * np.median(np.abs(residual)) + 1e-9
        weights = np.minimum(1, spread / np.maximum(np.abs(residual), 1e-12))
    field: Field = np.exp(np.tensordot(coefficients, _basis(image.shape, degree), 1))
    return field


def _basis(shape: tuple[int, ...], degree: int) -> Field:
    y, x = ((2 * np.arange(side) + 1) / side - 1 for side in shape)
    return polynomials(y[:, None], x[None, :], degree)


def polynomials(y: Field, x: Field, degree: int) -> Field:
    """Products of Legendre polynomials up to a total degree, by degree, the constant first: (terms, ...).

    ``y`` and ``x`` go from −1 to 1 over a tile and are broadcast against each other.
    """
    rows, columns = (np.polynomial.legendre.legvander(line, degree) for line in (y, x))
    pairs = [(total - k, k) for total in range(degree + 1) for k in range(total + 1)]
    return np.stack([rows[..., j] * columns[..., k] for j, k in pairs])


def _shrunk(image: Field) -> Field:
    """Means of blocks; what does not fill a block at the lower and right border is left out."""
    h, w = (max(1, side // _COARSE) for side in image.shape)
    step = tuple(side // count for side, count in zip(image.shape, (h, w), strict=True))
    return np.asarray(image[: h * step[0], : w * step[1]].reshape(h, step[0], w, step[1]).mean((1, 3)))


def rolling_ball(image: Field, references: Sequence[Field] = (), *, radius: float = 160) -> Field:
    """The upper envelope that a ball of ``radius`` pixels rolls along, on an image shrunk fourfold.

    A radius of the ball is as high as the image's median.

    Source: Sternberg, *Biomedical image processing*, 1983.
    """
    restoration = _library("skimage.restoration", "the rolling-ball background")
    transform = _library("skimage.transform", "the rolling-ball background")
    small = _shrunk(image)
    height = np.median(small) / (radius / _COARSE)
    top = small.max()
    envelope = top - height * restoration.rolling_ball((top - small) / height, radius=radius / _COARSE)
    field: Field = transform.resize(envelope, image.shape, order=1, mode="edge", preserve_range=True)
    return field


GAUSSIAN = Estimator("gaussian", "nothing", gaussian)
POLYNOMIAL = Estimator("polynomial", "nothing", polynomial)
ROLLING_BALL = Estimator("rolling-ball", "nothing", rolling_ball)
