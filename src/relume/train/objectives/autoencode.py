r"""Autoencoding: pictures through a latent, of one kind or of two that shall not be told apart in it."""

__all__ = ["Autoencode"]

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from relume.degrade.fading import LUMA
from relume.errors import TrainingError, UsageError
from relume.nets.autoencoder import Coded
from relume.train.losses import gradient_l1, judged_true, log_mse, told_apart
from relume.train.objectives.objective import Batch, bare

Of = Literal["clean", "damaged"]


@dataclass(frozen=True)
class Autoencode:
    r"""The picture back from its latent plus noise, :math:`D(E(x) + σ n)`.

    Parameters
    ----------
    of:
        Which pictures: ``clean`` ones; or ``damaged`` ones, with genuine old photographs beside them.
    log_mse, gradient:
        Weights of the terms that compare pictures.
    noise:
        σ.
    prior:
        Weight of :math:`\overline{z^2}`, which keeps the latent from outgrowing the noise.
    cycle:
        Weight of :math:`\overline{(E(D(z + σ n)) - (z + σ n))^2}`: the nearer E D is to the identity, the
        easier the decoder is run backwards.
    adversarial:
        Weight of the latent term: what the encoder pays for genuine photographs whose latents the judge tells
        from those of damaged ones. The judge learns beside it. Genuine photographs and half of the damaged
        ones are shown without colour, which would tell most of them apart whatever the damage.

    Raises
    ------
    UsageError
        If a setting is out of range.

    Source: Wan et al., *Bringing Old Photos Back to Life*, 2020.
    """

    of: Of = "clean"
    log_mse: float = 0.1
    gradient: float = 1.0
    noise: float = 0.1
    prior: float = 1e-3
    cycle: float = 0.0
    adversarial: float = 0.0

    def __post_init__(self) -> None:
        if self.of not in get_args(Of):
            raise UsageError(f"of is {self.of!r}: choose one of {', '.join(get_args(Of))}")
        weights = (self.log_mse, self.gradient, self.noise, self.prior, self.cycle, self.adversarial)
        if min(weights) < 0 or not (self.log_mse or self.gradient):
            raise UsageError("weights of the loss are 0 or more, and one that compares pictures is above 0")

    def __call__(self, net: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        goal = self._pictures(batch)
        code = bare(net).config
        # The batch brings normal numbers of a picture's shape: enough of them for any latent of 48 channels.
        drawn = torch.cat([batch["noise"], batch["noise"].flip(3)])[: len(goal)]
        noise = self.noise * nn.functional.pixel_unshuffle(drawn, code.multiple_of)[:, : code.latent]
        coded: Coded = net(goal, noise, self.cycle > 0)
        picture, latent = coded.picture.float(), coded.latent.float()
        terms = {
            "log_mse": (self.log_mse, log_mse(picture, goal)),
            "edges": (self.gradient, gradient_l1(picture, goal)),
            "prior": (self.prior, latent.square().mean()),
        }
        if coded.again is not None:
            aim = (latent + noise).detach()
            terms["cycle"] = (self.cycle, (coded.again.float() - aim).square().mean())
        if self.adversarial:
            terms |= self._adversarial(net, latent, len(batch["damaged"]))
        mse = (picture.detach() - goal).square().mean((1, 2, 3))
        figures = {name: value.detach() for name, (_, value) in terms.items() if name != "log_mse"}
        figures["psnr"] = (-10 * torch.log10(mse + 1e-8)).mean()
        return sum((weight * value for weight, value in terms.values()), torch.zeros(())), figures

    def answer(self, net: nn.Module, damaged: Tensor) -> Tensor:
        """The picture after the round trip."""
        made: Tensor = net(damaged)
        return made

    def _pictures(self, batch: Batch) -> Tensor:
        if self.of == "clean":
            return batch["clean"]
        if "real" not in batch:
            raise TrainingError("genuine old photographs are missing: name a folder of them with --old")
        damaged, half = batch["damaged"], len(batch["damaged"]) // 2
        return torch.cat([_grey(damaged[:half]), damaged[half:], _grey(batch["real"])])

    def _adversarial(self, net: nn.Module, latent: Tensor, synthetic: int) -> dict[str, tuple[float, Tensor]]:
        judge: Any = bare(net).judged
        made, real = latent[: synthetic // 2], latent[synthetic:]
        return {
            "judge": (1.0, told_apart(judge(made, learning=True), judge(real, learning=True))),
            "adversarial": (self.adversarial, judged_true(judge(real, learning=False))),
        }


def _grey(picture: Tensor) -> Tensor:
    weights = torch.tensor(LUMA, dtype=picture.dtype, device=picture.device).view(1, 3, 1, 1)
    return (picture * weights).sum(1, keepdim=True).expand_as(picture)
