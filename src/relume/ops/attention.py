r"""Attention by partially fused softmax: of the scores only row maxima and row sums are stored."""

__all__ = ["ATTENTION", "attention"]

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from relume.errors import UsageError
from relume.ops import kernels
from relume.ops.op import Op

# So many scores are held at a time: what stays in a core's cache.
SCORES = 1 << 16


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    r"""Softmax attention with its whole matrix of probabilities.

    .. math::
        X = q k^\top / \sqrt{d}, \qquad
        y_i = \frac{\sum_j e^{X_{ij} - m_i} v_j}{s_i}, \quad
        m_i = \max_j X_{ij}, \quad s_i = \sum_j e^{X_{ij} - m_i}

    ``q`` (…,n,d), ``k`` (…,m,d), ``v`` (…,m,e) → (…,n,e), with the same leading sizes.

    Raises
    ------
    UsageError
        If the shapes do not fit.

    Source: Vaswani et al., *Attention Is All You Need*, 2017; m and s alone: Chen et al., *Speed Is All You
    Need*, 2023.
    """
    _check(q, k, v)
    return torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), -1) @ v


def _check(q: Tensor, k: Tensor, v: Tensor) -> None:
    fits = q.shape[-1] == k.shape[-1] and k.shape[-2] == v.shape[-2] and k.shape[-2] > 0
    if not fits or not q.shape[:-2] == k.shape[:-2] == v.shape[:-2] or min(q.dim(), k.dim(), v.dim()) < 2:
        shapes = ", ".join(str(tuple(each.shape)) for each in (q, k, v))
        raise UsageError(f"q, k, v of {shapes} do not fit: give (…,n,d), (…,m,d), (…,m,e)")


class _Partial(torch.autograd.Function):
    """Keeps its arguments, its result, m and s. The scores are made anew, some rows at a time."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, kernel: bool) -> Tensor:
        if kernel:
            from relume.ops.kernels.attention import forward

            out, m, s = forward(q, k, v)
        else:
            out, m, s = _forward(q, k, v)
        ctx.save_for_backward(q, k, v, out, m, s)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        q, k, v, out, m, s = ctx.saved_tensors
        scale = 1 / math.sqrt(q.shape[-1])
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        dot = (grad * out).sum(-1, keepdim=True)
        for rows in _chunks(q, k):
            p = _scores(q[:, rows], k).sub_(m[:, rows]).exp_().div_(s[:, rows])
            dv.baddbmm_(p.transpose(1, 2), grad[:, rows])
            slope = torch.bmm(grad[:, rows], v.transpose(1, 2)).sub_(dot[:, rows]).mul_(p)
            dq[:, rows] = torch.bmm(slope, k).mul_(scale)
            dk.baddbmm_(slope.transpose(1, 2), q[:, rows], alpha=scale)
        return dq, dk, dv, None


def _forward(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    batch, n, _ = q.shape
    out = q.new_empty(batch, n, v.shape[-1])
    m, s = q.new_empty(2, batch, n, 1).unbind()
    for rows in _chunks(q, k):
        x = _scores(q[:, rows], k)
        torch.amax(x, -1, keepdim=True, out=m[:, rows])
        x.sub_(m[:, rows]).exp_()
        torch.sum(x, -1, keepdim=True, out=s[:, rows])
        torch.div(torch.bmm(x, v), s[:, rows], out=out[:, rows])
    return out, m, s


def _scores(q: Tensor, k: Tensor) -> Tensor:
    return torch.bmm(q, k.transpose(1, 2)).mul_(1 / math.sqrt(q.shape[-1]))


def _chunks(q: Tensor, k: Tensor) -> Iterator[slice]:
    batch, n, _ = q.shape
    rows = max(1, SCORES // (batch * k.shape[1]))
    return (slice(first, first + rows) for first in range(0, n, rows))


def _fused(q: Tensor, k: Tensor, v: Tensor, kernel: bool) -> Tensor:
    _check(q, k, v)
    flat = (each.reshape(-1, *each.shape[-2:]) for each in (q, k, v))
    out: Tensor = _Partial.apply(*flat, kernel)
    return out.reshape(*q.shape[:-1], v.shape[-1])


def _partial(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return _fused(q, k, v, False)


def _triton(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    kernels.need(q)
    return _fused(q, k, v, True)


def _sdpa(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    _check(q, k, v)
    # Fused only with a dimension of heads, and channels last: else it would hold the whole matrix.
    four = (each.reshape(-1, 1, *each.shape[-2:]) for each in (q, k, v))
    near = (each if each.stride(-1) == 1 else each.contiguous() for each in four)
    out = functional.scaled_dot_product_attention(*near)
    return out.reshape(*q.shape[:-1], v.shape[-1])


ATTENTION = Op("attention", attention, {"sdpa": _sdpa, "partial": _partial, "triton": _triton})
