r"""Tone: one colour transform for a whole photograph."""

__all__ = ["MatchTone"]

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from relume.nets.tone import apply_tone
from relume.train.objectives.objective import Batch, bare


@dataclass(frozen=True)
class MatchTone:
    """One colour transform per thumbnail.

    It is read off the picture with all its damage, and judged on the same picture with its fading alone:
    noise and scratches, which no colour transform can mend, would drown what is to be learned.
    """

    def __call__(self, net: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        clean, faded, damaged = batch["clean"], batch["faded"], batch["damaged"]
        knots = bare(net).config.knots
        parameters = net(damaged).float()
        # Every second pixel of every second row: a smooth transform needs no more, and it is most of the
        # work.
        faded, clean = faded[..., ::2, ::2], clean[..., ::2, ::2]
        toned = apply_tone(faded, parameters, knots)
        slopes = parameters[:, : 3 * knots].view(-1, 3, knots)
        roughness = slopes.diff(dim=2).square().mean()  # a curve, not a staircase
        mse = (toned - clean).square().mean((1, 2, 3))
        error = (toned - clean).abs().mean()
        # The root, not the logarithm: that would make "change nothing" the best guess whenever in doubt.
        loss = torch.sqrt(mse + 1e-6).mean() + error + 0.01 * roughness
        shown = (toned.detach().clamp(0, 1) - clean).square().mean((1, 2, 3))
        return loss, {"psnr": (-10 * torch.log10(shown + 1e-6)).mean(), "l1": error.detach()}

    def answer(self, net: nn.Module, damaged: Tensor) -> Tensor:
        """The picture after the transform that the net reads off it."""
        return apply_tone(damaged, net(damaged), bare(net).config.knots)
