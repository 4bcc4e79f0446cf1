r"""The tone net: from a thumbnail to one smooth colour transform for the whole photograph."""

__all__ = ["ToneNet", "ToneConfig", "apply_tone"]

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from relume.nets.blocks import RmsNorm


@dataclass(frozen=True)
class ToneConfig:
    """Shape of a :class:`ToneNet`: channels of the trunk, and knots of each channel's curve."""

    width: int = 32
    knots: int = 16


class ToneNet(nn.Module):
    r"""Reads a thumbnail (B,3,S,S) and answers with 3·knots + 3 + 9 + 3 numbers.

    They are, in this order: per channel the logarithm of each of the ``knots`` slopes of a monotone curve,
    per channel the curve's value at 0, a 3×3 matrix added to the identity, and an offset. Zeros mean
    "change nothing", and the last layer starts at zero. See :func:`apply_tone`.
    """

    def __init__(self, config: ToneConfig) -> None:
        super().__init__()
        self.config = config
        w = config.width
        layers: list[nn.Module] = []
        channels = [5, w, 2 * w, 3 * w, 4 * w]
        for a, b in pairwise(channels):
            layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), RmsNorm(b), nn.SiLU()]
            layers += [nn.Conv2d(b, b, 3, padding=1), RmsNorm(b), nn.SiLU()]
        self.trunk = nn.Sequential(*layers)
        self.hidden = nn.Linear(8 * w + 16 * 4, 8 * w)
        self.out = nn.Linear(8 * w, 3 * config.knots + 3 + 9 + 3)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, picture: Tensor) -> Tensor:
        luma = picture.mean(1, keepdim=True)
        chroma = (picture - luma).abs().mean(1, keepdim=True)
        h = self.trunk(torch.cat([picture - 0.5, luma - 0.5, chroma], dim=1))
        # A soft histogram of each channel and of luma: tone is a matter of distributions.
        centres = torch.linspace(0, 1, 16, device=picture.device).view(1, 1, 16, 1, 1)
        levels = torch.cat([picture, luma], dim=1)[:, :, None]
        histogram = (1 - (levels - centres).abs() * 15).clamp(min=0).mean((3, 4)).flatten(1)
        mean = h.mean((2, 3))
        spread = torch.sqrt((h - mean[:, :, None, None]).square().mean((2, 3)) + 1e-5)
        features = torch.cat([mean, spread, histogram * 4], dim=1)
        return 0.3 * self.out(nn.functional.silu(self.hidden(features)))


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
