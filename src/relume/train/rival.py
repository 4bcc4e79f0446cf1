r"""The second net of a contested objective, and how it learns."""

__all__ = ["Rival", "rival_of"]

from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from relume.train.config import TrainConfig
from relume.train.objectives import Objective
from relume.train.objectives.objective import Contested


class Rival:
    """The second net of a contested objective, with its optimiser. It has no average."""

    def __init__(self, net: nn.Module, config: TrainConfig, accelerator: Accelerator) -> None:
        self.net = net.to(accelerator.device, memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(net.parameters(), lr=config.lr, betas=(0.5, 0.99), weight_decay=0)
        self.judge, self._prepared = accelerator.prepare(self.net, self.optimizer)

    def step(self, learn: Callable[[], Tensor], accelerator: Accelerator, rate: float, clip: float) -> Tensor:
        """One step of its own, after the first net's; its loss."""
        for group in self._prepared.param_groups:
            group["lr"] = rate
        self._prepared.zero_grad(set_to_none=True)  # the first net's loss went through it
        loss = learn()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(self.net.parameters(), clip)
        self._prepared.step()
        self._prepared.zero_grad(set_to_none=True)
        return loss.detach()


def rival_of(config: TrainConfig, aim: Objective, accelerator: Accelerator) -> Rival | None:
    """The opponent that an objective asks for, ready to learn; ``None`` if it asks for none."""
    net = aim.opponent() if isinstance(aim, Contested) else None
    return None if net is None else Rival(net, config, accelerator)
