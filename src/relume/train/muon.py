r"""Muon: steps of one size in every direction for kernels, Adam for whatever is no matrix."""

__all__ = ["Muon", "orthogonalised"]

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

# A polynomial that drives all singular values to about 1 (0.7 to 1.2) in five rounds.
_A, _B, _C, _ROUNDS = 3.4445, -4.7750, 2.0315, 5
_SMALLEST = 16  # rows and columns: a kernel that is flatter has few directions, and is left to Adam


def orthogonalised(matrix: Tensor) -> Tensor:
    r"""About :math:`U V^\top` of the singular value decomposition :math:`U Σ V^\top` of an m×n matrix.

    By Newton-Schulz iteration in bfloat16, which is precise enough for a direction. Returned as float32.
    """
    x = matrix.bfloat16()
    wide = x.shape[0] <= x.shape[1]
    x = x if wide else x.mT
    x = x / (x.norm() + 1e-7)
    for _ in range(_ROUNDS):
        square = x @ x.mT
        x = _A * x + (_B * square + _C * square @ square) @ x
    return (x if wide else x.mT).float()


class Muon(torch.optim.Optimizer):
    r"""Kernels (O,I,h,w) are matrices of O rows: their averaged gradient is orthogonalised before each step.

    A step is scaled by :math:`0.2 \sqrt{\max(m, n)}`, which gives it the size of one of Adam, so that a
    learning rate holds for both. Depthwise kernels, those of up to 16 rows or columns, biases, scales and
    dense layers go by AdamW. ``torch.optim.Muon``, whose steps these are, takes matrices alone and leaves the
    rest to another optimiser; a recipe and a checkpoint have one.

    Source: Jordan et al., *Muon: An optimizer for hidden layers in neural networks*, 2024; the scale: Liu et
    al., *Muon is Scalable for LLM Training*, 2025.

    Parameters
    ----------
    betas:
        Of Adam's two averages.
    momentum:
        Of the average of a kernel's gradients, looked at one step ahead (Nesterov).
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        momentum: float = 0.95,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of every parameter that has a gradient; what ``closure`` returns, if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                (self._turn if _is_matrix(parameter) else self._adam)(parameter, group)
        return loss

    def _turn(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        average = state["momentum"]
        average.lerp_(gradient, 1 - group["momentum"])
        ahead = gradient.lerp(average, group["momentum"]).reshape(len(parameter), -1)
        scale = 0.2 * max(ahead.shape) ** 0.5
        parameter.add_(orthogonalised(ahead).view(parameter.shape), alpha=-group["lr"] * scale)

    def _adam(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        count, (first, second) = float(state["step"]), group["betas"]
        mean = state["exp_avg"].lerp_(gradient, 1 - first)
        square = state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        size = (square / (1 - second**count)).sqrt_().add_(1e-8)
        parameter.addcdiv_(mean, size, value=-group["lr"] / (1 - first**count))


def _is_matrix(parameter: Tensor) -> bool:
    if parameter.ndim != 4 or parameter.shape[1] == 1:
        return False
    return min(len(parameter), parameter[0].numel()) > _SMALLEST
