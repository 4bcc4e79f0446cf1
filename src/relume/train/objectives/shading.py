r"""Shading: a smooth field that makes uneven light and uneven fading even."""

__all__ = ["MatchShading"]

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from relume.nets.shading import apply_shading
from relume.train.objectives.objective import Batch


@dataclass(frozen=True)
class MatchShading:
    """One field per thumbnail, read off the picture with all its damage.

    It is judged on the same picture with its tone damage alone, against the one that faded evenly, in units
    of that one's contrast: whatever tone is given to the picture later multiplies both. ``enough`` is the
    error, in this unit, below which less counts for little; ``smooth`` weighs the roughness of the field.
    """

    enough: float = 0.05
    smooth: float = 0.01

    def __call__(self, net: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        faded, even = batch["faded"], batch["even"]
        field = net(batch["damaged"]).float()
        made = apply_shading(faded, field)
        contrast = even.std((1, 2, 3), keepdim=True) + 0.05
        error = (made - even) / contrast
        mse = error.square().mean((1, 2, 3))
        rough = field.diff(dim=2).abs().mean() + field.diff(dim=3).abs().mean()
        # The root, so that a few ruined pictures are not all that counts; and not down to nothing, nor the
        # error of each pixel, or "change nothing" were the best guess whenever in doubt.
        loss = torch.sqrt(mse + self.enough**2).mean() + self.smooth * rough
        shown = (made.detach().clamp(0, 1) - even).square().mean((1, 2, 3))
        given = (faded - even).square().mean((1, 2, 3))
        uneven = given > 1e-4
        share = (shown[uneven] / given[uneven]).log().mean().exp() if uneven.any() else shown.new_ones(())
        return loss, {
            "psnr": (-10 * torch.log10(shown + 1e-6)).mean(),
            "left": share,  # of the squared error of uneven pictures
            "l1": error.detach().abs().mean(),
        }

    def answer(self, net: nn.Module, damaged: Tensor) -> Tensor:
        """The picture after the field that the net reads off it."""
        return apply_shading(damaged, net(damaged))
