r"""Muon: steps of one size in every direction for kernels, Adam for whatever is no matrix."""

__all__ = ["Muon", "orthogonalised", "shares"]

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, distributed

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


def _all_orthogonalised(matrices: list[Tensor]) -> list[Tensor]:
    """Each matrix orthogonalised, by whichever process has it in its share."""
    if not (distributed.is_available() and distributed.is_initialized()) or not matrices:
        return [orthogonalised(matrix) for matrix in matrices]
    owners, mine = (
        shares([_cost(matrix) for matrix in matrices], distributed.get_world_size()),
        distributed.get_rank(),
    )
    flat = matrices[0].new_zeros(sum(matrix.numel() for matrix in matrices), dtype=torch.float32)
    parts = flat.split([matrix.numel() for matrix in matrices])
    for matrix, owner, part in zip(matrices, owners, parts, strict=True):
        if owner == mine:
            part.copy_(orthogonalised(matrix).reshape(-1))
    distributed.all_reduce(flat)  # a sum in which one term is not zero
    return [part.view(matrix.shape) for matrix, part in zip(matrices, parts, strict=True)]


def _cost(matrix: Tensor) -> int:
    return min(matrix.shape) * matrix.numel()


def shares(costs: Sequence[int], processes: int) -> list[int]:
    """Which process does what: the dearest first, each to whoever has the least to do.

    >>> shares([1, 5, 4, 2], 2)
    [0, 0, 1, 1]
    """
    load, owners = [0] * processes, [0] * len(costs)
    for item in sorted(range(len(costs)), key=lambda each: -costs[each]):
        owners[item] = load.index(min(load))
        load[owners[item]] += costs[item]
    return owners


class Muon(torch.optim.Optimizer):
    r"""Kernels (O,I,h,w) are matrices of O rows: their averaged gradient is orthogonalised before each step.

    A step is scaled by :math:`0.2 \sqrt{\max(m, n)}`, which gives it the size of one of Adam, so that a
    learning rate holds for both. Depthwise kernels, those of up to 16 rows or columns, biases, scales and
    dense layers go by AdamW. ``torch.optim.Muon``, whose steps these are, takes matrices alone and leaves the
    rest to another optimiser; a recipe and a checkpoint have one.

    Processes that learn one net are given the same gradients. Each orthogonalises its share of the kernels,
    and all take all steps: with these gradients, what one process would do.

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
            given = [parameter for parameter in group["params"] if parameter.grad is not None]
            for parameter in given:
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                if not _is_matrix(parameter):
                    self._adam(parameter, group)
            self._turn([parameter for parameter in given if _is_matrix(parameter)], group)
        return loss

    def _turn(self, kernels: list[Tensor], group: dict[str, Any]) -> None:
        ahead = [self._ahead(kernel, group["momentum"]) for kernel in kernels]
        for kernel, matrix, turned in zip(kernels, ahead, _all_orthogonalised(ahead), strict=True):
            scale = 0.2 * max(matrix.shape) ** 0.5
            kernel.add_(turned.view(kernel.shape), alpha=-group["lr"] * scale)

    def _ahead(self, parameter: Tensor, momentum: float) -> Tensor:
        """The averaged gradient, one step ahead, as a matrix."""
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        average = state["momentum"]
        average.lerp_(gradient, 1 - momentum)
        return gradient.lerp(average, momentum).reshape(len(parameter), -1)

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
