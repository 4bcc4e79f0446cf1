r"""Group normalisation and SiLU: one program a group, which reads it twice and writes it once."""

__all__ = ["forward"]

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from relume.ops.kernels.gelu import work_type

_BLOCK = 1024


@triton.jit
def _kernel(
    x_ptr: Any,
    gamma_ptr: Any,
    beta_ptr: Any,
    y_ptr: Any,
    mean_ptr: Any,
    rstd_ptr: Any,
    size: Any,
    pixels: Any,
    groups: Any,
    eps: Any,
    WORK: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    one = tl.program_id(0).to(tl.int64)
    start = one * size
    offsets = tl.arange(0, BLOCK)
    mean = tl.sum(tl.zeros([BLOCK], WORK), 0)
    squares = tl.sum(tl.zeros([BLOCK], WORK), 0)
    # Blocks are combined as Chan, Golub and LeVeque do (1979): no sum of squares that cancels.
    for first in range(0, size, BLOCK):
        inside = first + offsets < size
        count = tl.minimum(size - first, BLOCK).to(WORK)
        x = tl.load(x_ptr + start + first + offsets, mask=inside, other=0.0).to(WORK)
        middle = tl.sum(x, 0) / count
        away = tl.where(inside, x - middle, 0.0)
        delta = middle - mean
        share = count / (first + count)
        mean += delta * share
        squares += tl.sum(away * away, 0) + delta * delta * first * share
    rstd = 1.0 / tl.sqrt(squares / size + eps)
    tl.store(mean_ptr + one, mean.to(mean_ptr.dtype.element_ty))
    tl.store(rstd_ptr + one, rstd.to(rstd_ptr.dtype.element_ty))
    channel = (one % groups) * (size // pixels)
    for first in range(0, size, BLOCK):
        inside = first + offsets < size
        x = tl.load(x_ptr + start + first + offsets, mask=inside, other=0.0).to(WORK)
        at = channel + (first + offsets) // pixels
        gamma = tl.load(gamma_ptr + at, mask=inside, other=0.0).to(WORK)
        beta = tl.load(beta_ptr + at, mask=inside, other=0.0).to(WORK)
        h = (x - mean) * rstd * gamma + beta
        # σ(h) with an exponential that cannot overflow
        e = tl.exp(-tl.abs(h))
        y = tl.where(h < 0, h * e, h) / (1.0 + e)
        tl.store(y_ptr + start + first + offsets, y.to(y_ptr.dtype.element_ty), mask=inside)


def forward(
    x: Tensor, gamma: Tensor, beta: Tensor, sizes: tuple[int, int, int, int], eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The result, and mean and reciprocal deviation of each group, (pictures, groups), as torch keeps them.

    ``sizes``: pictures, channels, pixels, groups.
    """
    batch, channels, pixels, groups = sizes
    y = torch.empty_like(x)
    mean, rstd = torch.empty(2, batch, groups, dtype=x.dtype, device=x.device).unbind()
    size = channels // groups * pixels
    _kernel[(batch * groups,)](
        x, gamma, beta, y, mean, rstd, size, pixels, groups, eps, WORK=work_type(x), BLOCK=_BLOCK
    )
    return y, mean, rstd
