r"""int8: a model's local graph with its convolutions on integers, kept only if its pictures are the same.

.. math:: x \approx s\,(q - z), \qquad q = \operatorname{clip}(\operatorname{round}(x / s) + z)

Activations get one scale each, static, from the range they take on real photographs; weights get one scale
for each output channel. Only convolutions are quantized, with what they take and give: the norms, gates and
sums compute in float32, and so do the first and the last convolution, which touch the picture itself.

Source: B. Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", CVPR 2018; R. Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference",
2018. The arithmetic is ONNX Runtime's.
"""

__all__ = ["VARIANT", "quantize"]

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from relume import bundle as bundles
from relume.bundle import Bundle
from relume.engines.gate import figure
from relume.train.parity import Array, cases, parity, pictures, verdict

VARIANT = "int8"
_COUNT = 16  # photographs to calibrate on


def quantize(
    bundle: Bundle,
    out: Path,
    calibrate: Path,
    *,
    photos: Path,
    overwrite: bool = False,
    report: Callable[[str], None] = print,
) -> Bundle:
    """Write a copy of a bundle that also has its local graph in int8, if that passes the parity check.

    The figure is written into the card either way; the graph only where it passed.

    Parameters
    ----------
    calibrate, photos:
        Folders of photographs: to find the ranges on, and others to judge the result on.

    Raises
    ------
    OutputExists
        If ``out`` is there and ``overwrite`` is not asked for.
    TrainingError
        If a folder holds no photographs.
    """
    ranges, judged = pictures(calibrate, count=_COUNT, seed=1), pictures(photos)
    with bundles.writing(out, overwrite=overwrite) as folder:
        for name in bundle.card["files"]:
            shutil.copyfile(bundle.path / name, folder / name)
        card: dict[str, Any] = {**bundle.card, "graphs": {**bundle.card["graphs"]}}
        file = f"{Path(bundle.facts('local')['file']).stem}.{VARIANT}.onnx"
        _write(bundle.graph("local"), folder / file, bundle, ranges)
        card["graphs"]["local"] = {**bundle.facts("local"), "variants": {VARIANT: file}}
        measured = parity(bundles.write_card(folder, card), judged, precisions=(VARIANT,), report=report)
        found = verdict(measured)
        card["parity"] = {**bundle.card.get("parity", {}), **found["parity"]}
        listed = [one for one in bundle.card.get("precisions", ["f32"]) if one != VARIANT]
        card["precisions"] = listed + found["precisions"]
        if VARIANT not in found["precisions"]:
            (folder / file).unlink()
            card["graphs"]["local"] = bundle.facts("local")
            report(f"{VARIANT} did not pass ({found['parity'].get(figure(VARIANT, 'onnx'))} dB): left out")
        bundles.write_card(folder, card)
    return bundles.find(out)


def _write(graph: Path, out: Path, bundle: Bundle, ranges: Array) -> None:
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    with _quiet(), tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch) / "plain.onnx"
        model = _folded(graph)
        onnx.save(model, str(plain))
        convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
        quantize_static(
            str(plain),
            str(out),
            _Reader([port["name"] for port in bundle.facts("local")["inputs"]], ranges),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=[convolutions[0], convolutions[-1]],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantizer logs advice to the root logger, which is not ours to change for good."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


class _Reader:
    """Hands the calibration its inputs one after the other, as ONNX Runtime asks for them."""

    def __init__(self, names: list[str], ranges: Array) -> None:
        self._cases: Iterator[tuple[Array, ...]] = iter(cases(ranges))
        self._names = names

    def get_next(self) -> dict[str, Array] | None:
        case = next(self._cases, None)
        return None if case is None else dict(zip(self._names, case, strict=True))


def _folded(graph: Path) -> onnx.ModelProto:
    """The graph with its weights inside, as float32: the quantizer does not look through a Cast."""
    model = onnx.load(str(graph))  # with what it points to
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    kept, folded = [], []
    for node in model.graph.node:
        if node.op_type == "Cast" and node.input[0] in stored:
            value = onnx.numpy_helper.to_array(stored.pop(node.input[0])).astype(np.float32)
            folded.append(onnx.numpy_helper.from_array(value, node.output[0]))
        else:
            kept.append(node)
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(kept)
    model.graph.initializer.extend([*stored.values(), *folded])
    return model
