r"""This machine's measured peaks: the best large matrix product of any library that is installed here.

One library's product is no peak: on some processors another library's convolutions run at twice its speed.
"""

__all__ = ["SIDE", "measured_peaks", "products"]

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

import numpy as np

from relume.bench.report import Rate
from relume.bench.roofline import matmul_rate
from relume.engines.openvino import runtime
from relume.errors import EngineError

SIDE = 2048
_TORCH = {"f32": "float32", "bf16": "bfloat16"}  # f16 on a CPU takes minutes

Product = Callable[[], object]


def measured_peaks(threads: int, *, side: int = SIDE, tries: int = 5) -> dict[str, Rate]:
    """Precision → FLOP/s and the library that reached it, on the CPU with so many threads."""
    best: dict[str, Rate] = {}
    for library, precision, multiply in products(threads, side):
        rate = matmul_rate(multiply, side, tries=tries)
        if precision not in best or rate > best[precision].flop_per_s:
            best[precision] = Rate(rate, library)
    return best


def products(threads: int, side: int) -> Iterator[tuple[str, str, Product]]:
    """Library, precision and a product of two ``side`` × ``side`` matrices, for each that can run here."""
    yield from _openvino(threads, side)
    if importlib.util.find_spec("torch") is not None:
        yield from _torch(threads, side)
    a = np.ones((side, side), np.float32)
    yield "numpy", "f32", lambda: a @ a


def _openvino(threads: int, side: int) -> Iterator[tuple[str, str, Product]]:
    with suppress(EngineError):
        openvino = runtime()
        ops = openvino.opset13
        x = np.random.default_rng(0).random((side, side), np.float32)
        for precision in ("f32", "bf16", "f16"):
            given = ops.parameter([side, side], np.float32)
            product = ops.matmul(given, ops.constant(x), False, False)
            # One number of the result leaves, so that copying it out is no part of the product's time.
            corner = ops.reduce_max(product, ops.constant(np.array([0, 1])), False)
            options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
            try:
                compiled = openvino.Core().compile_model(openvino.Model([corner], [given]), "CPU", options)
            except RuntimeError:
                continue
            if compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == precision:
                request = compiled.create_infer_request()
                yield "openvino", precision, partial(request.infer, [x], share_inputs=True)


def _torch(threads: int, side: int) -> Iterator[tuple[str, str, Product]]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for precision, dtype in _TORCH.items():
            a = torch.rand(side, side).to(getattr(torch, dtype))
            yield "torch", precision, partial(torch.matmul, a, a)
    finally:
        torch.set_num_threads(before)
