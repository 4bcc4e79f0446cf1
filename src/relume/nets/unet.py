r"""The conditional U-Net of the original 300-step system: GroupNorm, SiLU, attention, full resolution."""

__all__ = ["UNet", "UNetConfig"]

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from relume.errors import UsageError


@dataclass(frozen=True)
class UNetConfig:
    """Shape of a :class:`UNet`.

    ``conditional`` nets read the damaged picture next to the noisy one (6 channels in); the others generate
    from noise alone. Attention runs at the lowest ``attention`` levels.
    """

    channels: int = 3
    conditional: bool = True
    base: int = 32
    multipliers: tuple[int, ...] = (1, 2, 2, 3)
    blocks: int = 1
    attention: int = 1
    groups: int = 8

    @property
    def multiple_of(self) -> int:
        """What height and width must be multiples of."""
        return int(2 ** (len(self.multipliers) - 1))


def sinusoidal(t: Tensor, width: int) -> Tensor:
    """t in [0,1] (B,) → (B,width) sines and cosines of 1000·t, at geometrically spaced frequencies."""
    half = width // 2
    frequencies = torch.exp(torch.arange(half, device=t.device) * (-math.log(10_000) / (half - 1)))
    phase = 1000 * t[:, None].float() * frequencies[None]
    return torch.cat([phase.sin(), phase.cos()], dim=1)


class _Residual(nn.Module):
    def __init__(self, c_in: int, c_out: int, time_width: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.time = nn.Linear(time_width, 2 * c_out)
        self.norm2 = nn.GroupNorm(groups, c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv1(nn.functional.silu(self.norm1(x)))
        scale, shift = self.time(time)[:, :, None, None].chunk(2, dim=1)
        h = self.norm2(h) * (1 + scale) + shift
        return self.skip(x) + self.conv2(nn.functional.silu(h))


class _Attention(nn.Module):
    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        # One head as a dimension of its own, and channels last: else torch holds the whole matrix of scores.
        qkv = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).contiguous()
        q, k, v = qkv[:, None].chunk(3, dim=3)
        h = nn.functional.scaled_dot_product_attention(q, k, v)[:, 0]
        return x + self.out(h.transpose(1, 2).reshape(x.shape))


class UNet(nn.Module):
    r"""``forward(x, t, condition)`` → a prediction of x's shape: ε, v or x0, as it was trained.

    ``x`` (B,C,H,W) in about [-1,1] plus noise, ``t`` (B,) in [0,1] (1 = noise), ``condition`` (B,C,H,W) in
    [-1,1], or ``None`` for a net that was built unconditional; H and W multiples of ``config.multiple_of``.
    An untrained net answers zero.

    Raises
    ------
    UsageError
        If a condition is missing, or given to a net that was built without.

    Source: Ho, Jain, Abbeel, *Denoising Diffusion Probabilistic Models*, 2020; conditioning by concatenation
    as Saharia et al., *Palette*, 2022.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        base, e, g = config.base, 4 * config.base, config.groups
        widths = [base * m for m in config.multipliers]
        self.time1 = nn.Linear(base, e)
        self.time2 = nn.Linear(e, e)
        self.stem = nn.Conv2d(config.channels * (2 if config.conditional else 1), base, 3, padding=1)
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        skips, c = [base], base
        for level, w in enumerate(widths):
            attend = level >= len(widths) - config.attention
            for _ in range(config.blocks):
                self.down.append(
                    nn.ModuleList([_Residual(c, w, e, g), _Attention(w, g) if attend else nn.Identity()])
                )
                c = w
                skips.append(c)
            if level < len(widths) - 1:
                self.down.append(nn.ModuleList([nn.Conv2d(c, c, 3, stride=2, padding=1)]))
                skips.append(c)
        self.middle = nn.ModuleList([_Residual(c, c, e, g), _Attention(c, g), _Residual(c, c, e, g)])
        for level, w in reversed(list(enumerate(widths))):
            attend = level >= len(widths) - config.attention
            for _ in range(config.blocks + 1):
                self.up.append(
                    nn.ModuleList(
                        [_Residual(c + skips.pop(), w, e, g), _Attention(w, g) if attend else nn.Identity()]
                    )
                )
                c = w
            if level:
                self.up.append(nn.ModuleList([nn.Conv2d(c, c, 3, padding=1)]))
        self.norm = nn.GroupNorm(g, c)
        self.head = nn.Conv2d(c, config.channels, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        if (condition is not None) != self.config.conditional:
            wanted = "needs" if self.config.conditional else "takes no"
            raise UsageError(
                f"this net {wanted} condition: it was built conditional={self.config.conditional}"
            )
        time = nn.functional.silu(self.time1(sinusoidal(t, self.config.base)))
        time = nn.functional.silu(self.time2(time))
        h = self.stem(x if condition is None else torch.cat([x, condition], dim=1))
        skips = [h]
        for stage in self.down:
            parts = list(stage)
            h = parts[1](parts[0](h, time)) if len(parts) == 2 else parts[0](h)
            skips.append(h)
        h = self.middle[2](self.middle[1](self.middle[0](h, time)), time)
        for stage in self.up:
            parts = list(stage)
            if len(parts) == 2:
                h = parts[1](parts[0](torch.cat([h, skips.pop()], dim=1), time))
            else:
                h = parts[0](nn.functional.interpolate(h, scale_factor=2.0, mode="nearest"))
        return self.head(nn.functional.silu(self.norm(h)))
