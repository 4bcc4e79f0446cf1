r"""GELU in one read and one write."""

__all__ = ["GELU", "gelu"]

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from relume.ops import kernels
from relume.ops.op import Op


def gelu(x: Tensor) -> Tensor:
    r"""The Gaussian error linear unit in its tanh form, one operation after the other.

    .. math::
        y = \tfrac12 x \left(1 + \tanh\left(\sqrt{2/π}\,(x + 0.044715\,x^3)\right)\right)

    Any shape. Each operation reads and writes the whole tensor: 10 reads and 8 writes on paper.

    Source: Hendrycks, Gimpel, *Gaussian Error Linear Units*, 2016; as one kernel: Chen et al., *Speed Is All
    You Need*, 2023.
    """
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


def _torch(x: Tensor) -> Tensor:
    return functional.gelu(x, approximate="tanh")


class _Kernel(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        from relume.ops.kernels.gelu import forward

        ctx.save_for_backward(x)
        return forward(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        from relume.ops.kernels.gelu import backward

        return backward(grad, *ctx.saved_tensors)


def _triton(x: Tensor) -> Tensor:
    kernels.need(x)
    return _Kernel.apply(x.contiguous())


GELU = Op("gelu", gelu, {"torch": _torch, "triton": _triton})
