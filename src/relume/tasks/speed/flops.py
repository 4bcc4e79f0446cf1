r"""How much arithmetic a net does: counted from its graph, never guessed.

A multiplication and an addition are two FLOP. Convolutions and matrix products are counted, and nothing else:
activations and norms are a few operations a value. The bytes are what these operations read and write, each
operand once, all others thought of as fused into them: less cannot be moved by a runtime that goes from
operation to operation.
"""

__all__ = ["LayerWork", "graph_work", "module_work", "total"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relume.bench.roofline import Work
from relume.engines import layer_of
from relume.engines.openvino import runtime
from relume.errors import EngineUnavailable

WIDTH = {"f32": 4, "bf16": 2, "f16": 2, "int8": 1}
"""Bytes of a number."""


@dataclass(frozen=True)
class LayerWork:
    """One convolution or matrix product; ``values`` are the numbers that it reads and writes."""

    layer: str
    operation: str
    flop: float
    values: int


def graph_work(graph: Path, shapes: Mapping[str, Sequence[int]]) -> list[LayerWork]:
    """The convolutions and matrix products of an ONNX graph for inputs of these names and shapes, in order.

    OpenVINO reads the graph and finds the shapes; nothing is compiled or run.

    Raises
    ------
    EngineUnavailable
        If OpenVINO is not installed, or cannot tell a shape.
    """
    model = runtime().Core().read_model(str(graph))
    model.reshape({name: list(shape) for name, shape in shapes.items()})
    found = []
    for node in model.get_ordered_ops():
        count = _COUNTS.get(node.get_type_name())
        if count is None:
            continue
        if any(port.get_partial_shape().is_dynamic for port in [*node.inputs(), *node.outputs()]):
            raise EngineUnavailable(f"{graph} leaves the shape of {node.friendly_name} open: not counted")
        first, second = (tuple(port.get_shape()) for port in node.inputs()[:2])
        out = tuple(node.output(0).get_shape())
        values = math.prod(first) + math.prod(second) + math.prod(out)
        flop = 2.0 * count(node, first, second, out)
        found.append(LayerWork(layer_of(node.friendly_name), node.get_type_name(), flop, values))
    return found


def module_work(module: Any, *arguments: Any) -> list[LayerWork]:
    """The same of a torch module, by torch's own counter; one entry for each module that holds weights.

    What has no weights (the products of an attention) is one entry more, under no layer, with no values: they
    are not known, so the bytes come out too small.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    found: list[LayerWork] = []
    hooks = []

    def after(name: str) -> Any:
        def count(each: Any, given: Any, out: Any) -> None:
            flop = 2.0 * out.numel() * each.weight[0].numel()
            values = given[0].numel() + each.weight.numel() + out.numel()
            found.append(LayerWork(name, type(each).__name__, flop, values))

        return count

    for name, each in module.named_modules():
        if isinstance(each, torch.nn.Conv2d | torch.nn.Linear):
            hooks.append(each.register_forward_hook(after(name)))
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module(*arguments)
    finally:
        for hook in hooks:
            hook.remove()
    rest = float(counter.get_total_flops()) - sum(each.flop for each in found)
    return [*found, LayerWork("", "products without weights", rest, 0)] if rest > 0 else found


def total(layers: Sequence[LayerWork], precision: str) -> Work:
    """The work of all layers, their numbers as wide as the precision has them."""
    width = WIDTH.get(precision, 4)
    return Work(sum(each.flop for each in layers), float(width * sum(each.values for each in layers)))


def _convolution(node: Any, first: tuple[int, ...], weight: tuple[int, ...], out: tuple[int, ...]) -> int:
    return math.prod(out) * math.prod(weight[1:])  # weight: out, in, kernel…


def _grouped(node: Any, first: tuple[int, ...], weight: tuple[int, ...], out: tuple[int, ...]) -> int:
    return math.prod(out) * math.prod(weight[2:])  # weight: groups, out, in, kernel…


def _transposed(node: Any, first: tuple[int, ...], weight: tuple[int, ...], out: tuple[int, ...]) -> int:
    return math.prod(first) * math.prod(weight[1:])  # weight: in, out, kernel…


def _product(node: Any, first: tuple[int, ...], second: tuple[int, ...], out: tuple[int, ...]) -> int:
    inner = first[-2 if node.get_attributes()["transpose_a"] else -1]
    return math.prod(out) * inner


_COUNTS = {
    "Convolution": _convolution,
    "GroupConvolution": _grouped,
    "ConvolutionBackpropData": _transposed,
    "MatMul": _product,
}
