r"""The names that all profiles share."""

__all__ = ["KINDS", "Profiled", "kind_of", "layer_of"]

import re
from dataclasses import dataclass

# Word → what the runtimes call it, in lower case; the first that is found in a name decides.
KINDS: dict[str, tuple[str, ...]] = {
    "convolution": ("conv",),
    "matrix product": ("gemm", "matmul", "fullyconnected", "addmm", "linear", "::mm", "::bmm", "attention"),
    "norm": ("norm", "mvn", "reducemean", "::mean", "rms"),
    "layout": ("reorder", "transpose", "permute", "contiguous", "copy", "clone", "cast", "convert", "::to"),
    "shape": (
        *("slice", "concat", "::cat", "split", "reshape", "unsqueeze", "squeeze", "gather", "expand", "view"),
        *("depthtospace", "pixel_shuffle", "spacetodepth", "pixel_unshuffle", "shape", "narrow", "pad"),
        *(
            "constant",
            "fill",
            "empty",
            "::ones",
            "::zeros",
            "range",
            "chunk",
            "select",
            "detach",
            "alias",
            "as_strided",
        ),
    ),
    "resample": ("interpolate", "resize", "upsample"),
    "element by element": (
        *("subgraph", "eltwise", "::add", "::mul", "::sub", "::div", "add", "mul", "sub", "div", "pow"),
        *("sqrt", "exp", "silu", "sigmoid", "gelu", "relu", "cos", "sin", "where", "clip", "clamp", "tanh"),
    ),
}

# What a runtime writes after a node's name: its own word for the operation, or what it fused into it.
_LAST = re.compile(r"/[^/]*$")


@dataclass(frozen=True)
class Profiled:
    """Seconds that one operation takes in one evaluation.

    ``layer`` is the path of the module in the net, empty for what belongs to none; ``operation`` is of
    :data:`KINDS` or ``other``; ``kernel`` is the runtime's own word.
    """

    layer: str
    operation: str
    kernel: str
    seconds: float


def layer_of(node: str) -> str:
    """The module that a node of the graph came from.

    >>> layer_of("/encoder.0.1/expand1/Conv/WithoutBiases")
    'encoder.0.1.expand1'
    >>> layer_of("/Concat"), layer_of("Reshape_660")
    ('', '')
    >>> layer_of("/encoder.0.1/expand1/Conv_output_0/1_nchwc")
    'encoder.0.1.expand1'
    """
    begin = node.find("/")
    if begin < 0:
        return ""
    path = node[begin:].removesuffix("/").removesuffix("/WithoutBiases")
    path = re.sub(r"/[^/]*Fusion$", "", path)
    path = _LAST.sub("", path)
    path = re.sub(r"/[A-Z].*$", "", path)  # operations are capital, modules are not
    return path.strip("/").replace("/", ".")


def kind_of(*names: str) -> str:
    """The shared word for an operation, by the runtime's words for it.

    >>> kind_of("GroupConvolution"), kind_of("aten::mkldnn_convolution"), kind_of("Mystery")
    ('convolution', 'convolution', 'other')
    """
    text = " ".join(names).lower()
    for kind, words in KINDS.items():
        if any(word in text for word in words):
            return kind
    return "other"
