r"""This machine: what a measurement made here holds for. No name and no address of it."""

__all__ = ["graphics", "processor", "usable_cores"]

import os
import platform
from pathlib import Path


def processor() -> str:
    """The model name of the CPU, or its architecture where the system does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    names = _values(text, "model name")
    return names[0] if names else platform.processor() or platform.machine() or "unknown"


def usable_cores() -> int:
    """The logical cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def graphics() -> list[str]:
    """The NVIDIA GPUs that the Linux driver lists, without asking CUDA; empty on other systems."""
    found = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        try:
            found += _values(path.read_text(encoding="utf-8", errors="replace"), "Model")[:1]
        except OSError:
            continue
    return found


def _values(text: str, name: str) -> list[str]:
    pairs = (line.partition(":") for line in text.splitlines())
    return [value.strip() for key, _, value in pairs if key.strip() == name]
