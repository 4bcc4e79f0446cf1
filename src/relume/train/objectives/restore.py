r"""Restoration: one net for plain regression and for the residual-shift chain."""

__all__ = ["KAPPA", "LEVELS", "Restore"]

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from relume.diffusion import Noise, begin, residual_shift_deterministic, residual_shift_posterior, sample
from relume.diffusion.schedules import residual_shift
from relume.errors import UsageError
from relume.train.losses import balanced_bce, gradient_l1, log_mse, spectral_l1, weighted_l1
from relume.train.objectives.objective import Batch, asked

Start = Literal["damaged", "noise"]
Predicts = Literal["residual", "clean", "velocity"]

LEVELS = 4
KAPPA = 0.25  # noise of the chain, in units of the [0,1] range


@dataclass(frozen=True)
class Restore:
    r"""Clean picture from damaged picture, at t = 1 from the start itself and along the chain

    .. math:: x_t = x_0 + η_t (s - x_0) + κ \sqrt{η_t} z .

    Parameters
    ----------
    kappa:
        κ, the noise of the chain.
    chain:
        Share of the batch that learns the chain; 0 is plain one-step regression. The others see the start
        without noise.
    start:
        s: the ``damaged`` picture, or a flat grey, so that the chain begins at ``noise`` and the damaged
        picture is known as a condition alone.
    predicts:
        What the net answers, r. ``residual``: :math:`\hat x_0 = y + r`; ``clean``: :math:`\hat x_0 = ½ + r`;
        ``velocity``, from the clean picture to the state: :math:`\hat x_0 = x_t - \sqrt{η_t}\, r`. The loss
        is on the picture in each case. The noise alone is no choice: reading the picture out of it divides
        by :math:`1 - η_T = 0.02`.
    mask_input:
        Whether half of the batch is told where the damage is.
    damage:
        How much more an error of l1 and log_mse weighs where something was painted over the picture.
    l1, log_mse, gradient, fourier, detection:
        Weights of the terms of the loss (see :mod:`relume.train.losses`); ``detection`` is for the logit of
        damage and does nothing for a net without one.

    Raises
    ------
    UsageError
        If a setting is out of range, or no term is left that compares pictures.
    """

    kappa: float = KAPPA
    chain: float = 0.3
    start: Start = "damaged"
    predicts: Predicts = "residual"
    mask_input: bool = True
    damage: float = 1.5
    l1: float = 0.0
    log_mse: float = 0.1
    gradient: float = 1.0
    fourier: float = 0.0
    detection: float = 0.05

    def __post_init__(self) -> None:
        for name, chosen, choices in (("start", self.start, Start), ("predicts", self.predicts, Predicts)):
            if chosen not in get_args(choices):
                raise UsageError(f"{name} is {chosen!r}: choose one of {', '.join(get_args(choices))}")
        if not (0 <= self.chain <= 1 and self.kappa >= 0):
            raise UsageError(f"chain={self.chain:g}, kappa={self.kappa:g}: a share of 0 to 1, and 0 or more")
        terms = (self.l1, self.log_mse, self.gradient, self.fourier)
        if min(*terms, self.detection, self.damage) < 0 or not any(terms):
            raise UsageError("weights of the loss are 0 or more, and one that compares pictures is above 0")

    def __call__(self, net: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        x, t = self._state(batch)
        truth = (batch["mask"] > 0.2).float()
        out = asked(net, x, batch["damaged"], self._known(truth, batch["dice"]), t)
        return self.judged(out, self.picture(out, x, batch["damaged"], t), batch["clean"], truth)

    def judged(
        self, out: Tensor, picture: Tensor, goal: Tensor, truth: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a picture against its goal, and of the logit in ``out`` against the true mask."""
        weight = 1 + self.damage * truth
        terms: dict[str, tuple[float, Callable[[], Tensor]]] = {
            "log_mse": (self.log_mse, lambda: log_mse(picture, goal, weight)),
            "edges": (self.gradient, lambda: gradient_l1(picture, goal)),
            "l1": (self.l1, lambda: weighted_l1(picture, goal, weight)),
            "fourier": (self.fourier, lambda: spectral_l1(picture, goal)),
            "bce": (self.detection * (out.shape[1] > 3), lambda: balanced_bce(out[:, 3:], truth)),
        }
        found = {name: term() for name, (factor, term) in terms.items() if factor}
        mse = (picture.detach() - goal).square().mean((1, 2, 3))
        figures = {name: value.detach() for name, value in found.items() if name != "log_mse"}
        figures["psnr"] = (-10 * torch.log10(mse + 1e-8)).mean()
        return sum((terms[name][0] * value for name, value in found.items()), torch.zeros(())), figures

    def picture(self, out: Tensor, x: Tensor, damaged: Tensor, t: Tensor) -> Tensor:
        """The clean picture that the net's answer stands for, (B,3,H,W)."""
        if self.predicts == "residual":
            return out[:, :3]
        answer = out[:, :3] - damaged
        if self.predicts == "clean":
            return 0.5 + answer
        return x - _roots(t) * answer

    def answer(
        self,
        net: nn.Module,
        damaged: Tensor,
        *,
        steps: int = 1,
        noise: Noise | None = None,
        known: Tensor | None = None,
    ) -> Tensor:
        """The restored picture after ``steps`` evaluations: a straight chain, or a sampled one with noise.

        ``noise`` is that of :func:`relume.diffusion.sample`; it is asked for only where κ is above 0.

        Raises
        ------
        UsageError
            If ``steps`` is not within 1 to 4.
        """
        schedule = replace(residual_shift(LEVELS), kappa=self.kappa if noise is not None else 0.0)
        make = residual_shift_deterministic if noise is None else residual_shift_posterior
        table, end = make(schedule, steps), self.end(damaged)
        mask = torch.zeros_like(damaged[:, :1]) if known is None else known

        def denoise(x: Tensor, t: float, condition: Any) -> Tensor:
            times = torch.full((len(x),), t, device=x.device)
            return self.picture(asked(net, x, damaged, mask, times), x, damaged, times)

        return sample(table, denoise, begin(table, y=end, noise=noise), y=end, noise=noise)

    def end(self, damaged: Tensor) -> Tensor:
        """Where the chain starts, without its noise."""
        return damaged if self.start == "damaged" else torch.full_like(damaged, 0.5)

    def _state(self, batch: Batch) -> tuple[Tensor, Tensor]:
        clean, dice, end = batch["clean"], batch["dice"], self.end(batch["damaged"])
        level = (dice[:, 0] * LEVELS).long().clamp(max=LEVELS - 1)
        chained = dice[:, 1] < self.chain
        t = (level + 1) / LEVELS
        root = _roots(t).to(clean.dtype)
        shifted = clean + root**2 * (end - clean) + self.kappa * root * batch["noise"]
        return torch.where(chained[:, None, None, None], shifted, end), torch.where(
            chained, t, torch.ones_like(dice[:, 0])
        )

    def _known(self, truth: Tensor, dice: Tensor) -> Tensor:
        """The mask as somebody would give it: exact or grown, or none at all."""
        if not self.mask_input:
            return torch.zeros_like(truth)
        grown = torch.where(
            (dice[:, 2] < 0.5)[:, None, None, None], nn.functional.max_pool2d(truth, 3, 1, 1), truth
        )
        return grown * (dice[:, 3] < 0.5)[:, None, None, None]


def _roots(t: Tensor) -> Tensor:
    r""":math:`\sqrt{η_t}`, (B,1,1,1), at the level of each time in (0,1]."""
    levels = torch.tensor(residual_shift(LEVELS).sqrt_eta, dtype=torch.float32, device=t.device)
    return levels[(t * LEVELS).round().long() - 1][:, None, None, None]
