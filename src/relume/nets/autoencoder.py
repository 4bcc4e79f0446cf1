r"""An autoencoder of photographs: a quarter of the side, few channels, no operation on the whole picture."""

__all__ = ["Autoencoder", "AutoencoderConfig", "Coded"]

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from relume.errors import UsageError
from relume.nets.blocks import BLOCKS, Block
from relume.nets.pix2pix import PatchConfig, PatchNet

_CELL = 4  # pixels of a picture, along a side, that one place of the latent stands for


@dataclass(frozen=True)
class AutoencoderConfig:
    """Shape of an :class:`Autoencoder`.

    ``latent`` counts the channels of the latent, ``width`` those of the ``blocks`` blocks on either side.
    ``judge`` gives the widths of a :class:`~relume.nets.PatchNet` that sees latents in training (none: no
    judge); with one width a logit sees 28×28 pixels, which is damage and texture rather than what is shown.

    Raises
    ------
    UsageError
        If a count is below 1 or the block is unknown.
    """

    latent: int = 16
    width: int = 64
    blocks: int = 3
    block: str = "conv"
    judge: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if min(self.latent, self.width, self.blocks) < 1:
            raise UsageError("an autoencoder has at least one latent channel, one of width, and one block")
        if self.block not in BLOCKS:
            raise UsageError(f"no block is called {self.block!r}; there are: {', '.join(BLOCKS)}")

    @property
    def multiple_of(self) -> int:
        """What height and width must be multiples of."""
        return _CELL


class Coded(NamedTuple):
    """What training asks of an autoencoder, in one call.

    ``picture`` is decoded from the latent plus noise; ``latent`` is the one without; ``again`` the latent of
    ``picture``, or ``None`` if it was not asked for.
    """

    picture: Tensor
    latent: Tensor
    again: Tensor | None


class Blocks(nn.Module):
    """Blocks in a row, (B,C,H,W) → the same, for nets that know no time: it is held at one."""

    def __init__(self, kind: str, channels: int, count: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(BLOCKS[kind](channels, 1) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        time = x.new_ones(len(x), 1)
        block: Block
        for block in self.blocks:
            x = block(x, time)
        return x


class Autoencoder(nn.Module):
    r"""Picture (B,3,H,W) in about [0,1] → the same picture through a latent (B, ``latent``, H/4, W/4).

    :meth:`encode` and :meth:`decode` are its halves, both without chance; H and W are multiples of 4. A place
    of the latent depends on a neighbourhood of the picture alone, so tiles may be coded one by one.

    Source: Wan et al., *Bringing Old Photos Back to Life*, 2020, in whose two variational autoencoders the
    encoder gives a mean and the noise is added in training.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        pixels, width = 3 * _CELL**2, config.width
        self.stem = nn.Conv2d(pixels, width, 3, padding=1)
        self.down = Blocks(config.block, width, config.blocks)
        self.to_latent = nn.Conv2d(width, config.latent, 1)
        self.from_latent = nn.Conv2d(config.latent, width, 3, padding=1)
        self.up = Blocks(config.block, width, config.blocks)
        self.head = nn.Conv2d(width, pixels, 3, padding=1)
        self.judge = (
            PatchNet(PatchConfig(channels=config.latent, widths=config.judge)) if config.judge else None
        )

    def encode(self, picture: Tensor) -> Tensor:
        """(B,3,H,W) → (B, latent, H/4, W/4)."""
        return self.to_latent(self.down(self.stem(nn.functional.pixel_unshuffle(2 * picture - 1, _CELL))))

    def decode(self, latent: Tensor) -> Tensor:
        """(B, latent, h, w) → (B,3,4h,4w)."""
        out = nn.functional.pixel_shuffle(self.head(self.up(self.from_latent(latent))), _CELL)
        return (out + 1) / 2

    def forward(self, picture: Tensor, noise: Tensor | None = None, again: bool = False) -> Tensor | Coded:
        """The picture through its latent; with ``noise`` for the latent, also what lay between."""
        latent = self.encode(picture)
        if noise is None:
            return self.decode(latent)
        made = self.decode(latent + noise)
        return Coded(made, latent, self.encode(made) if again else None)

    def judged(self, latent: Tensor, *, learning: bool) -> Tensor:
        """The judge's logits. ``learning``: of the judge, for what made the latent; else it is the other way.

        Raises
        ------
        UsageError
            If the net was built without a judge.
        """
        if self.judge is None:
            raise UsageError("this autoencoder has no judge: give its config a width or more for one")
        if learning:
            return self.judge(latent.detach())
        still = {name: value.detach() for name, value in self.judge.named_parameters()}
        return torch.func.functional_call(self.judge, still, (latent,))
