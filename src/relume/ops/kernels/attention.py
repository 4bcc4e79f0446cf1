r"""Partially fused softmax: the scores of a block of queries are made twice and never leave the chip.

First their maxima and sums; then they are made anew, and exp(X - m) goes straight into the product with v.
Unlike in FlashAttention the product is never rescaled, so fewer registers are alive in each of the loops.
"""

__all__ = ["forward"]

import math
from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from relume.ops.kernels.gelu import work_type

_ROWS = 32
_COLUMNS = 32


@triton.jit
def _scores(q: Any, k_ptr: Any, first: Any, keys: Any, scale: Any, DEPTH: tl.constexpr, WIDTH: tl.constexpr,
            COLUMNS: tl.constexpr, WORK: tl.constexpr) -> Any:  # fmt: skip
    at, depth = first + tl.arange(0, COLUMNS), tl.arange(0, WIDTH)
    inside = (at[None, :] < keys) & (depth[:, None] < DEPTH)
    k = tl.load(k_ptr + at[None, :] * DEPTH + depth[:, None], mask=inside, other=0.0)
    x = tl.dot(q, k, input_precision="ieee", out_dtype=WORK) * scale
    return tl.where(at[None, :] < keys, x, float("-inf"))


@triton.jit
def _kernel(
    q_ptr: Any,
    k_ptr: Any,
    v_ptr: Any,
    out_ptr: Any,
    m_ptr: Any,
    s_ptr: Any,
    queries: Any,
    keys: Any,
    scale: Any,
    DEPTH: tl.constexpr,
    VALUES: tl.constexpr,
    D_WIDTH: tl.constexpr,
    V_WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    WORK: tl.constexpr,
) -> None:
    one = tl.program_id(1).to(tl.int64)
    q_ptr += one * queries * DEPTH
    k_ptr += one * keys * DEPTH
    v_ptr += one * keys * VALUES
    row, depth, value = (
        tl.program_id(0) * ROWS + tl.arange(0, ROWS),
        tl.arange(0, D_WIDTH),
        tl.arange(0, V_WIDTH),
    )
    inside = (row[:, None] < queries) & (depth[None, :] < DEPTH)
    q = tl.load(q_ptr + row[:, None] * DEPTH + depth[None, :], mask=inside, other=0.0)
    m = tl.full([ROWS], float("-inf"), WORK)
    s = tl.zeros([ROWS], WORK)
    for first in range(0, keys, COLUMNS):
        x = _scores(q, k_ptr, first, keys, scale, DEPTH, D_WIDTH, COLUMNS, WORK)
        higher = tl.maximum(m, tl.max(x, 1))
        s = s * tl.exp(m - higher) + tl.sum(tl.exp(x - higher[:, None]), 1)
        m = higher
    out = tl.zeros([ROWS, V_WIDTH], WORK)
    for first in range(0, keys, COLUMNS):
        x = _scores(q, k_ptr, first, keys, scale, DEPTH, D_WIDTH, COLUMNS, WORK)
        at = first + tl.arange(0, COLUMNS)
        inside = (at[:, None] < keys) & (value[None, :] < VALUES)
        v = tl.load(v_ptr + at[:, None] * VALUES + value[None, :], mask=inside, other=0.0)
        p = tl.exp(x - m[:, None]) / s[:, None]
        out = tl.dot(p.to(v.dtype), v, out, input_precision="ieee", out_dtype=WORK)
    inside = (row[:, None] < queries) & (value[None, :] < VALUES)
    out_ptr += one * queries * VALUES
    tl.store(out_ptr + row[:, None] * VALUES + value[None, :], out.to(out_ptr.dtype.element_ty), mask=inside)
    tl.store(m_ptr + one * queries + row, m.to(m_ptr.dtype.element_ty), mask=row < queries)
    tl.store(s_ptr + one * queries + row, s.to(s_ptr.dtype.element_ty), mask=row < queries)


def forward(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q (B,n,d), k (B,m,d), v (B,m,e) → (B,n,e), and m and s, (B,n,1) each."""
    q, k, v = (each.contiguous() for each in (q, k, v))
    batch, queries, depth = q.shape
    keys, values = v.shape[1:]
    out = q.new_empty(batch, queries, values)
    m, s = q.new_empty(2, batch, queries, 1).unbind()
    widths = [max(16, triton.next_power_of_2(size)) for size in (depth, values)]
    _kernel[(triton.cdiv(queries, _ROWS), batch)](
        q, k, v, out, m, s, queries, keys, 1 / math.sqrt(depth),
        DEPTH=depth, VALUES=values, D_WIDTH=widths[0], V_WIDTH=widths[1],
        ROWS=_ROWS, COLUMNS=_COLUMNS, WORK=work_type(q),
    )  # fmt: skip
    return out, m, s
