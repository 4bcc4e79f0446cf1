r"""Losses on spectra of fields (B,C,H,W), such as the log background.

X and Y are the spectra of prediction and target. Fields have their mean taken off and are multiplied by a
Hann window first, or a tilt would lay a cross over the spectrum. The transform is real and orthonormal, in
float32 whatever the autocast; columns that stand for their mirror images too count twice. A mean is over the
whole plane.
"""

__all__ = ["FOURIER", "Fourier", "amplitude", "banded", "complex_l1", "focal", "spectrum", "plane_mean"]

from collections.abc import Callable

import torch
from torch import Tensor

Fourier = Callable[[Tensor, Tensor], Tensor]
_EPS = 1e-6


def spectrum(field: Tensor, *, window: bool = True) -> Tensor:
    """(B,C,H,W) → complex (B,C,H,W//2+1), of the field less its mean, under the window."""
    with torch.autocast(field.device.type, enabled=False):
        x = field.float()
        x = x - x.mean((-2, -1), keepdim=True)
        if window:
            rows, columns = (
                torch.hann_window(n, periodic=True, device=x.device) for n in (x.shape[-2], x.shape[-1])
            )
            x = x * (rows[:, None] * columns)
        return torch.fft.rfft2(x, norm="ortho")


def plane_mean(values: Tensor, width: int) -> Tensor:
    """The mean over the whole plane of what is known on its half, (..., W//2+1) for a field W wide."""
    weight = torch.full((values.shape[-1],), 2.0, device=values.device)
    weight[0] = 1
    if width % 2 == 0:
        weight[-1] = 1
    return (values * weight).sum(-1).mean() / width


def _modulus(z: Tensor) -> Tensor:
    """|z| whose gradient is finite at 0."""
    return torch.sqrt(z.real.square() + z.imag.square() + _EPS**2)


def amplitude(prediction: Tensor, target: Tensor) -> Tensor:
    r"""Mean :math:`|\ln|X| - \ln|Y||`: the strength of every frequency, whatever its phase.

    Without the logarithm the lowest frequencies would be all that counts.
    """
    x, y = (torch.log(_EPS + _modulus(spectrum(field))) for field in (prediction, target))
    return plane_mean((x - y).abs(), prediction.shape[-1])


def complex_l1(prediction: Tensor, target: Tensor) -> Tensor:
    r"""Mean :math:`|X - Y|`: amplitude and phase."""
    return plane_mean(_modulus(spectrum(prediction - target)), prediction.shape[-1])


def focal(prediction: Tensor, target: Tensor, *, alpha: float = 1.0) -> Tensor:
    r"""Mean :math:`w\,|X - Y|^2` with :math:`w = (|X-Y| / \max|X-Y|)^\alpha` held fixed: the worst first.

    Source: Jiang, Dai, Wu, Loy, *Focal Frequency Loss for Image Reconstruction and Synthesis*, 2021.
    """
    difference = spectrum(prediction - target)
    square = difference.real.square() + difference.imag.square()
    with torch.no_grad():
        size = square.sqrt()
        weight = (size / size.amax((-2, -1), keepdim=True).clamp(min=_EPS)) ** alpha
    return plane_mean(weight * square, prediction.shape[-1])


def banded(
    prediction: Tensor, target: Tensor, *, weights: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> Tensor:
    r"""Mean :math:`|X - Y|` below 4, from 4 to 64 and above 64 cycles per tile, each a mean of its own.

    The lowest band is the light, the highest the fixed pattern of the detector. Bands that a small tile
    has not count nothing.
    """
    h, w = prediction.shape[-2:]
    size = _modulus(spectrum(prediction - target))
    rows = torch.fft.fftfreq(h, 1 / h, device=size.device)[:, None]
    columns = torch.fft.rfftfreq(w, 1 / w, device=size.device)[None, :]
    cycles = torch.sqrt(rows.square() + columns.square())
    total = size.new_zeros(())
    for weight, low, high in zip(weights, (0, 4, 64), (4, 64, float("inf")), strict=True):
        inside = ((cycles >= low) & (cycles < high)).float()
        share = plane_mean(inside, w)
        total = total + weight * plane_mean(size * inside, w) / share.clamp(min=1e-9)
    return total


FOURIER: dict[str, Fourier] = {
    "amplitude": amplitude,
    "complex": complex_l1,
    "focal": focal,
    "banded": banded,
}
