r"""Checkpoints: safetensors and JSON, written atomically, never pickled."""

__all__ = [
    "averaged",
    "initialise",
    "last",
    "latest_checkpoint",
    "load_checkpoint",
    "samples",
    "save_checkpoint",
]

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from relume.bundle import CARD, Bundle, find
from relume.errors import TrainingError
from relume.nets import build
from relume.nets.blocks import Addition
from relume.nets.pix2pix import PatchNet

Weights = dict[str, Tensor]
Learner = tuple[nn.Module, torch.optim.Optimizer]


def save_checkpoint(
    folder: Path,
    *,
    step: int,
    net: nn.Module,
    average: Weights,
    optimizer: torch.optim.Optimizer,
    facts: dict[str, Any],
    rival: Learner | None = None,
) -> Path:
    """Write ``checkpoint.safetensors`` into ``folder``: net, its average, the optimiser's moments, the step.

    ``rival`` is the opponent of a contested objective with its optimiser. ``facts`` (whatever JSON holds)
    come back from :func:`load_checkpoint`. The file is complete or absent: it is written beside and moved.
    """
    tensors = _learned(net, optimizer)
    tensors |= {f"average.{name}": value.detach().cpu().contiguous() for name, value in average.items()}
    if rival is not None:
        tensors |= {f"rival.{key}": value for key, value in _learned(*rival).items()}
    folder.mkdir(parents=True, exist_ok=True)
    target, partial = folder / "checkpoint.safetensors", folder / "checkpoint.partial"
    save_file(tensors, partial, metadata={"step": str(step), "facts": json.dumps(facts)})
    partial.replace(target)
    return target


def _learned(net: nn.Module, optimizer: torch.optim.Optimizer) -> Weights:
    """A net's tensors and its optimiser's moments, by ``net.`` and ``optimizer.``."""
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    tensors = {f"net.{name}": value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{names[id(parameter)]}.{key}"] = value.detach().cpu().contiguous()
    return tensors


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint in ``folder``, if there is one."""
    path = folder / "checkpoint.safetensors"
    return path if path.is_file() else None


def load_checkpoint(
    path: Path,
    *,
    net: nn.Module,
    average: Weights,
    optimizer: torch.optim.Optimizer,
    rival: Learner | None = None,
) -> tuple[int, dict[str, Any]]:
    """Put a checkpoint back, to the bit; returns the step it was written after, and its facts.

    Raises
    ------
    TrainingError
        If the file is no checkpoint, or one of another net.
    """
    step, facts, part = _parts(path)
    try:
        _restore(net, optimizer, part["net."], part["optimizer."])
        for name, value in average.items():
            value.copy_(part["average."][name])
        if rival is not None:
            _restore(*rival, part["rival.net."], part["rival.optimizer."])
    except (RuntimeError, KeyError) as error:
        raise TrainingError(f"{path} belongs to another net: start in an empty folder") from error
    return step, facts


def _restore(net: nn.Module, optimizer: torch.optim.Optimizer, weights: Weights, moments: Weights) -> None:
    net.load_state_dict(weights)
    parameters = dict(net.named_parameters())
    for key, value in moments.items():
        name, entry = key.rsplit(".", 1)
        parameter = parameters[name]
        # Adam keeps its step counter on the CPU whatever the device. Moments get the memory layout of
        # their parameter, as they had it: in another one the same sums may round differently.
        optimizer.state[parameter][entry] = (
            value if entry == "step" else torch.empty_like(parameter.detach()).copy_(value)
        )


def averaged(checkpoint: Path, kind: str | None = None) -> tuple[nn.Module, dict[str, Any], int]:
    """The net of a checkpoint with its averaged weights, the recipe it was trained by, and its step.

    ``checkpoint`` may be the folder of a bundle too, one of whose nets is of ``kind`` (the name of a net):
    its weights are those that are stored, in half precision.

    Raises
    ------
    TrainingError
        If the file is no checkpoint, or the bundle holds no such net.
    """
    if kind is not None and (checkpoint / CARD).is_file():
        return _exported(find(checkpoint), kind)
    return _net_of(checkpoint, "average.")


def last(checkpoint: Path) -> tuple[nn.Module, dict[str, Any], int]:
    """The same with the weights of the last step: after a short run the average has hardly left its start.

    Raises
    ------
    TrainingError
        If the file is no checkpoint.
    """
    return _net_of(checkpoint, "net.")


def _exported(bundle: Bundle, kind: str) -> tuple[nn.Module, dict[str, Any], int]:
    """The net of ``kind`` of a bundle, as :func:`averaged` gives it."""
    for part, facts in bundle.card["graphs"].items():
        learned = bundle.card["training"].get(part)
        if facts["net"]["kind"] == kind and isinstance(learned, dict):
            net = build(kind, facts["net"]["config"]).eval()
            net.load_state_dict(_stored(bundle, facts["prefix"]))
            return net, learned["recipe"], learned["step"]
    raise TrainingError(f"model {bundle.name} tells of no training of a net {kind!r}: name a checkpoint")


def _stored(bundle: Bundle, prefix: str) -> Weights:
    """The tensors of a bundle whose names begin with ``prefix``, without it and in float32."""
    return {
        name.removeprefix(prefix): torch.from_numpy(value).float()
        for name, value in bundle.tensors().items()
        if name.startswith(prefix)
    }


def _net_of(checkpoint: Path, prefix: str) -> tuple[nn.Module, dict[str, Any], int]:
    try:
        with safe_open(checkpoint, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {
                key.removeprefix(prefix): file.get_tensor(key)
                for key in file.keys()  # noqa: SIM118
                if key.startswith(prefix)
            }
        facts = json.loads(metadata["facts"])
        step = int(metadata["step"])
        net = build(facts["net"], facts["config"]).eval()
        net.load_state_dict(weights)
    except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
        raise TrainingError(f"{checkpoint} is no checkpoint of a training run ({error})") from error
    return net, facts, step


def samples(step: int, facts: dict[str, Any]) -> int:
    """How many pictures a run of these facts has seen after ``step``, in all its processes."""
    return int(facts.get("samples", step * facts["batch"]))


def initialise(path: Path, *, net: nn.Module, average: Weights) -> list[str]:
    """Start ``net`` and ``average`` from the average of a checkpoint, also one of a shallower net.

    ``path`` may be the folder of a bundle too, one of whose graphs is a net of this kind.

    Blocks that the checkpoint does not know become identities, so that the grown net computes what the small
    one did; a judge, which is no part of what is computed, begins afresh. Their names are returned.

    Raises
    ------
    TrainingError
        If the file is no checkpoint, or holds more than a shallower net of the same shape.
    """
    known = _bundled(path, net) if (path / CARD).is_file() else _parts(path)[2]["average."]
    modules = dict(net.named_modules())
    missing = [name for name in net.state_dict() if name not in known]
    try:
        grown = sorted({_block_of(name, modules) for name in missing})
        if any(name.startswith(tuple(f"{block}." for block in grown)) for name in known):
            raise KeyError(missing[0])  # half of a block is no block
        unexpected = net.load_state_dict(known, strict=False).unexpected_keys
        if unexpected:
            raise KeyError(unexpected[0])
    except (RuntimeError, KeyError) as error:
        raise TrainingError(f"{path} belongs to another net: start from one of the same widths") from error
    for name in grown:
        added = modules[name]
        if isinstance(added, Addition):
            added.silence()
    for name, value in net.state_dict().items():
        average[name].copy_(value)
    return grown


def _bundled(path: Path, net: nn.Module) -> Weights:
    """The weights of the first graph of a bundle that is such a net, or a smaller one, in float32."""
    bundle = find(path)
    for facts in bundle.card["graphs"].values():
        known = _stored(bundle, facts["prefix"])
        if known.keys() <= net.state_dict().keys():
            return known
    raise TrainingError(f"model {bundle.name} holds no net of this kind: name another --init")


def _block_of(parameter: str, modules: dict[str, nn.Module]) -> str:
    """The addition or the judge that ``parameter`` belongs to."""
    name = parameter
    while "." in name:
        name = name.rpartition(".")[0]
        if isinstance(modules[name], Addition | PatchNet):
            return name
    raise KeyError(parameter)


def _parts(path: Path) -> tuple[int, dict[str, Any], dict[str, Weights]]:
    """Step, facts and tensors (by ``net.``, ``average.`` and ``optimizer.``) of a checkpoint."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        step, facts = int(metadata["step"]), json.loads(metadata["facts"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise TrainingError(f"{path} is no readable checkpoint: start in an empty folder") from error
    heads = ("net.", "average.", "optimizer.", "rival.net.", "rival.optimizer.")
    return (
        step,
        facts,
        {
            head: {key.removeprefix(head): value for key, value in tensors.items() if key.startswith(head)}
            for head in heads
        },
    )
