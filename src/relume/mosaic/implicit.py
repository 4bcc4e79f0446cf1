r"""The common field as a function: a multiresolution hash grid and a small network, F(y, x).

.. math:: F(r) = \mathrm{MLP}\bigl([\,h_1(r), \dots, h_L(r)\,]\bigr), \qquad B = e^F

Each level is a grid of two numbers a corner, between 4 and 512 cells along a side, interpolated; a grid with
more corners than its table has places shares them by a hash. It is fitted to differences between two places
of one tile, which know nothing of the tile's gain, with a loss that lets edges of the sample go
(Charbonnier's), and a penalty on the coarse levels' total variation.

Source: Müller, Evans, Schied, Keller, *Instant neural graphics primitives with a multiresolution hash
encoding*, 2022.
"""

__all__ = ["implicit"]

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from relume.errors import MissingExtra

from .looks import Field, Level

_PRIMES = (1, 2_654_435_761)


@dataclass(frozen=True)
class Grid:
    """Sizes: ``levels`` from ``coarsest`` to ``finest`` cells a side, tables of ``places``, ``width``
    neurons."""

    levels: int = 12
    coarsest: int = 4
    finest: int = 512
    places: int = 2**16
    features: int = 2
    width: int = 32
    steps: int = 600
    batch: int = 8192
    tiles: int = 48
    variation: float = 1e-4


def implicit(
    level: Level, count: int, shape: tuple[int, int], *, grid: Grid | None = None, seed: int = 0
) -> Field:
    """Fits the field to differences within 48 of the tiles and paints it, (H,W).

    Raises:
        MissingExtra: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtra("the implicit field", "train") from error

    grid = grid or Grid()
    chosen = range(0, count, -(-count // grid.tiles))
    stack = np.stack([np.asarray(level(i), np.float32) for i in chosen])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        field = _Field(grid, min(shape), torch)
        _fit(field, torch.from_numpy(stack), grid, torch)
    corners = np.stack(np.meshgrid(*((np.arange(side) + 0.5) / side for side in shape), indexing="ij"), -1)
    places = torch.from_numpy(corners.reshape(-1, 2).astype(np.float32))
    with torch.no_grad():
        painted = torch.cat([field(part) for part in places.split(grid.batch)])
    return np.asarray(painted.numpy().reshape(shape), np.float64)


class _Field:
    """The grid's tables and the network's weights, and F at places (N,2) in [0,1]."""

    def __init__(self, grid: Grid, side: int, torch: Any) -> None:
        finest = min(grid.finest, side)
        growth = (finest / grid.coarsest) ** (1 / max(1, grid.levels - 1))
        self.sizes = [max(1, round(grid.coarsest * growth**k)) for k in range(grid.levels)]
        self.tables = [
            (1e-2 * torch.randn(min((n + 1) ** 2, grid.places), grid.features)).requires_grad_()
            for n in self.sizes
        ]
        widths = (grid.levels * grid.features, grid.width, 1)
        self.weights = [(torch.randn(a, b) * (2 / a) ** 0.5).requires_grad_() for a, b in pairwise(widths)]
        self.biases = [torch.zeros(b, requires_grad=True) for b in widths[1:]]
        self._torch = torch

    def __call__(self, at: Any) -> Any:
        x = self._torch.cat([self._level(k, at) for k in range(len(self.sizes))], dim=1)
        x = self._torch.nn.functional.silu(x @ self.weights[0] + self.biases[0])
        return (x @ self.weights[1] + self.biases[1])[:, 0]

    def _level(self, k: int, at: Any) -> Any:
        size, table = self.sizes[k], self.tables[k]
        scaled = at * size
        low = scaled.floor().clamp(0, size - 1)
        part, corner = scaled - low, low.long()
        found = 0
        for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
            y, x = corner[:, 0] + dy, corner[:, 1] + dx
            place = y * (size + 1) + x
            if (size + 1) ** 2 > len(table):
                place = (y * _PRIMES[1] ^ x * _PRIMES[0]) % len(table)
            weight = (part[:, 0] if dy else 1 - part[:, 0]) * (part[:, 1] if dx else 1 - part[:, 1])
            found = found + weight[:, None] * table[place]
        return found

    def parameters(self) -> list[Any]:
        return [*self.tables, *self.weights, *self.biases]

    def variation(self) -> Any:
        """Total variation of the levels that are coarse enough to have no hash."""
        total = 0
        for size, table in zip(self.sizes[:4], self.tables[:4], strict=True):
            if (size + 1) ** 2 == len(table):
                cells = table.reshape(size + 1, size + 1, -1)
                total = total + cells.diff(dim=0).abs().mean() + cells.diff(dim=1).abs().mean()
        return total


def _fit(field: _Field, stack: Any, grid: Grid, torch: Any) -> None:
    """Adam on differences over distances of all scales, from one pixel to half a tile."""
    optimizer = torch.optim.Adam(field.parameters(), lr=1e-2, betas=(0.9, 0.99), eps=1e-12)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, grid.steps)
    count, h, w = stack.shape
    sides = torch.tensor([h, w])
    for _ in range(grid.steps):
        tile = torch.randint(count, (grid.batch,))
        one = (torch.rand(grid.batch, 2) * sides).long()
        far = 2 ** (torch.rand(grid.batch, 1) * math.log2(min(h, w) / 2))
        other = one + (torch.randn(grid.batch, 2) * far).round().long()
        inside = ((other >= 0) & (other < sides)).all(1)
        tile, one, other = tile[inside], one[inside], other[inside]
        seen = stack[tile, one[:, 0], one[:, 1]] - stack[tile, other[:, 0], other[:, 1]]
        told = field((one + 0.5) / sides) - field((other + 0.5) / sides)
        loss = ((told - seen) ** 2 + 1e-4).sqrt().mean() + grid.variation * field.variation()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
