r"""One operation in several ways, and the choice between them."""

__all__ = ["Op", "Way", "fastest", "forget"]

import math
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

Seconds = dict[str, float | None]

ROUNDS = 5
NEAR = 0.01
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

    A way that fails here, or whose value is more than 1 % away from that of the first, is never chosen. The
    times are taken on drawn values. What is kept holds for these shapes, strides, types and
    settings, with or without a gradient, and for this device, number of threads and version of torch: in the
    process, and on disk among the user's caches.

    Arguments:
        tensors: as the operation takes them; their values do not matter.
        rounds: calls of each way that count, after one that does not.

    Raises:
        UsageError: no way of the operation can run here, or the tensors do not fit.
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
        _CHOSEN[place] = min(names, key=lambda name: seconds[name] or math.inf)
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


def _sound(found: Mapping[str, Any] | None, names: list[str]) -> Seconds | None:
    """The kept seconds: a positive number for the first way, and one or none for each other."""
    seconds = (found or {}).get("seconds")
    if not isinstance(seconds, dict) or set(seconds) != set(names) or seconds[names[0]] is None:
        return None
    known = [value for value in seconds.values() if value is not None]
    return seconds if all(isinstance(value, float) and 0 < value < math.inf for value in known) else None


def _measure(
    op: Op,
    names: list[str],
    tensors: tuple[Tensor, ...],
    settings: Mapping[str, Any],
    rounds: int,
    clock: Clock,
) -> Seconds:
    """Seconds of each way: the median of interleaved rounds; none for one that cannot be used."""
    own = _drawn(tensors)
    first = op.ways[names[0]](*own, **settings).detach()
    taken: dict[str, list[float]] = {
        name: [] for name in names if _agrees(op.ways[name], own, settings, first)
    }
    for name in chain(*([list(taken)] * rounds)):
        before = clock()
        _once(op.ways[name], own, settings)
        taken[name].append(clock() - before)
    return {name: median(taken[name]) if name in taken else None for name in names}


def _drawn(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Others of the same kind, drawn from a generator of their own: nobody's chance is touched."""
    tracked, maker = _tracked(tensors), torch.Generator(tensors[0].device).manual_seed(0)
    fresh = (torch.empty_like(each).detach().normal_(generator=maker) for each in tensors)
    return tuple(
        new.requires_grad_(each.requires_grad and tracked) for new, each in zip(fresh, tensors, strict=True)
    )


def _once(way: Way, tensors: tuple[Tensor, ...], settings: Mapping[str, Any]) -> Tensor:
    out = way(*tensors, **settings)
    wanted = [each for each in tensors if each.requires_grad]
    if wanted:
        torch.autograd.grad(out.sum(), wanted)
    if out.is_cuda:
        torch.cuda.synchronize(out.device)
    return out.detach()


def _agrees(way: Way, tensors: tuple[Tensor, ...], settings: Mapping[str, Any], first: Tensor) -> bool:
    """Whether a way runs, which also warms it up, and comes near the value of the first."""
    try:
        away = torch.linalg.vector_norm((_once(way, tensors, settings) - first).float())
    except Exception:  # whatever a compiler or a driver raises: the others remain
        return False
    return bool(away <= NEAR * torch.linalg.vector_norm(first.float()))
