r"""Translation: from the latent of a damaged picture to that of the clean one."""

__all__ = ["Translate"]

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from relume.errors import TrainingError, UsageError
from relume.nets import Autoencoder
from relume.nets.translator import latent_mask
from relume.train.checkpoint import averaged
from relume.train.losses import gradient_l1, log_mse
from relume.train.objectives.objective import Batch


@dataclass(frozen=True)
class Translate:
    r"""T(E_old(damaged)) against E_clean(clean), in the latent and through the decoder.

    Neither autoencoder learns.

    Parameters
    ----------
    old, clean:
        Checkpoints of two ``autoencode`` runs: of damaged and of clean pictures, with as many channels.
    latent:
        Weight of the mean absolute error of the latent.
    picture:
        Weight of the decoded picture's error: 0.1 log-MSE and that of the gradient.
    damage:
        How much more an error weighs where something was painted over the picture.

    Raises
    ------
    UsageError
        If a checkpoint is not named or a weight is out of range.
    TrainingError
        If a checkpoint is not one of an autoencoder, or the two do not fit.

    Source: Wan et al., *Bringing Old Photos Back to Life*, 2020.
    """

    old: str = ""
    clean: str = ""
    latent: float = 0.3
    picture: float = 1.0
    damage: float = 4.0

    def __post_init__(self) -> None:
        if not self.old or not self.clean:
            raise UsageError(
                "a translation needs two autoencoders: "
                "--setting old=OLD/checkpoint.safetensors clean=CLEAN/checkpoint.safetensors"
            )
        if min(self.latent, self.picture, self.damage) < 0 or not self.latent + self.picture:
            raise UsageError("weights of the loss are 0 or more, and latent or picture is above 0")

    def __call__(self, net: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        old, clean = (coder.to(batch["clean"].device) for coder in self._coders)
        with torch.no_grad():
            begin, goal = old.encode(batch["damaged"]), clean.encode(batch["clean"])
        truth = (batch["mask"] > 0.2).float()
        # Half of the pictures come without a mask, as photographs do.
        told = truth * (batch["dice"][:, 3] < 0.5)[:, None, None, None]
        size = (begin.shape[2], begin.shape[3])
        made = net(begin, latent_mask(told, size)).float()
        weight = 1 + self.damage * latent_mask(truth, size)
        loss = self.latent * ((made - goal).abs() * weight).mean() / weight.mean()
        picture = clean.decode(made)
        if self.picture:
            fidelity = log_mse(picture, batch["clean"], 1 + self.damage * truth)
            loss = loss + self.picture * (0.1 * fidelity + gradient_l1(picture, batch["clean"]))
        mse = (picture.detach() - batch["clean"]).square().mean((1, 2, 3))
        return loss, {
            "latent": (made.detach() - goal).abs().mean(),
            "psnr": (-10 * torch.log10(mse + 1e-8)).mean(),
        }

    def answer(self, net: nn.Module, damaged: Tensor, known: Tensor | None = None) -> Tensor:
        """The restored picture; ``known`` (B,1,H,W) is a damage mask, if there is one."""
        old, clean = self._coders
        latent = old.encode(damaged)
        mask = torch.zeros_like(damaged[:, :1]) if known is None else known
        made: Tensor = clean.decode(net(latent, latent_mask(mask, (latent.shape[2], latent.shape[3]))))
        return made

    @cached_property
    def _coders(self) -> tuple[Autoencoder, Autoencoder]:
        old, clean = (_coder(path) for path in (self.old, self.clean))
        if old.config.latent != clean.config.latent:
            raise TrainingError(
                f"{self.old} and {self.clean} have latents of {old.config.latent} and {clean.config.latent} "
                "channels: train both with one number"
            )
        return old, clean


def _coder(path: str) -> Autoencoder:
    net, _, _ = averaged(Path(path))
    if not isinstance(net, Autoencoder):
        raise TrainingError(f"{path} is of another net: a translation is between two autoencoders")
    return net.requires_grad_(False)
