r"""GELU, and its derivative: a block of elements is read once and written once."""

__all__ = ["backward", "forward"]

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 1024


@triton.jit
def _inner(x: Any) -> Any:
    """√(2/π) (x + 0.044715 x³), and the tanh of it by way of the logistic function."""
    u = 0.7978845608028654 * (x + 0.044715 * x * x * x)
    # 2σ(2u) - 1, with an exponential that cannot overflow
    e = tl.exp(-2.0 * tl.abs(u))
    t = (1.0 - e) / (1.0 + e)
    return tl.where(u < 0, -t, t)


@triton.jit
def _forward(x_ptr: Any, y_ptr: Any, count: Any, WORK: tl.constexpr, BLOCK: tl.constexpr) -> None:
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < count, other=0.0).to(WORK)
    y = 0.5 * x * (1.0 + _inner(x))
    tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), mask=at < count)


@triton.jit
def _backward(
    grad_ptr: Any, x_ptr: Any, out_ptr: Any, count: Any, WORK: tl.constexpr, BLOCK: tl.constexpr
) -> None:
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < count, other=0.0).to(WORK)
    grad = tl.load(grad_ptr + at, mask=at < count, other=0.0).to(WORK)
    t = _inner(x)
    slope = 0.7978845608028654 * (1.0 + 3 * 0.044715 * x * x)
    out = grad * (0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * slope)
    tl.store(out_ptr + at, out.to(out_ptr.dtype.element_ty), mask=at < count)


def work_type(tensor: Tensor) -> Any:
    """float64 for float64, else float32: half precision is only read and written."""
    return tl.float64 if tensor.dtype == torch.float64 else tl.float32


def forward(x: Tensor) -> Tensor:
    """GELU of a contiguous tensor."""
    y = torch.empty_like(x)
    _forward[(triton.cdiv(x.numel(), _BLOCK),)](x, y, x.numel(), WORK=work_type(x), BLOCK=_BLOCK)
    return y


def backward(grad: Tensor, x: Tensor) -> Tensor:
    """``grad`` times the derivative at ``x``."""
    grad, out = grad.contiguous(), torch.empty_like(x)
    _backward[(triton.cdiv(x.numel(), _BLOCK),)](grad, x, out, x.numel(), WORK=work_type(x), BLOCK=_BLOCK)
    return out
