r"""No model: the identity, so that all above the engines can be tested and measured without one.

A graph that gives a picture back (its output has the height and width of an input) returns the first three
channels of ``condition`` as they came, and a damage logit of −10, "nothing is damaged here", in every further
channel. Any other graph returns zeros, which are the parameters of the tone transform that changes nothing.
"""

__all__ = ["NAMES", "PACKAGES", "NullEngine", "load", "probe"]

from typing import Any

import numpy as np

from relume._version import __version__
from relume.bundle import Bundle
from relume.engines.engine import Build, Engine, Status, check, feeds
from relume.engines.gate import open_to
from relume.errors import EngineUnavailable, UsageError

NAMES = ("null",)
PACKAGES = ("relume",)
UNDAMAGED = -10.0


class NullEngine(Engine):
    """Gives back what it gets."""

    def __init__(self, bundle: Bundle, graph: str) -> None:
        self.name, self.device, self.precision, self.version = "null", "cpu", "f32", __version__
        self.runtime = {}
        self._facts = bundle.facts(graph)

    def __call__(self, *arrays: Any) -> Any:
        ports, output = self._facts["inputs"], self._facts["outputs"][0]["shape"]
        values = feeds(ports, arrays)
        sizes = check(ports, arrays)
        missing = [size for size in output if isinstance(size, str) and size not in sizes]
        if missing:
            raise UsageError(f"the null engine cannot know the size of {', '.join(missing)}")
        result = np.zeros([sizes[size] if isinstance(size, str) else size for size in output], np.float32)
        picture = next((port for port in ports if port["name"] == "condition"), ports[0])
        spatial = picture["shape"][2:]
        if len(output) == 4 and len(spatial) == 2 and output[2:] == spatial:
            result[:, 3:] = UNDAMAGED
            channels = min(3, result.shape[1], values[picture["name"]].shape[1])
            result[:, :channels] = values[picture["name"]][:, :channels]
        return result


def probe() -> Status:
    return Status("null", True, version=__version__, devices=("cpu",), precisions=("f32",))


def load(
    bundle: Bundle,
    graph: str,
    *,
    name: str,
    device: str,
    precision: str,
    threads: int | None,
    build: Build | None,
    force: bool,
) -> Engine:
    """Loads nothing. Raises :class:`EngineUnavailable` for a device other than the CPU or a precision."""
    if device not in ("auto", "cpu"):
        raise EngineUnavailable(f"engine {name} has no device {device}; use --device cpu")
    if "f32" not in open_to(bundle, name, precision, force=force):
        raise EngineUnavailable(f"engine {name} runs at f32, not at {precision}")
    return NullEngine(bundle, graph)
