r"""The two nets of pix2pix: a U-Net that reads the background off a raw image, and a judge of patches.

The generator gives the logarithm of the background and not the corrected image, so that the sample's detail
comes from the raw image alone and cannot be invented.

Source: Isola, Zhu, Zhou, Efros, *Image-to-Image Translation with Conditional Adversarial Networks*, 2017.
"""

__all__ = ["BackgroundConfig", "BackgroundNet", "PatchConfig", "PatchNet"]

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from relume.errors import UsageError
from relume.nets.blocks import Addition, NafBlock, RmsNorm


@dataclass(frozen=True)
class BackgroundConfig:
    """Shape of a :class:`BackgroundNet`.

    ``channels`` go in: log counts over their median, and whatever else is known (the instrument's fixed map,
    another tile). There is one halving of the image per entry of ``widths``. With ``uncertain`` a second
    channel comes out: the log-variance of the first. ``dropout`` works in the three lowest steps up.

    The first net had one convolution a level. ``blocks`` adds gated residual blocks after every halving and
    after every doubling but the last, and ``attention`` lets each place of that many of the lowest levels,
    the very lowest left out, look at all others, in heads of 32 channels. ``finer`` lays a level of that many
    channels around all of it: the rest then works on an image of half the size, and fringes, scratches and
    edges that are too fine for it go past it.
    """

    channels: int = 1
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    uncertain: bool = False
    dropout: float = 0.0
    blocks: int = 0
    attention: int = 0
    finer: int = 0

    @property
    def multiple_of(self) -> int:
        """What height and width must be multiples of."""
        return int(2 ** (len(self.widths) + bool(self.finer)))


class _Down(nn.Sequential):
    def __init__(self, c_in: int, c_out: int, *, norm: bool) -> None:
        first = [RmsNorm(c_in)] if norm else []
        super().__init__(*first, nn.Conv2d(c_in, c_out, 4, stride=2, padding=1), nn.LeakyReLU(0.2))


class _Up(nn.Module):
    """Twice the size, then a 3×3 convolution; a transposed one would leave a checkerboard in B."""

    def __init__(self, c_in: int, c_skip: int, c_out: int, dropout: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in + c_skip, c_out, 3, padding=1)
        self.norm = RmsNorm(c_out)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        return nn.functional.silu(self.dropout(self.norm(self.conv(torch.cat([x, skip], dim=1)))))


_HEAD = 32  # channels of a head of attention


class _SelfAttention(Addition):
    """Every place of a frame looks at all others; where a place is, the net's input says."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(1, channels // _HEAD)
        if channels % self.heads:
            raise UsageError(f"attention on {channels} channels: widths are to be multiples of {_HEAD} there")
        self.norm = RmsNorm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.project = nn.Conv2d(channels, channels, 1)
        self.silence()

    def silence(self) -> None:
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, x: Tensor) -> Tensor:
        width = self.project.in_channels
        h, w = x.shape[-2:]
        q, k, v = (
            part.flatten(2).unflatten(1, (self.heads, width // self.heads)).transpose(2, 3)
            for part in self.qkv(self.norm(x)).split(width, dim=1)
        )
        seen = nn.functional.scaled_dot_product_attention(q, k, v)
        return x + self.project(seen.transpose(2, 3).flatten(1, 2).unflatten(2, (h, w)))


class _Finer(Addition):
    """The level around a net that sees half of the size: one way in beside it, one way out on top of it."""

    def __init__(self, config: BackgroundConfig, c_out: int) -> None:
        super().__init__()
        width, seen = config.finer, config.widths[0]
        self.down = _Down(config.channels, width, norm=False)
        self.encoder = _level(width, config, attention=False)
        self.enter = nn.Conv2d(width, seen, 4, stride=2, padding=1)
        self.join = nn.Conv2d(c_out + width, width, 1)
        self.decoder = _level(width, config, attention=False)
        self.up = _Up(width, config.channels, max(1, width // 2), 0.0)
        self.out = nn.Conv2d(max(1, width // 2), 2 if config.uncertain else 1, 3, padding=1)
        self.silence()

    def silence(self) -> None:
        for layer in (self.enter, self.out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, fine: Tensor, h: Tensor) -> Tensor:
        """What is added to the enlarged answer; ``fine`` is what ``encoder`` made of the image."""
        return self.out(self.up(self.decoder(self.join(torch.cat([h, fine], dim=1))), x))


class BackgroundNet(nn.Module):
    """(B, channels, H, W) → log background (B, 1, H, W), or with its log-variance (B, 2, H, W).

    H and W are multiples of ``config.multiple_of``. But for convolutions and attention, which is given whole
    frames and never tiles, no operation looks past a pixel.

    Raises
    ------
    UsageError
        If ``widths`` is empty, ``dropout`` lies outside of [0, 1), ``blocks`` or ``finer`` is negative, there
        are not as many levels as ``attention`` wants, or a width there is no multiple of 32.

    Source of the blocks: Chen et al., *Simple Baselines for Image Restoration*, 2022; of the attention:
    Vaswani et al., *Attention Is All You Need*, 2017.
    """

    def __init__(self, config: BackgroundConfig) -> None:
        super().__init__()
        if not config.widths or not 0 <= config.dropout < 1:
            raise UsageError(
                "a background net needs a width or more, and a dropout of at least 0 and below 1"
            )
        if min(config.blocks, config.finer) < 0 or not 0 <= config.attention < len(config.widths):
            raise UsageError(
                f"a background net of {len(config.widths)} widths takes blocks and finer from 0 on and "
                f"attention from 0 to {len(config.widths) - 1}, not {config.blocks}, {config.finer} and "
                f"{config.attention}"
            )
        self.config = config
        widths = (config.channels, *config.widths)
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(_Down(a, b, norm=i > 0) for i, (a, b) in enumerate(pairs))
        steps = len(pairs)
        outs = [max(pairs[i][0], widths[1] // 2) if i else widths[1] // 2 for i in range(steps)]
        ins = [*outs[1:], widths[-1]]
        self.up = nn.ModuleList(
            _Up(ins[i], widths[i], max(1, outs[i]), config.dropout if i >= steps - 3 else 0.0)
            for i in range(steps)
        )
        attentive = range(steps - 1 - config.attention, steps - 1)
        self.encoder = nn.ModuleList(
            _level(width, config, i in attentive) for i, width in enumerate(widths[1:])
        )
        self.decoder = nn.ModuleList(
            _level(max(1, outs[i]), config, i - 1 in attentive) for i in range(1, steps)
        )
        self.out = nn.Conv2d(max(1, outs[0]), 2 if config.uncertain else 1, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.finer = _Finer(config, max(1, outs[0])) if config.finer else None

    def forward(self, x: Tensor) -> Tensor:
        if self.finer is None:
            return self.out(self._features(x, None))
        fine = self.finer.encoder(self.finer.down(x))
        h = self._features(nn.functional.avg_pool2d(x, 2), self.finer.enter(fine))
        coarse = self.out(h)
        coarse = nn.functional.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=False)
        return coarse + self.finer(x, fine, h)

    def _features(self, x: Tensor, entering: Tensor | None) -> Tensor:
        """What the answer is read from, at the size of x; ``entering`` is added after the first halving."""
        skips = [x]
        for i, (down, level) in enumerate(zip(self.down, self.encoder, strict=True)):
            h = down(skips[-1])
            skips.append(level(h if i or entering is None else h + entering))
        h = skips.pop()
        for i in reversed(range(len(self.up))):
            h = self.up[i](h, skips.pop())
            if i:
                h = self.decoder[i - 1](h)
        return h


def _level(channels: int, config: BackgroundConfig, attention: bool) -> nn.Sequential:
    """What happens on a level between two changes of size."""
    layers: list[nn.Module] = [NafBlock(channels) for _ in range(config.blocks)]
    return nn.Sequential(*layers, *([_SelfAttention(channels)] if attention else []))


@dataclass(frozen=True)
class PatchConfig:
    """Shape of a :class:`PatchNet`. ``channels`` go in: those of the generator's input, and a background."""

    channels: int = 2
    widths: tuple[int, ...] = (64, 128, 256, 512)


class PatchNet(nn.Module):
    """(B, channels, H, W) → one logit for each patch: is this background the true one?

    All layers but the last two halve the image. With four widths a logit sees 70×70 pixels.
    """

    def __init__(self, config: PatchConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        before = config.channels
        for i, width in enumerate(config.widths):
            last = i == len(config.widths) - 1
            layers.append(nn.Conv2d(before, width, 4, stride=1 if last else 2, padding=1))
            layers += ([RmsNorm(width)] if i else []) + [nn.LeakyReLU(0.2)]
            before = width
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, 1, 4, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
