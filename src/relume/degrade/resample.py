r"""Blur and lost resolution: linear, separable, and so a matrix on either side of the picture."""

__all__ = ["Blur", "Resample", "resize_matrix", "gaussian_matrix"]

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from relume.degrade.degradation import Array, Draw, Linear, scalar


def gaussian_matrix(n: int, sigma: float) -> NDArray[np.float32]:
    """The n×n matrix of a Gaussian blur of ``sigma`` pixels; rows sum to one, borders are replicated."""
    if sigma < 1e-3:
        return np.eye(n, dtype=np.float32)
    radius = int(np.ceil(3.5 * sigma))
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    matrix = np.zeros((n, n))
    rows = np.arange(n)
    for offset, tap in zip(range(-radius, radius + 1), taps / taps.sum(), strict=True):
        np.add.at(matrix, (rows, np.clip(rows + offset, 0, n - 1)), tap)
    return matrix.astype(np.float32)


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def _triangle(x: NDArray[np.float64]) -> NDArray[np.float64]:
    rising: NDArray[np.float64] = np.maximum(0, 1 - np.abs(x))
    return rising


def _box(x: NDArray[np.float64]) -> NDArray[np.float64]:
    inside: NDArray[np.float64] = np.where((x > -0.5) & (x <= 0.5), 1.0, 0.0)
    return inside


_KERNELS = {"bicubic": (_cubic, 2.0), "bilinear": (_triangle, 1.0), "nearest": (_box, 0.5)}


@lru_cache(maxsize=512)
def resize_matrix(n_in: int, n_out: int, kernel: str = "bicubic") -> NDArray[np.float32]:
    """The n_out×n_in matrix of an antialiased resize (pixel centres at half-integers)."""
    function, _ = _KERNELS[kernel]
    ratio = n_in / n_out
    stretch = 1.0 if kernel == "nearest" else max(ratio, 1.0)
    centres = (np.arange(n_out) + 0.5) * ratio
    weights = function((np.arange(n_in)[None] + 0.5 - centres[:, None]) / stretch)
    if kernel == "nearest":  # at an exact tie two boxes or none may answer: take the floor
        weights = np.zeros((n_out, n_in))
        weights[np.arange(n_out), np.minimum(centres.astype(int), n_in - 1)] = 1
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


class _Separable(Linear):
    def apply(self, picture: Array, draw: Mapping[str, Array]) -> Array:
        return draw["rows"][:, None] @ picture @ draw["columns"][:, None]

    def adjoint(self, picture: Array, draw: Mapping[str, Array]) -> Array:
        return draw["rows"].swapaxes(-1, -2)[:, None] @ picture @ draw["columns"].swapaxes(-1, -2)[:, None]


class Blur(_Separable):
    """A soft lens or a moved camera: an elliptical Gaussian of 0.4 to 2 units."""

    name = "blur"

    def sample(self, shape: tuple[int, int, int], rng: np.random.Generator) -> Draw:
        sigma = self.severity * self.pixel_unit(shape) * rng.uniform(0.4, 2.0) * (0.5 + 0.5 * rng.random())
        ratio = rng.uniform(0.7, 1.0)
        vertical, horizontal = (sigma, sigma * ratio) if rng.random() < 0.5 else (sigma * ratio, sigma)
        return {
            "rows": gaussian_matrix(shape[1], vertical),
            "columns": gaussian_matrix(shape[2], horizontal).T,
        }


class Resample(_Separable):
    """A small print or a coarse scan: each axis shrunk to between 0.5 and 1 and enlarged again."""

    name = "resample"

    def sample(self, shape: tuple[int, int, int], rng: np.random.Generator) -> Draw:
        kernel = str(rng.choice(["bicubic", "bilinear", "nearest"], p=[0.45, 0.45, 0.1]))
        factor = 1 - min(1.0, self.severity) * rng.uniform(0, 0.5)
        matrices = []
        for n in shape[1:]:
            small = max(2, round(n * min(1.0, factor * rng.uniform(0.9, 1.1))))
            if small >= n or self.severity == 0:
                matrices.append(np.eye(n, dtype=np.float32))
            else:
                matrices.append(resize_matrix(small, n, kernel) @ resize_matrix(n, small, "bicubic"))
        return {"rows": matrices[0], "columns": matrices[1].T}


class LowContrast(Linear):
    """A flat negative: contrast lowered about the picture's own mean, by up to a half at severity 1."""

    name = "low-contrast"

    def sample(self, shape: tuple[int, int, int], rng: np.random.Generator) -> Draw:
        return {"gain": scalar(1 - min(1.5, self.severity) * rng.uniform(0.05, 0.5))}

    def apply(self, picture: Array, draw: Mapping[str, Array]) -> Array:
        mean = picture.mean((-3, -2, -1))[:, None, None, None]
        return (picture - mean) * draw["gain"] + mean

    def adjoint(self, picture: Array, draw: Mapping[str, Array]) -> Array:
        return self.apply(picture, draw)  # g I + (1 - g) 1 1ᵀ / n is symmetric
