r"""What is asked of a net: (net, batch) → loss and the figures to log.

An objective draws nothing itself: noise and dice come with the batch.
"""

__all__ = ["OBJECTIVES", "Objective", "restore_objective", "tone_objective", "epsilon_objective"]

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from relume.diffusion.schedules import linear, residual_shift
from relume.nets.tone import apply_tone
from relume.train.losses import balanced_bce, gradient_l1, log_mse

Batch = Mapping[str, Tensor]
Objective = Callable[[nn.Module, Batch], tuple[Tensor, dict[str, Tensor]]]

# The chain of the restorer: noise in units of the [0,1] range, and the share of batches that train t < 1.
KAPPA = 0.25
CHAIN_SHARE = 0.3


def restore_objective(net: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """One net for regression (t = 1 from the damaged picture itself) and for the residual-shift chain."""
    clean, damaged, dice = batch["clean"], batch["damaged"], batch["dice"]
    levels = torch.tensor(residual_shift(4).sqrt_eta, dtype=clean.dtype, device=clean.device)
    level = (dice[:, 0] * 4).long().clamp(max=3)
    chained = dice[:, 1] < CHAIN_SHARE
    root = levels[level][:, None, None, None]
    shifted = clean + root**2 * (damaged - clean) + KAPPA * root * batch["noise"]
    x = torch.where(chained[:, None, None, None], shifted, damaged)
    t = torch.where(chained, (level + 1) / 4, torch.ones_like(dice[:, 0]))
    truth = (batch["mask"] > 0.2).float()
    grown = torch.where(
        (dice[:, 2] < 0.5)[:, None, None, None], nn.functional.max_pool2d(truth, 3, 1, 1), truth
    )
    known = grown * (dice[:, 3] < 0.5)[:, None, None, None]
    out = net(x, torch.cat([damaged, known], dim=1), t).float()
    picture, logit = out[:, :3], out[:, 3:]
    weight = 1 + 1.5 * truth
    fidelity, edges = log_mse(picture, clean, weight), gradient_l1(picture, clean)
    detection = balanced_bce(logit, truth)
    loss = 0.1 * fidelity + edges + 0.05 * detection
    mse = (picture.detach() - clean).square().mean((1, 2, 3))
    return loss, {
        "psnr": (-10 * torch.log10(mse + 1e-8)).mean(),
        "edges": edges.detach(),
        "bce": detection.detach(),
    }


def tone_objective(net: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """One colour transform per thumbnail.

    It is read off the picture with all its damage, and judged on the same picture with its fading alone:
    noise and scratches, which no colour transform can mend, would drown what is to be learned.
    """
    clean, faded, damaged = batch["clean"], batch["faded"], batch["damaged"]
    parameters = net(damaged).float()
    # Every second pixel of every second row: a smooth transform needs no more, and it is most of the work.
    faded, clean = faded[..., ::2, ::2], clean[..., ::2, ::2]
    toned = apply_tone(faded, parameters, net_knots(net))
    slopes = parameters[:, : 3 * net_knots(net)].view(-1, 3, net_knots(net))
    roughness = slopes.diff(dim=2).square().mean()  # a curve, not a staircase
    mse = (toned - clean).square().mean((1, 2, 3))
    error = (toned - clean).abs().mean()
    # The root, not the logarithm: a logarithm would make "change nothing" the best guess whenever in doubt.
    loss = torch.sqrt(mse + 1e-6).mean() + error + 0.01 * roughness
    shown = (toned.detach().clamp(0, 1) - clean).square().mean((1, 2, 3))
    return loss, {"psnr": (-10 * torch.log10(shown + 1e-6)).mean(), "l1": error.detach()}


def net_knots(net: nn.Module) -> int:
    """The knots of a tone net, also behind a wrapper."""
    inner = getattr(net, "module", net)
    return int(getattr(inner, "_orig_mod", inner).config.knots)


def epsilon_objective(net: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    r"""The original system: predict the noise, with the mean squared error."""
    steps = 300
    schedule = linear(steps)
    clean, noise = 2 * batch["clean"] - 1, batch["noise"]
    index = (batch["dice"][:, 0] * steps).long().clamp(max=steps - 1)
    a, s = (
        torch.tensor(v, dtype=clean.dtype, device=clean.device)[index][:, None, None, None]
        for v in (schedule.alphas, schedule.sigmas)
    )
    inner = getattr(net, "module", net)
    conditional = getattr(inner, "_orig_mod", inner).config.conditional
    condition = 2 * batch["damaged"] - 1 if conditional else None
    predicted = net(a * clean + s * noise, (index + 1) / steps, condition).float()
    loss = (predicted - noise).square().mean()
    return loss, {"mse": loss.detach()}


OBJECTIVES: Mapping[str, Objective] = {
    "restore": restore_objective,
    "tone": tone_objective,
    "epsilon": epsilon_objective,
}
