r"""The shading net: from a thumbnail to a smooth field that undoes uneven light and uneven fading."""

__all__ = ["ShadingConfig", "ShadingNet", "apply_shading"]

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from relume.errors import UsageError
from relume.image.spline import spline_matrix
from relume.nets.blocks import RmsNorm


@dataclass(frozen=True)
class ShadingConfig:
    """Shape of a :class:`ShadingNet`.

    ``grid`` counts the control points of the field on either side; ``widths`` are the channels at the grid's
    resolution and at each halving of it, ``blocks`` how many residual blocks each level has on the way down
    and, but for the lowest, on the way up.

    Raises
    ------
    UsageError
        If ``grid`` cannot be halved so often.
    """

    grid: int = 32
    widths: tuple[int, ...] = (32, 64, 96, 128)
    blocks: int = 2

    def __post_init__(self) -> None:
        if self.grid % 2 ** (len(self.widths) - 1):
            raise UsageError(f"a grid of {self.grid} cannot be halved {len(self.widths) - 1} times")


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = RmsNorm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.conv2(nn.functional.silu(self.conv1(nn.functional.silu(self.norm(x)))))
        return x + added


class ShadingNet(nn.Module):
    r"""Reads a thumbnail (B,3,2·grid,2·grid) and answers with a field (B,6,grid,grid) of control points.

    The first three planes are logarithms of the gains of the channels, the others what is added. Zeros mean
    "change nothing", and the last layer starts at zero. See :func:`apply_shading`.

    Whether light falls off or the scene is dark at its edge is a matter of the whole picture and of the place
    in it: the net sees the coordinates of each cell, and at its lowest level the average of everything.
    """

    def __init__(self, config: ShadingConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.stem = nn.Conv2d(3 * 4 + 3, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(self._level(width) for width in widths)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.all = nn.Linear(widths[-1], widths[-1])
        self.up = nn.ModuleList(nn.Conv2d(b, 4 * a, 1) for a, b in pairwise(widths))
        self.decoder = nn.ModuleList(self._level(width) for width in widths[:-1])
        self.norm = RmsNorm(widths[0])
        self.head = nn.Conv2d(widths[0], 6, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def _level(self, width: int) -> nn.Sequential:
        return nn.Sequential(*(_Residual(width) for _ in range(self.config.blocks)))

    def _places(self, seen: Tensor) -> list[Tensor]:
        """(B,C,G,G) → three times (B,1,G,G): row, column, and how far out."""
        grid = self.config.grid
        side = torch.linspace(1 / grid - 1, 1 - 1 / grid, grid, device=seen.device, dtype=seen.dtype)
        like = (seen.shape[0], 1, grid, grid)  # of the batch first: an exported graph is to hold no plane
        y, x = side.view(1, 1, grid, 1).expand(like), side.view(1, 1, 1, grid).expand(like)
        return [y, x, y * y + x * x - 0.6]

    def forward(self, picture: Tensor) -> Tensor:
        seen = nn.functional.pixel_unshuffle(2 * picture - 1, 2)
        h = self.stem(torch.cat([seen, *self._places(seen)], dim=1))
        skips = []
        for blocks, down in zip(self.encoder, self.down, strict=False):
            h = blocks(h)
            skips.append(h)
            h = down(h)
        h = self.encoder[-1](h)
        h = h + self.all(h.mean((2, 3)))[:, :, None, None]
        for level in reversed(range(len(self.up))):
            h = self.decoder[level](nn.functional.pixel_shuffle(self.up[level](h), 2) + skips[level])
        field: Tensor = self.head(nn.functional.silu(self.norm(h)))
        return field


def apply_shading(picture: Tensor, field: Tensor) -> Tensor:
    r"""Apply a batch of fields: (B,3,H,W), (B,6,G,G) → (B,3,H,W), not clipped.

    .. math:: x'_c(p) = e^{a_c(p)}\,x_c(p) + b_c(p)

    with :math:`a, b` cubic B-splines whose control points are ``field``.
    """
    h, w = picture.shape[-2:]
    grid = field.shape[-1]
    rows, columns = (torch.from_numpy(spline_matrix(n, grid)).to(field) for n in (h, w))
    smooth = rows @ field @ columns.T
    return picture * smooth[:, :3].exp() + smooth[:, 3:]
