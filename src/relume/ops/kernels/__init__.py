r"""Kernels in Triton, one file each: they run on an NVIDIA GPU, or slowly anywhere by Triton's interpreter.

Triton comes with the CUDA builds of torch for Linux; no kernel is imported before it is called.
``TRITON_INTERPRET=1``, set before the first call, runs them without a GPU, for tests. They were tried that
way only: none has run on a GPU yet.
"""

__all__ = ["interpreted", "native", "need", "version"]

import functools
import importlib.metadata
import importlib.util
import os

from torch import Tensor

from relume.errors import EngineUnavailable


def interpreted() -> bool:
    """Whether kernels run by the interpreter."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def native(tensor: Tensor) -> bool:
    """Whether a kernel would run on this tensor's own GPU."""
    return tensor.is_cuda and version() is not None and not interpreted()


def need(tensor: Tensor) -> None:
    """Makes sure that kernels can run on this tensor.

    Raises:
        EngineUnavailable: Triton is missing, or the tensor is not on a GPU and nothing is interpreted.
    """
    if version() is None:
        raise EngineUnavailable("Triton is not installed: use another way, or pip install triton (Linux)")
    if not (tensor.is_cuda or interpreted()):
        raise EngineUnavailable("a Triton kernel needs a tensor on a GPU: use another way on the CPU")


@functools.cache
def version() -> str | None:
    """That of Triton; ``None`` where it is not installed."""
    if importlib.util.find_spec("triton") is None:
        return None
    try:
        return importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
