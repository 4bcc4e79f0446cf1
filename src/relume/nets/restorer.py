r"""The few-step restorer: a U-Net behind a pixel-unshuffle stem, without any whole-picture operation."""

__all__ = ["Restorer", "RestorerConfig"]

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from relume.errors import UsageError
from relume.nets.blocks import BLOCKS, TimeFeatures


@dataclass(frozen=True)
class RestorerConfig:
    """Shape of a :class:`Restorer`.

    ``widths`` gives the channels per level, the first at half resolution; ``encoder``, ``middle`` and
    ``decoder`` count the blocks. Height and width must be multiples of ``2 ** len(widths)``.

    Raises
    ------
    UsageError
        If the lists do not describe a U: ``encoder`` and ``decoder`` have one entry less than ``widths``.
    """

    widths: tuple[int, ...] = (32, 64, 128, 256)
    encoder: tuple[int, ...] = (2, 2, 2)
    middle: int = 4
    decoder: tuple[int, ...] = (2, 2, 2)
    block: str = "naf"
    time_width: int = 64

    def __post_init__(self) -> None:
        if not len(self.encoder) == len(self.decoder) == len(self.widths) - 1:
            raise UsageError(
                f"a restorer of {len(self.widths)} widths has {len(self.widths) - 1} entries in encoder and "
                f"decoder, not {len(self.encoder)} and {len(self.decoder)}"
            )
        if self.block not in BLOCKS:
            raise UsageError(f"no block is called {self.block!r}; there are: {', '.join(BLOCKS)}")

    @property
    def multiple_of(self) -> int:
        """What height and width must be multiples of."""
        return int(2 ** len(self.widths))


class Restorer(nn.Module):
    r"""Predicts the clean picture, and sees the damage.

    ``forward(x, condition, t)``: ``x`` (B,3,H,W) is the state of the chain (at t = 1 the damaged picture
    itself), ``condition`` (B,4,H,W) the damaged picture and a mask in [0,1] (zeros: nothing is known), ``t``
    (B,) in [0,1]. Returns (B,4,H,W): the clean picture in about [0,1] and the logit of damage.

    The last convolution starts at zero, so that an untrained net copies the damaged picture.
    """

    def __init__(self, config: RestorerConfig) -> None:
        super().__init__()
        self.config = config
        block = BLOCKS[config.block]
        widths, e = config.widths, config.time_width
        self.time = TimeFeatures(e)
        self.stem = nn.Conv2d(7 * 4, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList()
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for level, count in enumerate(config.encoder):
            self.encoder.append(nn.ModuleList(block(widths[level], e) for _ in range(count)))
            self.down.append(nn.Conv2d(widths[level], widths[level + 1], 2, stride=2))
        self.middle = nn.ModuleList(block(widths[-1], e) for _ in range(config.middle))
        for level in reversed(range(len(config.decoder))):
            self.up.append(nn.Conv2d(widths[level + 1], 4 * widths[level], 1))
            self.decoder.append(nn.ModuleList(block(widths[level], e) for _ in range(config.decoder[level])))
        self.head = nn.Conv2d(widths[0], 4 * 4, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor, condition: Tensor, t: Tensor) -> Tensor:
        time = self.time(t)
        h = self.stem(nn.functional.pixel_unshuffle(torch.cat([x, condition], dim=1) - 0.5, 2))
        skips = []
        for blocks, down in zip(self.encoder, self.down, strict=True):
            for block in blocks:
                h = block(h, time)
            skips.append(h)
            h = down(h)
        for block in self.middle:
            h = block(h, time)
        for up, blocks in zip(self.up, self.decoder, strict=True):
            h = nn.functional.pixel_shuffle(up(h), 2) + skips.pop()
            for block in blocks:
                h = block(h, time)
        out = nn.functional.pixel_shuffle(self.head(h), 2)
        return torch.cat([condition[:, :3] + out[:, :3], out[:, 3:] * 4 - 3], dim=1)
