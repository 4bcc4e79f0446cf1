r"""3×3 convolution with fewer multiplications, from exact rational matrices."""

__all__ = ["POINTS", "WINOGRAD", "Trade", "conv3x3", "matrices", "trade", "winograd"]

import functools
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from relume.errors import UsageError
from relume.ops.op import Op

POINTS = tuple(Fraction(text) for text in ("0", "1", "-1", "2", "-2", "1/2", "-1/2"))
"""Where the polynomials are evaluated, besides infinity; the first m + 1 of them."""
SIZES = (2, 4, 6)
_TAPS = 3

Matrix = list[list[Fraction]]


def matrices(m: int) -> tuple[Matrix, Matrix, Matrix]:
    r"""Aᵀ (m×n), G (n×3) and Bᵀ (n×n), n = m + 2, for m outputs of a filter with three taps.

    .. math::
        y = A^\top \left[(G g) \odot (B^\top d)\right]

    is the correlation of n values d with g, exactly: the transpose of the Cook-Toom product of polynomials
    of m and of 3 coefficients. With the points :math:`p_i`, the rows of Aᵀ's transpose and of G hold their
    powers, those of Bᵀ the coefficients of :math:`N_i(x) = \prod_{j ≠ i} (x - p_j)`; G is divided by
    :math:`N_i(p_i)`. The last row is the point at infinity.

    Raises
    ------
    UsageError
        If m is not 2, 4 or 6.

    Source: Winograd, *Arithmetic Complexity of Computations*, 1980; Lavin, Gray, *Fast Algorithms for
    Convolutional Neural Networks*, 2016.
    """
    if m not in SIZES:
        raise UsageError(f"there is no tile of {m}×{m}: choose m among {', '.join(map(str, SIZES))}")
    points = POINTS[: m + 1]
    others = [[p for p in points if p != own] for own in points]
    scale = [_value(_product(rest), own) for rest, own in zip(others, points, strict=True)]
    last = Fraction(1)
    a = [[p**power for p in points] + [last * (power == m - 1)] for power in range(m)]
    g = [[p**power / by for power in range(_TAPS)] for p, by in zip(points, scale, strict=True)]
    g.append([Fraction(0)] * (_TAPS - 1) + [last])
    b = [[*_product(rest), Fraction(0)] for rest in others]
    return a, g, [*b, _product(list(points))]


def _product(roots: list[Fraction]) -> list[Fraction]:
    """The coefficients of ∏ (x - root), the constant first."""
    found = [Fraction(1)]
    for root in roots:
        found = [
            high - root * low for high, low in zip([Fraction(0), *found], [*found, Fraction(0)], strict=True)
        ]
    return found


def _value(coefficients: list[Fraction], x: Fraction) -> Fraction:
    return sum((c * x**power for power, c in enumerate(coefficients)), Fraction(0))


@functools.cache
def _tensors(m: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    rows = ([[float(value) for value in row] for row in each] for each in matrices(m))
    # A tensor made under inference_mode could not be kept for a gradient.
    with torch.inference_mode(False):
        return tuple(torch.tensor(each, dtype=dtype, device=device) for each in rows)


@dataclass(frozen=True)
class Trade:
    """What a tile of m×m saves and costs against the direct convolution, each as a factor."""

    multiplications: Fraction
    intermediates: Fraction
    weights: Fraction


def trade(m: int) -> Trade:
    r"""Multiplications saved :math:`9m^2/(m+2)^2`; values :math:`(m+2)^2/m^2`, weights :math:`(m+2)^2/9`.

    >>> trade(4).multiplications, trade(4).intermediates, trade(4).weights
    (Fraction(4, 1), Fraction(9, 4), Fraction(4, 1))
    """
    n = m + _TAPS - 1
    return Trade(Fraction(9 * m * m, n * n), Fraction(n * n, m * m), Fraction(n * n, 9))


def conv3x3(x: Tensor, weight: Tensor, *, padding: int = 1) -> Tensor:
    r"""The direct convolution: ``x`` (B,C,H,W), ``weight`` (K,C,3,3) → (B,K,H+2p-2,W+2p-2), stride 1.

    Raises
    ------
    UsageError
        If the weight is not (K,C,3,3), or less than one pixel would come out.
    """
    _check(x, weight, padding)
    return functional.conv2d(x, weight, padding=padding)


def _check(x: Tensor, weight: Tensor, padding: int) -> None:
    if x.dim() != 4 or weight.dim() != 4 or tuple(weight.shape[1:]) != (x.shape[1], _TAPS, _TAPS):
        raise UsageError(f"a weight of {tuple(weight.shape)} does not fit {tuple(x.shape)}: give (K,C,3,3)")
    if padding < 0 or min(x.shape[2:]) + 2 * padding < _TAPS:
        raise UsageError(f"{tuple(x.shape)} is too small for a 3×3 filter: use more padding than {padding}")


def winograd(x: Tensor, weight: Tensor, *, padding: int = 1, m: int = 4) -> Tensor:
    r"""The convolution of :func:`conv3x3` by tiles of m×m outputs.

    .. math::
        Y = A^\top \left[\sum_c (G g_c G^\top) \odot (B^\top d_c B)\right] A

    over tiles d of (m+2)×(m+2) that overlap by two; the sum over channels is (m+2)² matrix products. The
    error grows with m. Half precision is transformed and summed in float32.

    Raises
    ------
    UsageError
        As :func:`conv3x3`, and if m is not 2, 4 or 6.

    Source: as :func:`matrices`.
    """
    _check(x, weight, padding)
    work = torch.promote_types(x.dtype, torch.float32)
    if m not in SIZES:
        matrices(m)
    a, g, b = _tensors(m, work, x.device)
    (batch, channels, height, width), n = x.shape, m + _TAPS - 1
    out = [size + 2 * padding - _TAPS + 1 for size in (height, width)]
    down, across = (-(-size // m) for size in out)
    margins = [padding, across * m + 2 - width - padding, padding, down * m + 2 - height - padding]
    tiles = functional.pad(x.to(work), margins).unfold(2, n, m).unfold(3, n, m)
    v = (b @ tiles @ b.T).permute(4, 5, 1, 0, 2, 3).reshape(n * n, channels, -1)
    u = (g @ weight.to(work) @ g.T).permute(2, 3, 0, 1).reshape(n * n, -1, channels)
    y = (u @ v).view(n, n, -1, batch, down, across).permute(3, 2, 4, 5, 0, 1)
    y = (a @ y @ a.T).transpose(3, 4).reshape(batch, -1, down * m, across * m)
    return y[:, :, : out[0], : out[1]].to(x.dtype).contiguous()


def _tile(m: int) -> Any:
    return functools.partial(winograd, m=m)


WINOGRAD = Op("conv3x3", conv3x3, {"torch": conv3x3, **{f"winograd-{m}": _tile(m) for m in SIZES}})
