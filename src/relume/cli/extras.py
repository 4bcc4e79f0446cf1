r"""The optional dependencies: what each extra brings, and what needs it."""

__all__ = ["EXTRAS", "missing", "need"]

import importlib.util
from collections.abc import Mapping

from relume.errors import MissingExtra

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "eval": ("cv2", "skimage", "pywt"),
    "perceptual": ("torch", "piq"),
    "onnx": ("onnxruntime",),
    "energy": ("pynvml",),
    "plot": ("matplotlib",),
    "tensorrt": ("tensorrt", "torch"),
    "heif": ("pillow_heif",),
    "raw": ("rawpy",),
    "scan": ("h5py", "olefile"),
    "xray": ("scipy", "skimage"),
    "train": ("torch", "onnx", "onnxscript", "accelerate"),
    "tensorboard": ("tensorboard",),
    "serve": ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "sqlalchemy"),
    "postgres": ("psycopg",),
    "ray": ("ray", "pyarrow", "pandas"),
    "ray-serve": ("ray", "grpc", "aiohttp"),
    "sign": ("cryptography",),
}
"""Extra → the modules that it installs."""


def missing(extra: str) -> list[str]:
    """The modules of an extra that are not installed."""
    return [name for name in EXTRAS[extra] if importlib.util.find_spec(name) is None]


def need(extra: str, what: str) -> None:
    """Makes sure that an extra is installed.

    Raises:
        MissingExtra: it is not; the message holds the pip line.
    """
    if missing(extra):
        raise MissingExtra(what, extra)
