r"""The most memory that this process ever held."""

__all__ = ["peak_bytes", "resident_bytes"]

import platform
from pathlib import Path

STATUS = Path("/proc/self/status")


def peak_bytes() -> int | None:
    """The largest resident set since this program began; ``None`` where the system does not tell.

    On Linux this is ``VmHWM``. ``ru_maxrss`` would be wrong there: a child process takes over the figure of
    the process that started it.
    """
    if STATUS.exists():
        return _status("VmHWM")
    if platform.system() == "Darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes there
    return None


def resident_bytes() -> int | None:
    """The resident set now; ``None`` where the system does not tell."""
    return _status("VmRSS") if STATUS.exists() else None


def _status(name: str) -> int | None:
    for line in STATUS.read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    return None
