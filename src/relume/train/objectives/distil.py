r"""Distillation: one step that answers as a trained net does in several."""

__all__ = ["Distil"]

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from relume.errors import TrainingError, UsageError
from relume.train.checkpoint import averaged
from relume.train.objectives.objective import Batch, asked
from relume.train.objectives.restore import LEVELS, Restore


@dataclass(frozen=True)
class Distil:
    r"""The student's single step is judged against its teacher's chain of ``steps`` from the same picture.

    The chain is the straight one, without noise, so that it is a function of the damaged picture and one
    step can learn it. The terms of the loss, the start and the prediction are the teacher's own.

    Parameters
    ----------
    teacher:
        A checkpoint of a ``restore`` run; its averaged weights teach.
    steps:
        Evaluations of the teacher.
    truth:
        Share of the loss that is against the clean picture instead: above 0 the student may pass its teacher.

    Raises
    ------
    UsageError
        If there are too few or too many steps, or the share is not within [0,1].
    TrainingError
        If the teacher is no such checkpoint.

    Source: Wang et al., *SinSR: Diffusion-Based Image Super-Resolution in a Single Step*, 2023.
    """

    teacher: str
    steps: int = LEVELS
    truth: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= LEVELS or not 0 <= self.truth <= 1:
            raise UsageError(
                f"steps={self.steps}, truth={self.truth:g}: 1 to {LEVELS}, and a share of 0 to 1"
            )

    def __call__(self, net: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        damaged, clean = batch["damaged"], batch["clean"]
        restore, teacher = self._taught
        truth = (batch["mask"] > 0.2).float()
        with torch.no_grad():
            goal = restore.answer(teacher.to(damaged.device), damaged, steps=self.steps)
        x, t = restore.end(damaged), torch.ones(len(damaged), device=damaged.device)
        out = asked(net, x, damaged, torch.zeros_like(truth), t)
        picture = restore.picture(out, x, damaged, t)
        loss, figures = restore.judged(out, picture, goal, truth)
        if self.truth:
            loss = (1 - self.truth) * loss + self.truth * restore.judged(out, picture, clean, truth)[0]
        return loss, figures

    def answer(self, net: nn.Module, damaged: Tensor) -> Tensor:
        """The restored picture after the student's one step."""
        return self._taught[0].answer(net, damaged)

    @cached_property
    def _taught(self) -> tuple[Restore, nn.Module]:
        net, facts, _ = averaged(Path(self.teacher))
        if facts["objective"] != "restore":
            raise TrainingError(f"{self.teacher} is of another objective: a teacher learned to restore")
        return Restore(**facts.get("settings", {})), net.requires_grad_(False)
