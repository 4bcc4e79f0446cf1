r"""From the latent of a damaged picture to the latent of a clean one, with a block that fills what is masked.

Source: Wan et al., *Bringing Old Photos Back to Life*, 2020. There every place attends to every other one of
the whole picture; here it attends to means of cells near it, so that memory is linear in the picture and a
result does not depend on the tile.
"""

__all__ = ["Translator", "TranslatorConfig", "PartialNonLocal", "latent_mask"]

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from relume.errors import UsageError
from relume.nets.autoencoder import Blocks
from relume.nets.blocks import BLOCKS, RmsNorm

_POOL = 2  # places of the latent, along a side, whose mean is one key


def latent_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """(B,1,H,W) in [0,1] → (B,1,h,w) of zeros and ones: a place that damage touches at all is damaged."""
    touched: Tensor = nn.functional.adaptive_max_pool2d((mask > 0.2).to(mask.dtype), size)
    return touched


@dataclass(frozen=True)
class TranslatorConfig:
    """Shape of a :class:`Translator`.

    ``latent`` channels go in and come out; ``width`` channels and ``before`` plus ``after`` blocks between,
    round the partial non-local block, which sees ``radius`` cells of 2×2 places to each side.

    Raises
    ------
    UsageError
        If a count is below 1 or the block is unknown.
    """

    latent: int = 16
    width: int = 64
    before: int = 2
    after: int = 6
    radius: int = 3
    block: str = "conv"

    def __post_init__(self) -> None:
        if min(self.latent, self.width, self.before, self.after, self.radius) < 1:
            raise UsageError("every count of a translator is at least 1")
        if self.block not in BLOCKS:
            raise UsageError(f"no block is called {self.block!r}; there are: {', '.join(BLOCKS)}")

    @property
    def multiple_of(self) -> int:
        """What the latent's height and width must be multiples of."""
        return _POOL


class PartialNonLocal(nn.Module):
    r"""Fills masked places from unmasked ones near them, and leaves the others alone.

    With m = 1 where masked, and s over the cells near place i,

    .. math:: y_i = W \frac{\sum_s v_s e^{θ_i · φ_s} g_s}{\sum_s v_s e^{θ_i · φ_s}},
        \qquad x'_i = (1 - m_i)\, x_i + m_i\, y_i ,

    where φ_s and g_s are read off the mean of the unmasked places of cell s, and v_s is 0 if it has none: a
    masked place has no weight, whatever it holds. Nor has it a say in what it asks for: θ_i of a masked place
    is read off the mean of the unmasked ones near it. With no unmasked cell in reach y is 0.
    """

    def __init__(self, channels: int, radius: int) -> None:
        super().__init__()
        self.radius = radius
        self.norm = RmsNorm(channels)
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.out = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B,C,h,w) and (B,1,h,w) of zeros and ones → (B,C,h,w); h and w are even."""
        weights, values = self.attention(x, mask)
        filled = torch.einsum("bnqk,bnkc->bnqc", weights, values)
        y = _from_cells(filled, x.shape[2] // _POOL)
        # where, not a product: a masked place may hold anything, infinity included.
        return torch.where(mask > 0, self.out(y), x)

    def attention(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (B, cells, 4, keys), whose sum is 1 or, without a key, 0; values (B, cells, keys, C)."""
        kept = torch.where(mask > 0, torch.zeros_like(x), x)
        share = nn.functional.avg_pool2d(1 - mask, _POOL)
        cells = nn.functional.avg_pool2d(kept, _POOL) / share.clamp(min=1 / _POOL**2)
        valid = _near((share > 0).to(x.dtype), self.radius)[..., 0]
        about = self._about(cells, share)
        asking = self.query(self.norm(torch.where(mask > 0, about, kept)))
        normed = self.norm(cells)
        keys, values = (_near(part(normed), self.radius) for part in (self.key, self.value))
        logits = torch.einsum("bnqc,bnkc->bnqk", _to_cells(asking), keys) * x.shape[1] ** -0.5
        logits = logits - logits.amax(dim=3, keepdim=True).detach()
        weights = torch.exp(logits) * valid[:, :, None]
        return weights / weights.sum(dim=3, keepdim=True).clamp(min=1e-12), values

    def _about(self, cells: Tensor, share: Tensor) -> Tensor:
        """The mean of the unmasked cells in reach, at the size of the latent."""
        side = 2 * self.radius + 1
        near = [nn.functional.avg_pool2d(part, side, 1, self.radius) for part in (cells * share, share)]
        mean = near[0] / near[1].clamp(min=1e-6)
        return nn.functional.interpolate(mean, scale_factor=float(_POOL), mode="nearest")


def _near(cells: Tensor, radius: int) -> Tensor:
    """(B,C,h,w) → (B, h·w, keys, C): each cell's neighbourhood, zeros beyond the border."""
    side = 2 * radius + 1
    columns = nn.functional.unfold(cells, side, padding=radius)
    return columns.view(len(cells), cells.shape[1], side**2, -1).permute(0, 3, 2, 1)


def _to_cells(x: Tensor) -> Tensor:
    """(B,C,h,w) → (B, h/2·w/2, 4, C)."""
    parts = nn.functional.pixel_unshuffle(x, _POOL)
    return parts.view(len(x), x.shape[1], _POOL**2, -1).permute(0, 3, 2, 1)


def _from_cells(parts: Tensor, rows: int) -> Tensor:
    """What :func:`_to_cells` took apart, of ``rows`` rows of cells."""
    b, _, _, c = parts.shape
    joined = parts.permute(0, 3, 2, 1).reshape(b, c * _POOL**2, rows, -1)
    return nn.functional.pixel_shuffle(joined, _POOL)


class Translator(nn.Module):
    r"""Latent (B,C,h,w) and mask (B,1,h,w) of zeros and ones → latent (B,C,h,w); h and w are even.

    Blocks, the partial non-local block, more blocks; what they make is added to a linear map of each place,
    which takes one latent's axes to the other's. An untrained translator changes nothing. Without a mask
    (zeros) the partial block lets everything through.
    """

    def __init__(self, config: TranslatorConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = nn.Conv2d(config.latent + 1, config.width, 3, padding=1)
        self.before = Blocks(config.block, config.width, config.before)
        self.partial = PartialNonLocal(config.width, config.radius)
        self.after = Blocks(config.block, config.width, config.after)
        self.head = nn.Conv2d(config.width, config.latent, 3, padding=1)
        self.axes = nn.Conv2d(config.latent, config.latent, 1)
        for layer in (self.head, self.axes):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.dirac_(self.axes.weight)

    def forward(self, latent: Tensor, mask: Tensor) -> Tensor:
        x = self.before(self.stem(torch.cat([latent, mask], dim=1)))
        return self.axes(latent) + self.head(self.after(self.partial(x, mask)))
