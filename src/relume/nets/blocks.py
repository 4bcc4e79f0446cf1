r"""Residual blocks, interchangeable under one signature: (B,C,H,W), time features (B,E) → (B,C,H,W)."""

__all__ = ["Addition", "BLOCKS", "Block", "NafBlock", "ConvBlock", "RmsNorm", "TimeFeatures"]

from collections.abc import Callable

import torch
from torch import Tensor, nn

from relume.errors import UsageError


class RmsNorm(nn.Module):
    r"""Each pixel's channels divided by their root mean square, times a learned scale.

    Unlike GroupNorm it looks at one pixel only, so a result does not depend on the tile it was computed in,
    and CPU engines keep their channels-last layout.

    Source: Zhang, Sennrich, *Root Mean Square Layer Normalization*, 2019.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6) * self.scale


class TimeFeatures(nn.Module):
    """t in [0,1] (B,) → (B, width), by a small perceptron on powers and square root of t."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(4, width)
        self.out = nn.Linear(width, width)

    def forward(self, t: Tensor) -> Tensor:
        t = t[:, None]
        features = torch.cat([t, t * t, torch.sqrt(t + 1e-4), torch.ones_like(t)], dim=1)
        return self.out(nn.functional.silu(self.hidden(features)))


class Addition(nn.Module):
    """What a net can grow by without changing its output."""

    def silence(self) -> None:
        """Make it add nothing, so that it can still learn."""
        raise NotImplementedError


class Block(Addition):
    """What the blocks share: the signature, and that one more is an identity at first."""


class NafBlock(Block):
    r"""Pointwise expansion, 3×3 depthwise, a product for a non-linearity; then a gated pointwise pair.

    The channel attention of the original block averages over the whole picture; it is left out, because a
    tile must not know its own borders. Without a ``time_width`` the block knows no time.

    Source: Chen et al., *Simple Baselines for Image Restoration*, 2022.
    """

    def __init__(self, channels: int, time_width: int = 0) -> None:
        super().__init__()
        self.norm1 = RmsNorm(channels)
        self.expand1 = nn.Conv2d(channels, 2 * channels, 1)
        self.depthwise = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.project1 = nn.Conv2d(channels, channels, 1)
        self.norm2 = RmsNorm(channels)
        self.expand2 = nn.Conv2d(channels, 2 * channels, 1)
        self.project2 = nn.Conv2d(channels, channels, 1)
        self.time = nn.Linear(time_width, 2 * channels) if time_width else None
        for layer in (self.project1, self.project2):
            nn.init.normal_(layer.weight, std=0.3 * channels**-0.5)
            nn.init.zeros_(layer.bias)
        if self.time is not None:
            nn.init.zeros_(self.time.weight)
            nn.init.zeros_(self.time.bias)

    def silence(self) -> None:
        nn.init.zeros_(self.project1.weight)
        nn.init.zeros_(self.project2.weight)

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        half = self.project1.in_channels  # a number of Python: a chunk would be exported as a dance of shapes
        h = self.norm1(x)
        if self.time is not None:
            if time is None:
                raise UsageError("this block was built with time features: give them")
            scale, shift = self.time(time)[:, :, None, None].split(half, dim=1)
            h = h * (1 + scale) + shift
        a, b = self.depthwise(self.expand1(h)).split(half, dim=1)
        x = x + self.project1(a * b)
        a, b = self.expand2(self.norm2(x)).split(half, dim=1)
        return x + self.project2(a * b)


class ConvBlock(Block):
    """Two 3×3 convolutions with SiLU, scaled and shifted by time: the U-Net block of diffusion models."""

    def __init__(self, channels: int, time_width: int) -> None:
        super().__init__()
        self.norm1 = RmsNorm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = RmsNorm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.time = nn.Linear(time_width, 2 * channels)
        self.silence()

    def silence(self) -> None:
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.time(time)[:, :, None, None].chunk(2, dim=1)
        h = self.conv1(nn.functional.silu(self.norm1(x)))
        h = self.norm2(h) * (1 + scale) + shift
        return x + self.conv2(nn.functional.silu(h))


BLOCKS: dict[str, Callable[[int, int], Block]] = {"naf": NafBlock, "conv": ConvBlock}
