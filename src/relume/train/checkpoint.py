r"""Checkpoints: safetensors and JSON, written atomically, never pickled."""

__all__ = ["load_checkpoint", "save_checkpoint", "latest_checkpoint"]

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from relume.errors import TrainingError

Weights = dict[str, Tensor]


def save_checkpoint(
    folder: Path,
    *,
    step: int,
    net: nn.Module,
    average: Weights,
    optimizer: torch.optim.Optimizer,
    facts: dict[str, Any],
) -> Path:
    """Write ``checkpoint.safetensors`` into ``folder``: net, its average, the optimiser's moments, the step.

    ``facts`` (whatever JSON holds) come back from :func:`load_checkpoint`. The file is complete or absent: it
    is written beside and moved.
    """
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    tensors = {f"net.{name}": value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    tensors |= {f"average.{name}": value.detach().cpu().contiguous() for name, value in average.items()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{names[id(parameter)]}.{key}"] = value.detach().cpu().contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    target, partial = folder / "checkpoint.safetensors", folder / "checkpoint.partial"
    save_file(tensors, partial, metadata={"step": str(step), "facts": json.dumps(facts)})
    partial.replace(target)
    return target


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint in ``folder``, if there is one."""
    path = folder / "checkpoint.safetensors"
    return path if path.is_file() else None


def load_checkpoint(
    path: Path, *, net: nn.Module, average: Weights, optimizer: torch.optim.Optimizer | None
) -> tuple[int, dict[str, Any]]:
    """Put a checkpoint back, to the bit; returns the step it was written after, and its facts.

    Raises
    ------
    TrainingError
        If the file is no checkpoint, or one of another net.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        step, facts = int(metadata["step"]), json.loads(metadata["facts"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise TrainingError(f"{path} is no readable checkpoint: start in an empty folder") from error
    part = {
        head: {key.removeprefix(head): value for key, value in tensors.items() if key.startswith(head)}
        for head in ("net.", "average.", "optimizer.")
    }
    try:
        net.load_state_dict(part["net."])
        for name, value in average.items():
            value.copy_(part["average."][name])
    except (RuntimeError, KeyError) as error:
        raise TrainingError(f"{path} belongs to another net: start in an empty folder") from error
    if optimizer is not None:
        parameters = dict(net.named_parameters())
        for key, value in part["optimizer."].items():
            name, entry = key.rsplit(".", 1)
            parameter = parameters[name]
            # Adam keeps its step counter on the CPU whatever the device. Moments get the memory layout of
            # their parameter, as they had it: in another one the same sums may round differently.
            optimizer.state[parameter][entry] = (
                value if entry == "step" else torch.empty_like(parameter.detach()).copy_(value)
            )
    return step, facts
