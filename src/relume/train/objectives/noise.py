r"""The original system: predict what a picture was mixed with."""

__all__ = ["PredictNoise", "no_condition"]

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from relume.diffusion import PARAMETRIZATIONS, begin, ddim, denoiser, gaussian_noise, linear, sample
from relume.diffusion.parametrize import Predicts, target
from relume.errors import UsageError
from relume.train.objectives.objective import Batch, bare

STEPS = 300


def no_condition(condition: Tensor) -> Tensor:
    """What stands for no condition: middle grey, zero in [-1,1]."""
    return torch.zeros_like(condition)


@dataclass(frozen=True)
class PredictNoise:
    r"""Mean squared error of the noise in :math:`α x_0 + σ ε`, or of the velocity or the picture itself.

    300 levels. A net that learned with and without its condition can be guided
    (:func:`relume.diffusion.guided`).

    Parameters
    ----------
    predicts:
        ``eps`` (as the original system), ``v`` or ``x0``.
    drop:
        Share of the pictures whose condition is dropped: the net is shown :func:`no_condition` in its place.

    Raises
    ------
    UsageError
        If ``predicts`` is something else, ``drop`` is not within [0,1), or the net has no condition to drop.

    Source: Ho, Salimans, *Classifier-Free Diffusion Guidance*, 2022.
    """

    predicts: Predicts = "eps"
    drop: float = 0.0

    def __post_init__(self) -> None:
        if self.predicts not in PARAMETRIZATIONS:
            raise UsageError(f"predicts is {self.predicts!r}: choose one of {', '.join(PARAMETRIZATIONS)}")
        if not 0 <= self.drop < 1:
            raise UsageError(f"drop={self.drop:g}: a share of 0 or more, and less than 1")

    def __call__(self, net: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        schedule = linear(STEPS)
        clean, noise = 2 * batch["clean"] - 1, batch["noise"]
        index = (batch["dice"][:, 0] * STEPS).long().clamp(max=STEPS - 1)
        a, s = (
            torch.tensor(v, dtype=clean.dtype, device=clean.device)[index][:, None, None, None]
            for v in (schedule.alphas, schedule.sigmas)
        )
        condition = self._condition(net, batch)
        predicted = net(a * clean + s * noise, (index + 1) / STEPS, condition).float()
        loss = (predicted - target(self.predicts, clean, noise, a, s)).square().mean()
        return loss, {"mse": loss.detach()}

    def _condition(self, net: nn.Module, batch: Batch) -> Tensor | None:
        """What the net is shown beside the noisy pictures."""
        if not bare(net).config.conditional:
            if self.drop:
                raise UsageError("this net has no condition to drop: leave drop at 0")
            return None
        condition = 2 * batch["damaged"] - 1
        dropped = (batch["dice"][:, 1] < self.drop)[:, None, None, None]
        return torch.where(dropped, no_condition(condition), condition)

    def answer(self, net: nn.Module, damaged: Tensor) -> Tensor:
        """A quick look by 20 DDIM steps: enough to see whether a net learns."""
        schedule = linear(STEPS)
        noise = gaussian_noise(0, tuple(damaged.shape))
        draw = lambda step: torch.from_numpy(noise(step)).float()  # noqa: E731
        table = ddim(schedule, 20)
        condition = 2 * damaged - 1 if bare(net).config.conditional else None

        def predict(x: Tensor, t: float, condition: Tensor | None) -> Tensor:
            return net(x, torch.full((len(x),), t), condition)

        denoise = denoiser(predict, schedule, predicts=self.predicts)
        return (sample(table, denoise, begin(table, noise=draw), condition=condition) + 1) / 2
