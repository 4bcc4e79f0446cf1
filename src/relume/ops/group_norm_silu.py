r"""Group normalisation and SiLU in one pass."""

__all__ = ["GROUP_NORM_SILU", "group_norm_silu"]

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from relume.errors import UsageError
from relume.ops import kernels
from relume.ops.op import Op


def group_norm_silu(x: Tensor, weight: Tensor, bias: Tensor, *, groups: int, eps: float = 1e-5) -> Tensor:
    r"""SiLU of a group normalisation, one operation after the other.

    With mean μ and variance σ² over each group of channels and all pixels of one picture:

    .. math::
        h = γ\,\frac{x - μ}{\sqrt{σ^2 + ε}} + β, \qquad y = \frac{h}{1 + e^{-h}}

    ``x`` (B,C,H,W); γ and β (C,), or (B,C) where each picture has its own, as a net has that is scaled and
    shifted by time. C is a multiple of ``groups``.

    Raises
    ------
    UsageError
        If the channels are no multiple of the groups, or γ and β have another shape.

    Source: Wu, He, *Group Normalization*, 2018; in one kernel: Chen et al., *Speed Is All You Need*, 2023.
    """
    _check(x, weight, bias, groups)
    h = functional.group_norm(x, groups, eps=eps)
    h = h * weight.view(-1, x.shape[1], 1, 1) + bias.view(-1, x.shape[1], 1, 1)
    return functional.silu(h)


def _check(x: Tensor, weight: Tensor, bias: Tensor, groups: int) -> None:
    batch, channels = x.shape[:2]
    if x.dim() != 4 or channels % groups:
        raise UsageError(
            f"{tuple(x.shape)} does not split into {groups} groups: give (B,C,H,W), C a multiple"
        )
    if weight.shape != bias.shape or tuple(weight.shape) not in ((channels,), (batch, channels)):
        raise UsageError(
            f"weight {tuple(weight.shape)} and bias {tuple(bias.shape)} do not fit {batch} pictures of "
            f"{channels} channels: both ({channels},) or ({batch}, {channels})"
        )


class _Fused(torch.autograd.Function):
    """Keeps x and two numbers a group; what lies between norm and SiLU is made anew for the gradient.

    Pictures that have weights of their own are laid in a row as channels of one picture: the same groups.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, kernel: bool
    ) -> Tensor:
        batch, channels, height, width = x.shape
        ctx.sizes = (
            (batch, channels, height * width, groups)
            if weight.dim() == 1
            else (1, batch * channels, height * width, batch * groups)
        )
        flat, gamma, beta = x.contiguous(), weight.reshape(-1).contiguous(), bias.reshape(-1).contiguous()
        if kernel:
            from relume.ops.kernels.group_norm_silu import forward

            y, mean, rstd = forward(flat, gamma, beta, ctx.sizes, eps)
        else:
            y, mean, rstd = _norm(flat, gamma, beta, ctx.sizes, eps)
            functional.silu(y, inplace=True)
        ctx.save_for_backward(flat, gamma, beta, mean, rstd)
        ctx.shape = weight.shape
        return y.view_as(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        x, gamma, beta, mean, rstd = ctx.saved_tensors
        batch, channels, _, groups = ctx.sizes
        h = _affine(x, gamma, beta, mean, rstd, ctx.sizes)
        # writes over h, which nobody else needs
        torch.ops.aten.silu_backward.grad_input(grad.reshape(h.shape), h, grad_input=h)
        given = (x.view(batch, channels, -1), mean, rstd, gamma, *ctx.sizes[:3], groups)
        dx, dgamma, dbeta = torch.ops.aten.native_group_norm_backward(
            h, *given, list(ctx.needs_input_grad[:3])
        )
        found = (dx, dgamma, dbeta)
        shapes = (x.shape, ctx.shape, ctx.shape)
        back = (each if each is None else each.view(s) for each, s in zip(found, shapes, strict=True))
        return (*back, None, None, None)


def _norm(x: Tensor, gamma: Tensor, beta: Tensor, sizes: tuple[int, ...], eps: float) -> tuple[Tensor, ...]:
    batch, channels, pixels, groups = sizes
    flat = x.view(batch, channels, pixels)
    found: tuple[Tensor, ...] = torch.native_group_norm(
        flat, gamma, beta, batch, channels, pixels, groups, eps
    )
    return found


def _affine(
    x: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, rstd: Tensor, sizes: tuple[int, ...]
) -> Tensor:
    """The normalised picture from the statistics that were kept: one multiplication and addition a value."""
    batch, channels, pixels, groups = sizes
    scale = gamma.view(1, groups, -1) * rstd.view(batch, groups, 1).to(gamma.dtype)
    shift = beta.view(1, groups, -1) - scale * mean.view(batch, groups, 1).to(gamma.dtype)
    shape = (batch, channels, 1)
    return torch.addcmul(shift.reshape(shape), x.view(batch, channels, pixels), scale.reshape(shape))


def _two(x: Tensor, weight: Tensor, bias: Tensor, *, groups: int, eps: float = 1e-5) -> Tensor:
    """What a net does that knows nothing of this: torch's norm, then torch's SiLU."""
    if weight.dim() == 2:
        return group_norm_silu(x, weight, bias, groups=groups, eps=eps)
    _check(x, weight, bias, groups)
    return functional.silu(functional.group_norm(x, groups, weight, bias, eps))


def _saving(x: Tensor, weight: Tensor, bias: Tensor, *, groups: int, eps: float = 1e-5) -> Tensor:
    _check(x, weight, bias, groups)
    y: Tensor = _Fused.apply(x, weight, bias, groups, eps, False)
    return y


def _triton(x: Tensor, weight: Tensor, bias: Tensor, *, groups: int, eps: float = 1e-5) -> Tensor:
    _check(x, weight, bias, groups)
    kernels.need(x)
    y: Tensor = _Fused.apply(x, weight, bias, groups, eps, True)
    return y


GROUP_NORM_SILU = Op(
    "group-norm-silu", group_norm_silu, {"torch": _two, "saving": _saving, "triton": _triton}
)
