r"""One definition for numpy and torch: the few operations that the simulator needs of either.

Everything here and in the modules beside it is written against an array namespace, which :func:`space` reads
off an array. numpy in float64 is the reference; torch in float32 follows it to 1e-4.
"""

__all__ = ["Array", "space", "onto", "axes", "blur", "frequencies", "shifted", "gaussian", "median"]

import importlib
from typing import Any

import numpy as np

Array = Any  # a numpy array or a torch tensor


def space(like: Array) -> Any:
    """The namespace of an array: ``numpy`` or ``torch``."""
    return importlib.import_module(type(like).__module__.partition(".")[0])


def onto(value: Any, like: Array) -> Array:
    """Numbers as an array of the kind, type and device of ``like``."""
    xp = space(like)
    if xp is np:
        return np.asarray(value, like.dtype)
    return xp.as_tensor(np.asarray(value, np.float64), dtype=like.dtype, device=like.device)


def axes(n: int, like: Array) -> tuple[Array, Array]:
    """y (n,1) and x (1,n), from −1 to 1 between the outer borders of a tile of n pixels."""
    line = onto((2 * np.arange(n) + 1) / n - 1, like)
    return line[:, None], line[None, :]


def frequencies(shape: tuple[int, ...], like: Array) -> tuple[Array, Array]:
    """Cycles per pixel of the rows (H,1) and columns (1,W//2+1) of a real transform of (H,W)."""
    return (
        onto(np.fft.fftfreq(shape[-2]), like)[:, None],
        onto(np.fft.rfftfreq(shape[-1]), like)[None, :],
    )


def _response(frequency: np.ndarray, sigma: float) -> np.ndarray:
    """Of a Gaussian that is sampled at whole pixels, cut at 4 σ and scaled to sum 1."""
    k = np.arange(1, max(1, int(np.ceil(4 * sigma))) + 1)
    w = np.exp(-0.5 * (k / sigma) ** 2)
    return (1 + 2 * np.cos(2 * np.pi * frequency[:, None] * k) @ w) / (1 + 2 * w.sum())  # type: ignore[no-any-return]


def gaussian(shape: tuple[int, ...], sigma: float, like: Array) -> Array:
    """The frequency response (H, W//2+1) of a Gaussian of ``sigma`` pixels; ones for 0."""
    if sigma < 0.05:
        return onto(np.ones((shape[-2], shape[-1] // 2 + 1)), like)
    rows = _response(np.fft.fftfreq(shape[-2]), sigma)
    columns = _response(np.fft.rfftfreq(shape[-1]), sigma)
    return onto(rows[:, None] * columns, like)


def blur(x: Array, sigma: float) -> Array:
    """Gaussian blur of (..., H, W) by ``sigma`` pixels, periodic at the borders."""
    xp = space(x)
    return xp.fft.irfft2(xp.fft.rfft2(x) * gaussian(x.shape, sigma, x), x.shape[-2:])


def shifted(x: Array, shift: Array) -> Array:
    """x (H,W) moved by each row of ``shift`` (N,2), (y,x) in pixels: (N,H,W). Band-limited, periodic."""
    xp = space(x)
    fy, fx = frequencies(x.shape, x)
    phase = fy * shift[:, 0, None, None] + fx * shift[:, 1, None, None]
    return xp.fft.irfft2(xp.fft.rfft2(x) * xp.exp(-2j * np.pi * phase), x.shape[-2:])


def median(field: Array) -> Array:
    """Of each field, (..., 1, 1). torch takes the lower of the middle two; of 10⁵ that is no matter."""
    flat = field.reshape(*field.shape[:-2], -1)
    return (np.median(flat, -1) if space(field) is np else flat.median(-1).values)[..., None, None]
