r"""The tone net: from a thumbnail to one smooth colour transform for the whole photograph."""

__all__ = ["BlackAndWhite", "ToneNet", "ToneConfig", "apply_tone"]

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from relume.nets.blocks import Addition


@dataclass(frozen=True)
class ToneConfig:
    """Shape of a :class:`ToneNet`.

    ``width`` counts hidden units, ``bins`` those of its histograms, ``knots`` those of each channel's curve;
    ``channels`` are the widths of its convolutions, each of which halves the thumbnail (none: colours alone).
    With ``points`` it also reads black and white points off the sorted brightness.
    """

    width: int = 256
    bins: int = 16
    knots: int = 16
    channels: tuple[int, ...] = ()
    points: bool = False


# Shares of a thumbnail's pixels below each level that is read off it; and which of them are black and white.
_QUANTILES = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 1.0)
_BLACK, _WHITE = 1, -2


class BlackAndWhite(Addition):
    """What histograms tell only by their empty bins: between which levels a picture lies.

    Its answer to a flat picture is known in closed form, slopes 1/(white − black) and the start
    −black/(white − black). The net says how much of it to take; at first nothing.
    """

    def __init__(self, width: int, knots: int) -> None:
        super().__init__()
        self.knots = knots
        self.read = nn.Linear(4 * (len(_QUANTILES) + 2), width)
        self.add = nn.Linear(width, width)
        self.share = nn.Linear(width, 6)
        self.silence()

    def silence(self) -> None:
        """Makes it add nothing."""
        for layer in (self.add, self.share):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def levels(self, picture: Tensor) -> Tensor:
        """(B,3,S,S) → (B,4,17): quantiles of the channels and of their mean."""
        small = nn.functional.avg_pool2d(picture, 2)
        planes = torch.cat([small, small.mean(1, keepdim=True)], dim=1).flatten(2)
        count = int(planes.shape[2])
        ordered = planes.topk(count, dim=2).values
        return torch.stack([ordered[:, :, round((1 - q) * (count - 1))] for q in _QUANTILES], dim=2)

    def hidden(self, levels: Tensor) -> Tensor:
        spans = levels[..., [_WHITE, -5]] - levels[..., [_BLACK, 4]]
        seen = torch.cat([2 * levels - 1, torch.log(spans + 0.02)], dim=2).flatten(1)
        return self.add(nn.functional.silu(self.read(seen)))

    def stretch(self, levels: Tensor, h: Tensor) -> Tensor:
        """What is added to the answer (B, 3·knots + 15)."""
        black, white = levels[:, 3:, _BLACK], levels[:, 3:, _WHITE]
        span = (white - black).clamp(min=0.05)
        slope, start = self.share(h).split(3, dim=1)
        slopes = (slope * -torch.log(span)).repeat_interleave(self.knots, dim=1)
        starts = start * (-black / span)
        return torch.cat([slopes, starts, torch.zeros_like(starts).repeat(1, 4)], dim=1)


class ToneNet(nn.Module):
    r"""Reads the colours of a thumbnail (B,3,S,S), S even, and answers with 3·knots + 3 + 9 + 3 numbers.

    They are, in this order: per channel the logarithm of each of the ``knots`` slopes of a monotone curve,
    per channel the curve's value at 0, a 3×3 matrix added to the identity, and an offset. Zeros mean
    "change nothing", and the last layer starts at zero. See :func:`apply_tone`.

    Tone is a matter of distributions: the net is shown histograms of the channels and of luma as densities
    and cumulated, means, and the covariance of luma and two colour differences. Which colours a thing should
    have is a matter of what it is: hence a few convolutions over the reduced thumbnail, averaged and
    maximised over it.
    """

    def __init__(self, config: ToneConfig) -> None:
        super().__init__()
        self.config = config
        features = 2 * 4 * config.bins + 3 + 6 + 6 + 2 * sum(config.channels[-1:])
        widths = (3, *config.channels)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.look = nn.ModuleList(nn.Conv2d(b, b, 3, padding=1) for b in config.channels)
        self.norm = nn.LayerNorm(features)
        self.hidden1 = nn.Linear(features, config.width)
        self.hidden2 = nn.Linear(config.width, config.width)
        self.out = nn.Linear(config.width, 3 * config.knots + 3 + 9 + 3)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.points = BlackAndWhite(config.width, config.knots) if config.points else None

    def forward(self, picture: Tensor) -> Tensor:
        seen = torch.cat([self._colours(picture), *self._things(picture)], dim=1)
        h = nn.functional.silu(self.hidden1(self.norm(seen)))
        if self.points is None:
            return self.out(h + nn.functional.silu(self.hidden2(h)))
        levels = self.points.levels(picture)
        h = h + self.points.hidden(levels)
        h = h + nn.functional.silu(self.hidden2(h))
        return self.out(h) + self.points.stretch(levels, h)

    def _things(self, picture: Tensor) -> list[Tensor]:
        """(B,3,S,S) → nothing, or twice (B, last of ``channels``)."""
        if not self.config.channels:
            return []
        h = nn.functional.avg_pool2d(2 * picture - 1, 2)
        for down, look in zip(self.down, self.look, strict=True):
            h = nn.functional.silu(down(h))
            h = h + nn.functional.silu(look(h))
        return [h.mean((2, 3)), h.amax((2, 3))]

    def _colours(self, picture: Tensor) -> Tensor:
        """(B,3,S,S) → (B, 8·bins + 15), each about of size 1."""
        bins = self.config.bins
        small = nn.functional.avg_pool2d(picture, 2)  # less noise, and a quarter of the work
        levels = torch.cat([small, small.mean(1, keepdim=True)], dim=1)[:, :, None]
        centres = torch.linspace(0, 1, bins, device=picture.device).view(1, 1, bins, 1, 1)
        density = (1 - (levels - centres).abs() * (bins - 1)).clamp(min=0).mean((3, 4))
        mean = picture.mean((2, 3))
        r, g, b = (small - mean[:, :, None, None]).unbind(1)
        axes = (r + g + b, r - g, g - b)
        covariance = torch.stack(
            [(axes[i] * axes[j]).mean((1, 2)) for i in range(3) for j in range(i, 3)], dim=1
        )
        size = covariance.abs()
        return torch.cat(
            [
                4 * density.flatten(1),
                density.cumsum(2).flatten(1),
                2 * mean - 1,
                6 * torch.sqrt(size + 1e-6) * covariance.sign(),
                torch.log(size + 1e-5) / 4,
            ],
            dim=1,
        )


def apply_tone(picture: Tensor, parameters: Tensor, knots: int) -> Tensor:
    r"""Apply a batch of tone transforms: (B,3,H,W), (B,P) → (B,3,H,W), not clipped.

    .. math:: x'_c = o_c + \sum_d (I + A)_{cd} f_d(x_d)

    with :math:`f_d` piecewise linear, monotone, of slopes :math:`e^{p}` on ``knots`` equal parts of [0,1].
    """
    b = picture.shape[0]
    slopes = parameters[:, : 3 * knots].view(b, 3, knots, 1, 1).exp()
    start, matrix, offset = parameters[:, 3 * knots :].split([3, 9, 3], dim=1)
    position = picture.clamp(0, 1)[:, :, None] * knots - torch.arange(knots, device=picture.device).view(
        1, 1, -1, 1, 1
    )
    curve = start.view(b, 3, 1, 1) + (slopes * position.clamp(0, 1)).sum(2) / knots
    matrix = matrix.view(b, 3, 3) + torch.eye(3, device=picture.device)
    mixed = (matrix @ curve.flatten(2)).view_as(picture)
    return mixed + offset.view(b, 3, 1, 1)
