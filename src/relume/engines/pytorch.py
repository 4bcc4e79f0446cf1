r"""PyTorch: the reference on a CPU, and what runs on CUDA.

``pytorch`` runs the module as it is; ``pytorch-compile`` hands it to ``torch.compile``, which takes its time
at the first tile and needs a C++ compiler on CPUs; ``pytorch-graph`` records the module's kernels on a GPU
and replays them (:mod:`relume.engines.replay`). The modules come from a function that is handed in.
"""

__all__ = ["NAMES", "PACKAGES", "PytorchEngine", "load", "probe"]

import importlib.util
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from relume.bundle import Bundle
from relume.engines.engine import (
    Build,
    Engine,
    Status,
    check,
    failures,
    feeds,
    unavailable,
    version_of,
)
from relume.engines.gate import open_to
from relume.engines.replay import Replay
from relume.errors import BundleCorrupt, EngineUnavailable, UsageError

NAMES = ("pytorch", "pytorch-compile", "pytorch-graph")
PACKAGES = ("torch",)
_DTYPES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}


class PytorchEngine(Engine):
    """A torch module in inference mode. Takes numpy arrays or torch tensors, and gives back the same kind."""

    def __init__(
        self,
        bundle: Bundle,
        graph: str,
        module: Any,
        name: str,
        device: str,
        precision: str,
        threads: int | None,
    ) -> None:
        self.name, self.device, self.precision = name, device, precision
        self.version = version_of(*PACKAGES)
        self._bundle, self._module, self._threads = bundle, module, threads
        self._inputs = bundle.facts(graph)["inputs"]
        with failures(name, bundle):
            self.runtime = self._runs()

    def __call__(self, *arrays: Any) -> Any:
        import torch

        tensors = [isinstance(array, torch.Tensor) for array in arrays]
        if any(tensors) and not all(tensors):
            raise UsageError("give all arrays as torch tensors or all as numpy arrays, not mixed")
        if not any(tensors):
            values = feeds(self._inputs, arrays)
            # torch warns of arrays that it must not write to, although nothing here writes.
            given = [torch.from_numpy(v if v.flags.writeable else v.copy()) for v in values.values()]
        else:
            check(self._inputs, arrays)
            given = list(arrays)
        with failures(self.name, self._bundle), self._settings():
            result = self._module(*(_place(value, self.device) for value in given))
            result = result.to(given[0].device, torch.float32).contiguous()
            return result if any(tensors) else np.array(result.numpy())

    def _runs(self) -> dict[str, Any]:
        """Where the weights lie, and what a convolution under the settings of a call gives."""
        import torch

        weights = {str(weight.device) for weight in self._module.parameters()}
        with self._settings():
            one = torch.ones(1, 1, 1, 1, device=self.device)
            result = torch.nn.functional.conv2d(one, one)
        runs = {
            "weights": sorted(weights),
            "device": str(result.device),
            "dtype": str(result.dtype).removeprefix("torch."),
        }
        if weights | {str(result.device)} != {self.device} or result.dtype != getattr(
            torch, _DTYPES[self.precision]
        ):
            raise EngineUnavailable(
                f"engine {self.name} runs as {runs} instead of {self.precision} on {self.device}; "
                "use --device cpu, --precision f32"
            )
        return runs

    @contextmanager
    def _settings(self) -> Iterator[None]:
        """What holds during a call only, so that a program round us keeps its own settings."""
        import torch

        kind = self.device.partition(":")[0]
        before = torch.get_num_threads()
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            # Same arrays, same bytes; and what is called f32 is f32, not TF32.
            stack.enter_context(
                torch.backends.cudnn.flags(
                    enabled=True, benchmark=False, deterministic=True, allow_tf32=False
                )
            )
            if self.precision != "f32":
                dtype = getattr(torch, _DTYPES[self.precision])
                # A recording must not point to casts that are gone with the call in which it was made.
                cached = self.name != "pytorch-graph"
                stack.enter_context(torch.autocast(kind, dtype=dtype, cache_enabled=cached))
            if self._threads is not None:
                torch.set_num_threads(self._threads)
                stack.callback(torch.set_num_threads, before)
            yield


def probe() -> Status:
    """What torch can do here; imports it only when it is installed."""
    if importlib.util.find_spec("torch") is None:
        return Status("pytorch", False, str(unavailable("pytorch", "torch", "train")))
    try:
        import torch
    except (ImportError, OSError) as error:
        return Status("pytorch", False, f"torch is installed but does not load: {error}")
    cuda = tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))
    return Status(
        "pytorch",
        True,
        version=version_of(*PACKAGES),
        devices=("cpu", *cuda),
        precisions=("f32", "bf16", "f16") if cuda else ("f32", "bf16"),
    )


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
    """Builds the module and fills it with its weights; ``device`` is auto, cpu, cuda, cuda:N or gpu.

    Raises:
        EngineUnavailable: torch, the device or the precision is not there, or no ``build`` was handed in.
        BundleCorrupt: the weights do not fit the module.
    """
    if importlib.util.find_spec("torch") is None:
        raise unavailable(name, "torch", "train")
    if build is None:
        raise EngineUnavailable(f"engine {name} needs build=relume.nets.build to make the network")
    accepted = open_to(bundle, NAMES[0], precision, force=force)
    try:
        import torch
    except (ImportError, OSError) as error:
        raise EngineUnavailable(f"torch is installed but does not load: {error}") from error
    real_device = _device(name, device)
    if name == "pytorch-graph" and real_device == "cpu":
        raise EngineUnavailable(f"engine {name} needs a CUDA GPU; use --engine pytorch")
    chosen = _choose(name, real_device, precision, accepted)
    with failures(name, bundle, loading=True):
        module = _module(bundle, graph, build).to(real_device, memory_format=torch.channels_last)
        if name == "pytorch-compile":
            module = torch.compile(module, dynamic=False)
        if name == "pytorch-graph":
            module = Replay(module)
    return PytorchEngine(bundle, graph, module, name, real_device, chosen, threads)


def _module(bundle: Bundle, graph: str, build: Build) -> Any:
    import torch

    facts = bundle.facts(graph)
    prefix = facts["prefix"]
    module = build(facts["net"]["kind"], facts["net"]["config"])
    state = {
        name.removeprefix(prefix): torch.from_numpy(value).float()
        for name, value in bundle.tensors().items()
        if name.startswith(prefix)
    }
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        text = " ".join(str(error).split())
        raise BundleCorrupt(
            f'the weights of "{bundle.name}" do not fit its network "{graph}" ({text:.200}); install it anew'
        ) from error
    return module.eval().requires_grad_(False)


def _device(name: str, device: str) -> str:
    import torch

    kind, _, index = device.partition(":")
    if kind == "gpu":
        kind = "cuda"
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "cuda:0" if count else "cpu"
    if device == "cpu":
        return "cpu"
    if kind != "cuda" or not (index or "0").isdigit():
        raise EngineUnavailable(f"engine {name} has no device {device}; use --device cpu or cuda")
    if int(index or "0") >= count:
        raise EngineUnavailable(f"torch finds {count} CUDA devices here, so not {device}; use --device cpu")
    return f"cuda:{index or '0'}"


def _choose(name: str, device: str, precision: str, accepted: tuple[str, ...]) -> str:
    """auto is bf16 on CUDA and f32 on a CPU, as far as the model was checked at them."""
    import torch

    cuda = device.startswith("cuda")
    bf16 = torch.cuda.is_bf16_supported(including_emulation=False) if cuda else True
    has = {"f32": True, "bf16": bf16, "f16": cuda}  # f16 on a CPU takes minutes where f32 takes seconds
    can = [one for one, there in has.items() if there]
    order = ["bf16", "f16", "f32"] if cuda else ["f32", "bf16"]
    for one in order:
        if one in can and one in accepted:
            return one
    raise EngineUnavailable(f"engine {name} runs at {', '.join(can)} on {device}, not at {precision}")


def _place(tensor: Any, device: str) -> Any:
    import torch

    layout = torch.channels_last if tensor.ndim == 4 else torch.contiguous_format
    return tensor.to(device, torch.float32).contiguous(memory_format=layout)
