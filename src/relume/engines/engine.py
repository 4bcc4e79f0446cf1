r"""What every engine is, and how its failures are told."""

__all__ = [
    "BATCH_TOLERANCE",
    "Build",
    "Engine",
    "Status",
    "check",
    "failures",
    "feeds",
    "unavailable",
    "version_of",
]

import importlib.metadata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from relume.bundle import Bundle, Port
from relume.errors import EngineError, EngineUnavailable, OutOfMemory, RelumeError, UsageError

Build = Callable[[str, dict[str, Any]], Any]
"""``nets.build``: (kind, config) → torch module. Handed in by ``tasks``: engines know no net."""

BATCH_TOLERANCE: Mapping[str, float] = {"f32": 1e-5, "bf16": 2e-2, "f16": 2e-2, "int8": 2e-2}
"""How far an answer may depend on what else is in its batch, at each precision: the largest difference, in
units of the larger of 1 and the value. Runtimes choose kernels by the batch, which sum in other orders."""

# How the runtimes say that memory ran out; most have no exception class for it.
_MEMORY = ("out of memory", "not enough memory", "allocate memory", "bad_alloc", "bad allocation")


@dataclass(frozen=True)
class Status:
    """What ``relume doctor`` says about an engine."""

    name: str
    available: bool
    reason: str = ""
    """Why it cannot run, with the way out; empty when it can."""
    version: str | None = None
    devices: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()


class Engine(ABC):
    """One graph of a bundle, loaded and ready. Same arrays, same bytes.

    In a batch an answer is what it would be alone, to within :data:`BATCH_TOLERANCE`.
    The attributes say what really runs, as the runtime reports it, not what was asked for. An engine that
    finds something else running than what was asked for is not returned: loading raises.
    """

    name: str
    device: str
    precision: str
    version: str
    runtime: dict[str, Any]
    """The runtime's own words for device and precision, as read back from it."""
    chosen: str = "name"
    """How ``auto`` came to it: ``benchmark`` or ``order``; ``name`` where it was asked for."""
    calls: int = 1
    """How many calls from different threads are worked on at once; more wait for each other."""

    def facts(self) -> dict[str, Any]:
        """What really runs, for reports."""
        return {
            "name": self.name,
            "version": self.version,
            "device": self.device,
            "precision": self.precision,
            "chosen": self.chosen,
            "runtime": dict(self.runtime),
        }

    def prepare(self, *shapes: tuple[int, ...]) -> None:
        """Gets ready for arrays of these shapes, which the first call with them would otherwise do.

        It may run in a thread beside other work. An engine that has nothing to prepare does nothing.

        Raises:
            EngineError: as a call would.
        """
        return

    def shared(self, calls: int) -> "Engine":
        """An engine of the same graph for up to so many calls at once, each with its part of the threads.

        All together they get more done, as no thread waits for others in the middle of a layer; one alone
        takes longer. Bytes are the same. An engine that cannot do this gives itself: see ``calls``.

        Raises:
            UsageError: fewer than one call.
            EngineError: as loading would.
        """
        if calls < 1:
            raise UsageError(f"{calls} calls at once do nothing: use 1 or more")
        return self

    @abstractmethod
    def __call__(self, *arrays: Any) -> Any:
        """Runs the graph.

        Arguments:
            arrays: the inputs in the order of the card, float32.

        Returns:
            The output, float32, of the kind that was given (numpy → numpy; torch → torch where supported).

        Raises:
            UsageError: the number, kind or shape of the arrays does not fit the card.
            OutOfMemory: the device is too small for arrays of this size.
            EngineError: the runtime failed otherwise.
        """


def feeds(ports: Sequence[Port], arrays: Sequence[Any]) -> dict[str, npt.NDArray[np.float32]]:
    """Names the arrays after the inputs and checks that they fit; makes them contiguous float32.

    Raises:
        UsageError: they do not fit.
    """
    for array in arrays:
        if not isinstance(array, np.ndarray):
            raise UsageError(f"this engine takes numpy arrays, not {type(array).__name__}")
    check(ports, arrays)
    return {
        port["name"]: np.ascontiguousarray(array, np.float32)
        for port, array in zip(ports, arrays, strict=True)
    }


def check(ports: Sequence[Port], arrays: Sequence[Any]) -> dict[str, int]:
    """Compares shapes with the card and returns the sizes of its named axes.

    Raises:
        UsageError: the number of arrays or a shape does not fit, or one name would have two sizes.
    """
    if len(arrays) != len(ports):
        names = ", ".join(port["name"] for port in ports)
        raise UsageError(f"the graph takes {len(ports)} arrays ({names}), not {len(arrays)}")
    sizes: dict[str, int] = {}
    for port, array in zip(ports, arrays, strict=True):
        shape, wanted = tuple(array.shape), port["shape"]
        fits = len(shape) == len(wanted) and all(
            size == (sizes.setdefault(want, size) if isinstance(want, str) else want)
            for size, want in zip(shape, wanted, strict=True)
        )
        if not fits:
            known = ", ".join(f"{name} = {size}" for name, size in sizes.items())
            raise UsageError(f'"{port["name"]}" has shape {shape}; the card says {wanted} ({known})')
    return sizes


@contextmanager
def failures(name: str, bundle: Bundle, *, loading: bool = False) -> Iterator[None]:
    """Maps what a runtime throws to :class:`OutOfMemory` and :class:`EngineError`.

    While loading, the files are verified first: a broken one is the likeliest cause, and then
    :class:`BundleCorrupt` says so.
    """
    try:
        yield
    except RelumeError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:300] or type(error).__name__
        if isinstance(error, MemoryError) or any(phrase in str(error).lower() for phrase in _MEMORY):
            raise OutOfMemory(f"{name} ran out of memory; use a smaller --tile or --max-memory") from error
        if loading:
            bundle.verify()
        doing = "load" if loading else "run"
        raise EngineError(
            f'{name} cannot {doing} model "{bundle.name}": {text}; try another --engine'
        ) from error


def unavailable(name: str, package: str, extra: str | None) -> EngineUnavailable:
    """The error for a runtime that is not installed."""
    what = f'"relume[{extra}]"' if extra else package
    return EngineUnavailable(f"engine {name} needs {package}: pip install {what}")


def version_of(*packages: str) -> str:
    """The version of the first of these distributions that is installed; empty if none is."""
    for package in packages:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""
