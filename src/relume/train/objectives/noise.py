r"""The original system: predict what a picture was mixed with."""

__all__ = ["PredictNoise"]

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from relume.diffusion import PARAMETRIZATIONS, begin, ddim, denoiser, gaussian_noise, linear, sample
from relume.diffusion.parametrize import Predicts, target
from relume.errors import UsageError
from relume.train.objectives.objective import Batch, bare

STEPS = 300


@dataclass(frozen=True)
class PredictNoise:
    r"""Mean squared error of the noise in :math:`α x_0 + σ ε`, or of the velocity or the picture itself.

    300 levels; ``predicts`` is ``eps`` (as the original system), ``v`` or ``x0``.

    Raises
    ------
    UsageError
        If ``predicts`` is something else.
    """

    predicts: Predicts = "eps"

    def __post_init__(self) -> None:
        if self.predicts not in PARAMETRIZATIONS:
            raise UsageError(f"predicts is {self.predicts!r}: choose one of {', '.join(PARAMETRIZATIONS)}")

    def __call__(self, net: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        schedule = linear(STEPS)
        clean, noise = 2 * batch["clean"] - 1, batch["noise"]
        index = (batch["dice"][:, 0] * STEPS).long().clamp(max=STEPS - 1)
        a, s = (
            torch.tensor(v, dtype=clean.dtype, device=clean.device)[index][:, None, None, None]
            for v in (schedule.alphas, schedule.sigmas)
        )
        condition = 2 * batch["damaged"] - 1 if bare(net).config.conditional else None
        predicted = net(a * clean + s * noise, (index + 1) / STEPS, condition).float()
        loss = (predicted - target(self.predicts, clean, noise, a, s)).square().mean()
        return loss, {"mse": loss.detach()}

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
