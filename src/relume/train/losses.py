r"""Losses on pictures (B,C,H,W)."""

__all__ = [
    "DAMAGE_WEIGHT",
    "balanced_bce",
    "gradient_l1",
    "judged_true",
    "log_mse",
    "spectral_l1",
    "told_apart",
    "weighted_l1",
]

import torch
from torch import Tensor

DAMAGE_WEIGHT = 4.0


def log_mse(prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    r"""Mean over the batch of :math:`\log(\mathrm{MSE}_i + 10^{-4})`.

    The logarithm gives the gradient of an almost restored picture the same weight as that of a ruined one;
    up to a factor it is the negative PSNR.
    """
    error = (prediction - target).square()
    if weight is not None:
        error = error * weight / weight.mean((1, 2, 3), keepdim=True)
    return torch.log(error.mean((1, 2, 3)) + 1e-4).mean()


def weighted_l1(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    r"""Mean absolute error, each picture's ``weight`` (B,1,H,W) brought to a mean of one."""
    return ((prediction - target).abs() * weight / weight.mean((1, 2, 3), keepdim=True)).mean()


def gradient_l1(prediction: Tensor, target: Tensor) -> Tensor:
    r"""Mean absolute error of horizontal plus vertical differences: edges, whatever the tone."""
    error = prediction - target
    return error.diff(dim=3).abs().mean() + error.diff(dim=2).abs().mean()


def spectral_l1(prediction: Tensor, target: Tensor) -> Tensor:
    r"""Mean modulus of the difference of orthonormal spectra."""
    return torch.fft.rfft2((prediction - target).float(), norm="ortho").abs().mean()


def balanced_bce(logit: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy in which damage, being rare, weighs ``DAMAGE_WEIGHT`` times.

    Its best logit is that of the true probability plus the logarithm of the weight.
    """
    weight = torch.tensor(DAMAGE_WEIGHT, device=logit.device)
    return torch.nn.functional.binary_cross_entropy_with_logits(logit, target, pos_weight=weight)


def judged_true(logit: Tensor) -> Tensor:
    r"""What a generator pays for being told apart: mean :math:`(D(\hat y) - 1)^2`.

    Source: Mao et al., *Least Squares Generative Adversarial Networks*, 2017.
    """
    return (logit - 1).square().mean()


def told_apart(real: Tensor, made: Tensor) -> Tensor:
    r"""What a judge pays for its errors: mean :math:`\tfrac12 [(D(y) - 1)^2 + D(\hat y)^2]`."""
    return 0.5 * ((real - 1).square().mean() + made.square().mean())
