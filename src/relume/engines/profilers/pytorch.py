r"""torch's profiler, with a range round each module; on CUDA an NVTX range of the same name beside it."""

__all__ = ["profile"]

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from relume.bundle import Bundle
from relume.engines import pytorch
from relume.engines.engine import failures
from relume.engines.profilers.names import Profiled, kind_of

_MARK = "relume::"


def profile(
    bundle: Bundle, graph: str, arrays: Sequence[Any], options: Mapping[str, Any], evaluations: int
) -> list[Profiled]:
    """Runs the module under torch's profiler; the time of an operation is its own, without what it calls."""
    import torch

    engine: Any = pytorch.load(bundle, graph, **options)
    cuda = engine.device.startswith("cuda")
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if cuda:
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with failures("pytorch", bundle), _ranges(engine._module, cuda):
        for _ in range(2):
            engine(*arrays)
        with torch.profiler.profile(activities=kinds) as trace:
            for _ in range(evaluations):
                engine(*arrays)
    sums: dict[tuple[str, str], float] = {}
    for event in trace.events():
        own = event.self_device_time_total if cuda else event.self_cpu_time_total
        if own > 0 and not event.name.startswith(_MARK):
            key = _module(event), event.name
            sums[key] = sums.get(key, 0.0) + own * 1e-6 / evaluations
    return [Profiled(layer, kind_of(word), word, seconds) for (layer, word), seconds in sums.items()]


def _module(event: Any) -> str:
    """The innermost module within which an operation ran."""
    while event is not None:
        if event.name.startswith(_MARK):
            return str(event.name.removeprefix(_MARK))
        event = event.cpu_parent
    return ""


@contextmanager
def _ranges(module: Any, cuda: bool) -> Iterator[None]:
    """Ranges under the modules' paths, as long as the block lasts."""
    import torch

    opened: list[Any] = []

    def enter(name: str) -> Any:
        def hook(*_: Any) -> None:
            mark = torch.profiler.record_function(_MARK + name)
            mark.__enter__()
            opened.append(mark)
            if cuda:
                torch.cuda.nvtx.range_push(name)

        return hook

    def leave(*_: Any) -> None:
        if cuda:
            torch.cuda.nvtx.range_pop()
        opened.pop().__exit__(None, None, None)

    hooks = []
    for name, each in module.named_modules():
        if name:
            hooks.append(each.register_forward_pre_hook(enter(name)))
            hooks.append(each.register_forward_hook(leave))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
