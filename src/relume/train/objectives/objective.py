r"""The contract of an objective: (net, batch) → loss, and (net, damaged picture) → what it makes of it."""

__all__ = ["Batch", "Contested", "Objective", "asked", "bare"]

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from relume.nets.unet import UNet

Batch = Mapping[str, Tensor]


class Objective(Protocol):
    """What is asked of a net; its fields are settings of a recipe, so they hold what JSON holds.

    It draws nothing itself: noise and dice come with the batch.
    """

    def __call__(self, net: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and figures to log (scalars without gradient)."""

    def answer(self, net: nn.Module, damaged: Tensor) -> Tensor:
        """(B,3,H,W) in [0,1] → the same, as the net would be used: what a run is looked at by."""


@runtime_checkable
class Contested(Protocol):
    """An objective that sets a second net against the first: the loop trains both, each by its optimiser."""

    def opponent(self) -> nn.Module | None:
        """The second net, new; ``None`` where the settings ask for none."""

    def contest(
        self, net: nn.Module, opponent: nn.Module, batch: Batch, step: int
    ) -> tuple[Tensor, dict[str, Tensor], Callable[[], Tensor] | None]:
        """The net's loss, figures to log, and what gives the opponent's loss (``None``: it rests)."""


def bare(net: nn.Module) -> Any:
    """The net itself, also behind a wrapper for several devices or a compiler."""
    inner = getattr(net, "module", net)
    return getattr(inner, "_orig_mod", inner)


def asked(net: nn.Module, x: Tensor, damaged: Tensor, known: Tensor, t: Tensor) -> Tensor:
    r"""One signature for both kinds of net: (B,3 or 4,H,W), the damaged picture plus what the net adds to it.

    ``x`` is the state, ``known`` (B,1,H,W) the damage mask, ``t`` (B,). A :class:`~relume.nets.Restorer`
    adds the damaged picture itself and answers with the logit of damage too; the original U-Net, which
    lives in [-1,1], is told no mask and has no logit.
    """
    if isinstance(bare(net), UNet):
        added: Tensor = net(2 * x - 1, t, 2 * damaged - 1).float()
        return damaged + added
    out: Tensor = net(x, torch.cat([damaged, known], dim=1), t).float()
    return out
