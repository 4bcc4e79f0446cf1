r"""A split of a convolution's channels becomes convolutions with pieces of its weights.

A gate multiplies one half of a convolution's channels with the other:

.. math:: (W * x)_{:c} \cdot (W * x)_{c:} = (W_{:c} * x) \cdot (W_{c:} * x)

With the channels last, a half is not one piece of memory, and an engine copies it; two convolutions with half
of the weights each write two tensors to begin with. Every number is the sum of the same products. Where the
convolution is depthwise its input is split likewise, and so on upwards.
"""

__all__ = ["Piece", "split_convolutions"]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper


@dataclass(frozen=True)
class Piece:
    """Rows ``start`` to ``stop`` (the first axis) of the initializer ``whole``."""

    whole: str
    start: int
    stop: int


def split_convolutions(graph: GraphProto) -> dict[str, Piece]:
    """Rewrites the graph in place, as long as there is a convolution of which only a split is used.

    Returns
    -------
    dict
        For each new initializer, which rows of which old one it is. Old ones without a use are gone.
    """
    pieces: dict[str, Piece] = {}
    while (found := _next(graph)) is not None:
        _rewrite(graph, *found, pieces)
    _drop_unused(graph)
    left = {each.name for each in graph.initializer}
    return {name: piece for name, piece in pieces.items() if name in left}


def _next(graph: GraphProto) -> tuple[NodeProto, NodeProto, list[int]] | None:
    """A convolution, the split of channels that alone uses it, and how many channels each part has."""
    weights = {each.name: each for each in graph.initializer}
    constants = {
        node.output[0]: numpy_helper.to_array(node.attribute[0].t)
        for node in graph.node
        if node.op_type == "Constant" and node.attribute[0].name == "value"
    }
    outputs = {each.name for each in graph.output}
    for node in graph.node:
        if node.op_type != "Conv" or node.output[0] in outputs or node.input[1] not in weights:
            continue
        filters, per_group = weights[node.input[1]].dims[:2]
        if _setting(node, "group", 1) != 1 and (_setting(node, "group", 1) != filters or per_group != 1):
            continue
        users = [each for each in graph.node if node.output[0] in each.input]
        if len(users) != 1 or users[0].op_type != "Split" or _setting(users[0], "axis", 0) != 1:
            continue
        if len(users[0].input) == 2 and users[0].input[1] in constants:
            return node, users[0], constants[users[0].input[1]].tolist()
    return None


def _setting(node: NodeProto, name: str, default: int) -> int:
    return next((int(each.i) for each in node.attribute if each.name == name), default)


def _rewrite(
    graph: GraphProto, conv: NodeProto, split: NodeProto, sizes: Sequence[int], pieces: dict[str, Piece]
) -> None:
    """The split gives way to a convolution for each part; it moves to the input where that is depthwise."""
    weights = {each.name: each for each in graph.initializer}
    depthwise = _setting(conv, "group", 1) > 1
    given = [conv.input[0]] * len(sizes)
    new: list[NodeProto] = []
    if depthwise:
        given = [f"{conv.input[0]}/{number}" for number in range(len(sizes))]
        name = f"{conv.name}/Split"
        new.append(helper.make_node("Split", [conv.input[0], split.input[1]], given, name=name, axis=1))
    # Named like the convolution: runtimes name what they make of a node by its output.
    kept = {each.name for each in graph.output}
    made = {
        old: old if old in kept else f"{conv.output[0]}/{number}" for number, old in enumerate(split.output)
    }
    start = 0
    for number, size in enumerate(sizes):
        rows = slice(start, start + size)
        names = [_piece(graph, weights[name], rows, pieces) for name in conv.input[1:]]
        name = conv.name if number == 0 else f"{conv.name}_{number}"
        part = helper.make_node("Conv", [given[number], *names], [made[split.output[number]]], name=name)
        part.attribute.extend(each for each in conv.attribute if each.name != "group")
        part.attribute.append(helper.make_attribute("group", size if depthwise else 1))
        new.append(part)
        start += size
    nodes = [each for node in graph.node for each in (new if node.name == split.name else [node])]
    del graph.node[:]
    graph.node.extend(node for node in nodes if node.output[0] != conv.output[0])
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = made.get(name, name)


def _piece(graph: GraphProto, tensor: TensorProto, rows: slice, pieces: dict[str, Piece]) -> str:
    """The name of those rows of an initializer, which may be a piece itself."""
    of = pieces.get(tensor.name, Piece(tensor.name, 0, int(tensor.dims[0])))
    piece = Piece(of.whole, of.start + rows.start, of.start + rows.stop)
    name = f"{piece.whole}[{piece.start}:{piece.stop}]"
    if name not in pieces:
        values = np.ascontiguousarray(numpy_helper.to_array(tensor)[rows])
        graph.initializer.append(numpy_helper.from_array(values, name))
        pieces[name] = piece
    return name


def _drop_unused(graph: GraphProto) -> None:
    """Takes away what nothing reads any more, from the end on."""
    wanted = {each.name for each in graph.output}
    kept: list[NodeProto] = []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(node.input)
    initializers = [each for each in graph.initializer if each.name in wanted]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(initializers)
