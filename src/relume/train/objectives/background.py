r"""The background of an X-ray image, as its logarithm, with an error bar."""

__all__ = ["ReadBackground"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from relume.errors import UsageError
from relume.nets import build
from relume.train.fourier import FOURIER
from relume.train.losses import judged_true, told_apart
from relume.train.objectives.objective import Batch

_LOGVAR = (-14.0, 4.0)


@dataclass(frozen=True)
class ReadBackground:
    r"""L1, a Fourier loss and the verdict of a judge of patches, on fields whose level is free.

    .. math::
        e = \hat y - y - \overline{\hat y - y}, \qquad
        L = a\,\overline{w|e|} + b\,F(\hat y, y)
            + c\,\tfrac12\overline{w(e^2 e^{-s} + s)} + g\,\overline{(D(x, \hat y) - 1)^2}

    y is ln B, w the weight of a pixel, s the log-variance that the net answers with; it follows the error and
    does not pull at it. The judge D learns by least squares (:mod:`relume.train.losses`).

    Parameters
    ----------
    l1, fourier, likelihood, gan:
        a, b, c and g.
    variant:
        F: ``amplitude``, ``complex``, ``focal`` or ``banded`` (:mod:`relume.train.fourier`).
    join:
        The step at which the judge joins; its own learning starts there too.
    judge:
        Widths of the judge.

    Raises
    ------
    UsageError
        If the variant is unknown, or a weight is negative.

    Source: Isola, Zhu, Zhou, Efros, *Image-to-Image Translation with Conditional Adversarial Networks*, 2017;
    Kendall, Gal, *What uncertainties do we need in Bayesian deep learning for computer vision?*, 2017.
    """

    l1: float = 1.0
    fourier: float = 0.1
    variant: str = "complex"
    likelihood: float = 0.02
    gan: float = 0.0
    join: int = 0
    judge: tuple[int, ...] = (24, 48, 96)

    def __post_init__(self) -> None:
        if self.variant not in FOURIER:
            raise UsageError(f"variant is {self.variant!r}: choose one of {', '.join(FOURIER)}")
        if min(self.l1, self.fourier, self.likelihood, self.gan, self.join) < 0:
            raise UsageError("weights of the loss, and the step at which the judge joins, are 0 or more")

    def __call__(self, net: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return self.judged(net(batch["x"]).float(), batch)

    def judged(self, out: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of an answer (B, 1 or 2, H, W) without the judge."""
        weight, target = batch["weight"], batch["target"]
        weight = weight / weight.mean((1, 2, 3), keepdim=True)
        error = out[:, :1] - target
        error = error - (weight * error).mean((1, 2, 3), keepdim=True)
        l1 = (weight * error.abs()).mean()
        loss, figures = self.l1 * l1, {"l1": l1.detach()}
        figures["rms"] = (weight * error.detach().square()).mean().sqrt()
        if self.fourier:
            fourier = FOURIER[self.variant](out[:, :1], target)
            loss, figures["fourier"] = loss + self.fourier * fourier, fourier.detach()
        if self.likelihood and out.shape[1] > 1:
            s = out[:, 1:].clamp(*_LOGVAR)
            nll = 0.5 * (weight * (error.detach().square() * torch.exp(-s) + s)).mean()
            loss, figures["nll"] = loss + self.likelihood * nll, nll.detach()
        return loss, figures

    def answer(self, net: nn.Module, damaged: Tensor) -> Tensor:
        """ln B (B,1,H,W) for what the net sees (B,4,H,W)."""
        field: Tensor = net(damaged)[:, :1].float()
        return field

    def opponent(self) -> nn.Module | None:
        """The judge, if one is asked for."""
        return build("patches", {"channels": 2, "widths": self.judge}) if self.gan else None

    def contest(
        self, net: nn.Module, judge: nn.Module, batch: Batch, step: int
    ) -> tuple[Tensor, dict[str, Tensor], Callable[[], Tensor] | None]:
        """The net's loss before the judge, figures, and what gives the judge's loss once it has joined."""
        out = net(batch["x"]).float()
        loss, figures = self.judged(out, batch)
        if step < self.join:
            return loss, figures, None
        level = batch["x"][:, :1]
        false, true = (_shown(level, field) for field in (out[:, :1], batch["target"]))
        verdict = judged_true(judge(false).float())
        figures["found_out"] = verdict.detach()

        def learn() -> Tensor:
            return told_apart(judge(true).float(), judge(false.detach()).float())

        return loss + self.gan * verdict, figures, learn


def _shown(level: Tensor, field: Tensor) -> Any:
    """What the judge sees: the image, and a background without its level."""
    return torch.cat([level, field - field.mean((1, 2, 3), keepdim=True)], dim=1)
