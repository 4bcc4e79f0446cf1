r"""CUDA graphs: a module's kernels, recorded once for each set of shapes and launched as one.

A small net on a GPU spends much of its time waiting for the next kernel to be launched; a recording has no
such gaps. Written from the documentation and tried against a stand-in: it has not yet run on a GPU.

Source: *CUDA semantics: CUDA Graphs*, PyTorch documentation, 2026.
"""

__all__ = ["Replay"]

import threading
from typing import Any

from relume.engines.shapes import ByShapes, Shapes

_WARM_UP = 3  # calls on a stream of their own: what is chosen or allocated at first use must not be recorded


class Replay:
    """Behaves as the module does, for inputs of one device. The results are the caller's own.

    Parameters
    ----------
    module:
        A torch module in evaluation mode on a GPU. It must do the same whatever the values of its inputs are.
    """

    def __init__(self, module: Any) -> None:
        self._module = module
        self._recorded = ByShapes(self._record)
        self._lock = threading.Lock()  # a recording has one set of inputs
        self._given: tuple[Any, ...] = ()

    def __call__(self, *tensors: Any) -> Any:
        with self._lock:
            self._given = tensors
            graph, inputs, output = self._recorded(tuple(tuple(tensor.shape) for tensor in tensors))
            self._given = ()
            for fixed, tensor in zip(inputs, tensors, strict=True):
                fixed.copy_(tensor)
            graph.replay()
            return output.clone()  # the next replay writes over it

    def parameters(self) -> Any:
        """Those of the module."""
        return self._module.parameters()

    def _record(self, shapes: Shapes) -> tuple[Any, tuple[Any, ...], Any]:
        import torch

        inputs = tuple(tensor.clone() for tensor in self._given)
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UP):
                self._module(*inputs)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = self._module(*inputs)
        return graph, inputs, output
