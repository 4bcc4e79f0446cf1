r"""Losses on pictures (B,C,H,W)."""

__all__ = ["gradient_l1", "log_mse", "balanced_bce", "spectral_l1"]

import torch
from torch import Tensor


def log_mse(prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    r"""Mean over the batch of :math:`\log(\mathrm{MSE}_i + 10^{-4})`.

    The logarithm gives the gradient of an almost restored picture the same weight as that of a ruined one;
    up to a factor it is the negative PSNR.
    """
    error = (prediction - target).square()
    if weight is not None:
        error = error * weight / weight.mean((1, 2, 3), keepdim=True)
    return torch.log(error.mean((1, 2, 3)) + 1e-4).mean()


def gradient_l1(prediction: Tensor, target: Tensor) -> Tensor:
    r"""Mean absolute error of horizontal plus vertical differences: edges, whatever the tone."""
    error = prediction - target
    return error.diff(dim=3).abs().mean() + error.diff(dim=2).abs().mean()


def spectral_l1(prediction: Tensor, target: Tensor) -> Tensor:
    r"""Mean modulus of the difference of orthonormal spectra."""
    return torch.fft.rfft2((prediction - target).float(), norm="ortho").abs().mean()


def balanced_bce(logit: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy in which damage, being rare, weighs four times."""
    weight = torch.tensor(4.0, device=logit.device)
    return torch.nn.functional.binary_cross_entropy_with_logits(logit, target, pos_weight=weight)
