r"""One operation in several ways, equal in value and gradient → ``Op``; the fastest is chosen by measurement.

>>> import torch
>>> x = torch.randn(1, 8, 4, 4)
>>> y = GROUP_NORM_SILU.ways["saving"](x, torch.ones(8), torch.zeros(8), groups=2)
>>> torch.allclose(y, group_norm_silu(x, torch.ones(8), torch.zeros(8), groups=2), atol=1e-6)
True
"""

__all__ = [
    "OPS",
    "ATTENTION",
    "GELU",
    "GROUP_NORM_SILU",
    "Op",
    "Trade",
    "WINOGRAD",
    "attention",
    "conv3x3",
    "fastest",
    "gelu",
    "group_norm_silu",
    "matrices",
    "trade",
    "winograd",
]

from relume.ops.attention import ATTENTION, attention
from relume.ops.gelu import GELU, gelu
from relume.ops.group_norm_silu import GROUP_NORM_SILU, group_norm_silu
from relume.ops.op import Op, fastest
from relume.ops.winograd import WINOGRAD, Trade, conv3x3, matrices, trade, winograd

OPS: dict[str, Op] = {op.name: op for op in (GROUP_NORM_SILU, GELU, ATTENTION, WINOGRAD)}
