r"""A torch module as an ONNX file whose weights lie in a safetensors file beside it.

An ONNX initializer may say "my bytes are in that file, from this offset on, so many of them". A safetensors
file is a header and then the plain bytes of its tensors, so such a pointer can point right into it:

.. code-block:: text

    weights.safetensors   ┌ 8 bytes: n ┬ n bytes: JSON header ┬ … tensor, fp16 … ┐
    local.onnx            initializer "local.stem.weight" ────────┘ offset = 8 + n + begin
                          Cast to float32 → "stem.weight" → Conv …

A convolution whose halves are wanted apart points at the halves of its weights
(:mod:`relume.train.onnx_halves`). One file of weights thereby serves ONNX Runtime, OpenVINO and torch, and no
weight is stored twice. The Cast disappears when an engine loads the graph: it is folded into a constant.
"""

__all__ = ["export_graph"]

import io
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from relume.errors import BundleCorrupt, UsageError
from relume.train.onnx_halves import Piece, split_convolutions

OPSET = 17
# Larger constants inside the graph are weights that have slipped through.
_SMALL = 4096


@dataclass(frozen=True)
class _Stored:
    """Where a tensor lies in the safetensors file."""

    offset: int
    length: int
    shape: tuple[int, ...]

    def rows(self, piece: Piece) -> "_Stored":
        """Some rows of it, which lie one after the other."""
        row = self.length // self.shape[0]
        count = piece.stop - piece.start
        return _Stored(self.offset + piece.start * row, count * row, (count, *self.shape[1:]))


def export_graph(
    module: nn.Module,
    example_inputs: tuple[Tensor, ...],
    *,
    input_names: Sequence[str],
    output_names: Sequence[str],
    dynamic_axes: Mapping[str, Mapping[int, str]],
    tensors_file: Path,
    prefix: str,
    out: Path,
) -> Path:
    r"""Writes the ONNX graph of a module, with its weights as pointers into ``tensors_file``.

    Arguments:
        module: its parameters and buffers are in ``tensors_file`` as ``prefix`` + their name, in fp16.
        example_inputs: what the module is traced with, float32.
        dynamic_axes: for each input or output the axes that may vary: ``{"x": {0: "batch", 2: "height"}}``.
        tensors_file: a finished safetensors file in the folder of ``out``.

    Returns:
        ``out``.

    Raises:
        UsageError: ``tensors_file`` lies elsewhere, or the graph would hold weights of its own (a constant
            tensor that is no part of the state dict).
        BundleCorrupt: ``tensors_file`` lacks a tensor, or holds another value.
    """
    if tensors_file.resolve().parent != out.resolve().parent:
        raise UsageError(f"{out} must lie beside {tensors_file}: a graph points only into its own folder")
    model = _trace(module, example_inputs, input_names, output_names, dynamic_axes)
    pieces = split_convolutions(model.graph)
    _point(model.graph, _contents(tensors_file), tensors_file, prefix, pieces)
    _forbid_embedded(model.graph)
    scratch = out.with_name(out.name + ".part")
    try:
        onnx.save(model, str(scratch))
        onnx.checker.check_model(str(scratch), full_check=True)
        scratch.replace(out)
    finally:
        scratch.unlink(missing_ok=True)
    return out


def _trace(
    module: nn.Module,
    example_inputs: tuple[Tensor, ...],
    input_names: Sequence[str],
    output_names: Sequence[str],
    dynamic_axes: Mapping[str, Mapping[int, str]],
) -> onnx.ModelProto:
    """Runs torch's TorchScript exporter, which keeps parameter names and, as set here, folds nothing."""
    buffer = io.BytesIO()
    training = module.training
    module.eval()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # it is deprecated; the newer one renames and folds parameters
            torch.onnx.export(
                module,
                example_inputs,
                buffer,
                dynamo=False,
                opset_version=OPSET,
                # PRESERVE: in the EVAL mode a batch norm would be multiplied into the convolution before it.
                training=torch.onnx.TrainingMode.PRESERVE,
                do_constant_folding=False,
                input_names=list(input_names),
                output_names=list(output_names),
                dynamic_axes={name: dict(axes) for name, axes in dynamic_axes.items()},
            )
    finally:
        module.train(training)
    model = onnx.load_from_string(buffer.getvalue())
    # Nothing of the machine that exported stays in the file, and no shape of the example either.
    model.producer_name, model.producer_version, model.doc_string = "relume", "", ""
    del model.graph.value_info[:]
    for node in model.graph.node:
        node.doc_string = ""
    return model


def _contents(tensors_file: Path) -> dict[str, _Stored]:
    """Reads the header of a safetensors file: 8 bytes little-endian length, JSON, then the data."""
    with tensors_file.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    stored = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] != "F16":
            raise BundleCorrupt(f"{tensors_file} holds {name} as {entry['dtype']}; store it as F16")
        begin, end = entry["data_offsets"]
        stored[name] = _Stored(8 + length + begin, end - begin, tuple(entry["shape"]))
    return stored


def _point(
    graph: onnx.GraphProto,
    contents: Mapping[str, _Stored],
    tensors_file: Path,
    prefix: str,
    pieces: Mapping[str, Piece],
) -> None:
    """Turns each float initializer into a pointer, followed by a Cast that carries its old name."""
    pointers, casts, embedded = [], [], []
    for initializer in graph.initializer:
        if initializer.data_type != onnx.TensorProto.FLOAT:
            embedded.append(initializer)
            continue
        piece = pieces.get(initializer.name)
        whole = prefix + (piece.whole if piece else initializer.name)
        stored = contents.get(whole)
        if stored is None:
            raise BundleCorrupt(f"{tensors_file} lacks {whole}; store the whole state dict")
        if piece is not None:
            stored = stored.rows(piece)
        _compare(initializer, stored, tensors_file, prefix)
        pointers.append(_pointer(prefix + initializer.name, stored, tensors_file.name))
        casts.append(
            onnx.helper.make_node(
                "Cast",
                [prefix + initializer.name],
                [initializer.name],
                name=f"{initializer.name}/float32",
                to=onnx.TensorProto.FLOAT,
            )
        )
    nodes = list(graph.node)
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend([*pointers, *embedded])
    graph.node.extend([*casts, *nodes])


def _compare(initializer: onnx.TensorProto, stored: _Stored, tensors_file: Path, prefix: str) -> None:
    wanted = onnx.numpy_helper.to_array(initializer).astype(np.float16)
    found = np.fromfile(tensors_file, np.float16, stored.length // 2, offset=stored.offset)
    if wanted.shape != stored.shape or wanted.tobytes() != found.tobytes():
        raise BundleCorrupt(
            f"{tensors_file} holds another {prefix}{initializer.name} than the module; save the weights first"
        )


def _pointer(name: str, stored: _Stored, location: str) -> onnx.TensorProto:
    tensor = onnx.TensorProto(name=name, dims=stored.shape, data_type=onnx.TensorProto.FLOAT16)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": stored.offset, "length": stored.length}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _forbid_embedded(graph: onnx.GraphProto) -> None:
    constants = [
        attribute.t
        for node in graph.node
        for attribute in node.attribute
        if attribute.type == onnx.AttributeProto.TENSOR
    ]
    for tensor in [*graph.initializer, *constants]:
        if tensor.data_location != onnx.TensorProto.EXTERNAL and tensor.ByteSize() > _SMALL:
            raise UsageError(
                f"the graph holds {tensor.ByteSize()} bytes of its own ({tensor.name or 'a constant'}); "
                "make that tensor a parameter or a persistent buffer"
            )
