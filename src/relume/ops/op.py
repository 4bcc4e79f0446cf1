r"""One operation in several ways, and the choice between them."""

__all__ = ["Op", "Way", "fastest", "forget"]

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from statistics import median
from typing import Any

import torch
from torch import Tensor

from relume import kept, machine
from relume.errors import UsageError
from relume.ops import kernels

Way = Callable[..., Tensor]
Clock = Callable[[], float]

ROUNDS = 5
_SHELF = "ops"
_CHOSEN: dict[str, str] = {}


@dataclass(frozen=True)
class Op:
    """An operation: what it means, written plainly, and ways to compute it.

    Parameters
    ----------
    name:
        Under which its measurements are kept.
    reference:
        The formula, one operation after the other. Tensors are positional, settings are keywords.
    ways:
        Name → a function of the same signature, value and gradient. ``"triton"`` is a kernel of
        :mod:`relume.ops.kernels`; the others run wherever torch does.
    """

    name: str
    reference: Way
    ways: Mapping[str, Way]

    def __call__(self, *tensors: Tensor, **settings: Any) -> Tensor:
        """By the way that measured fastest for these shapes on this machine."""
        return self.ways[fastest(self, *tensors, **settings)](*tensors, **settings)

    def here(self, tensor: Tensor) -> list[str]:
        """The ways worth timing for this tensor: a kernel only on the GPU that it was written for."""
        return [name for name in self.ways if name != "triton" or kernels.native(tensor)]


def fastest(
    op: Op, *tensors: Tensor, rounds: int = ROUNDS, clock: Clock = time.perf_counter, **settings: Any
) -> str:
    """The way of least median time over interleaved rounds, measured once and then kept.

    What is kept holds for these shapes, strides, types and settings, with or without a gradient, and for this
    device, number of threads and version of torch: in the process, and on disk among the user's caches.

    Arguments:
        tensors: as the operation takes them; their values do not matter and are not changed.
        rounds: calls of each way that count, after one that does not.

    Raises:
        UsageError: no way of the operation can run here.
    """
    names = op.here(tensors[0])
    if len(names) == 1:
        return names[0]
    if not names:
        raise UsageError(f"no way of {op.name} runs on {tensors[0].device}: move the tensors to the CPU")
    key = _key(op, tensors, settings, names)
    place = str(kept.place_of(_SHELF, key))
    if place not in _CHOSEN:
        seconds = _sound(kept.recall(_SHELF, key), names)
        if seconds is None:
            seconds = _measure(op, names, tensors, settings, rounds, clock)
            kept.remember(_SHELF, key, {"seconds": seconds})
        _CHOSEN[place] = min(names, key=seconds.__getitem__)
    return _CHOSEN[place]


def forget() -> None:
    """Drops what this process remembers; what is on disk stays."""
    _CHOSEN.clear()


def _tracked(tensors: tuple[Tensor, ...]) -> bool:
    return torch.is_grad_enabled() and any(each.requires_grad for each in tensors)


def _key(op: Op, tensors: tuple[Tensor, ...], settings: Mapping[str, Any], names: list[str]) -> kept.Key:
    device = tensors[0].device
    gpu = device.type == "cuda"
    return {
        "op": op.name,
        "ways": names,
        "tensors": [[list(each.shape), list(each.stride()), str(each.dtype)] for each in tensors],
        "settings": {name: repr(value) for name, value in sorted(settings.items())},
        "gradient": _tracked(tensors),
        "device": torch.cuda.get_device_name(device) if gpu else machine.processor(),
        "threads": torch.get_num_threads(),
        "versions": {"torch": torch.__version__, "triton": kernels.version()},
    }


def _sound(found: Mapping[str, Any] | None, names: list[str]) -> dict[str, float] | None:
    """The kept seconds, where there is a positive number for each way."""
    seconds = (found or {}).get("seconds")
    if not isinstance(seconds, dict) or set(seconds) != set(names):
        return None
    whole = all(isinstance(value, float) and 0 < value < float("inf") for value in seconds.values())
    return seconds if whole else None


def _measure(
    op: Op,
    names: list[str],
    tensors: tuple[Tensor, ...],
    settings: Mapping[str, Any],
    rounds: int,
    clock: Clock,
) -> dict[str, float]:
    """Seconds of each way: the median of interleaved rounds."""
    tracked = _tracked(tensors)
    own = tuple(each.detach().requires_grad_(each.requires_grad and tracked) for each in tensors)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for name in chain(names, *([names] * rounds)):
        before = clock()
        out = op.ways[name](*own, **settings)
        if tracked:
            torch.autograd.grad(out.sum(), [each for each in own if each.requires_grad])
        if out.is_cuda:
            torch.cuda.synchronize(out.device)
        taken[name].append(clock() - before)
    return {name: median(seconds[1:]) for name, seconds in taken.items()}
