r"""What the figures were measured on."""

__all__ = ["machine"]

import os
import platform
from typing import Any

from relume.machine import processor


def machine() -> dict[str, Any]:
    """Processor, cores, system and Python of this machine; no name and no address."""
    return {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
    }
