r"""Haar wavelet perceptual similarity: how alike two pictures look to a person."""

__all__ = ["haarpsi", "haarpsi_lacking", "library"]

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

import numpy as np

from relume.bench.metric import PERCEPTUAL, Picture, same_shape


def haarpsi(picture: Picture, truth: Picture) -> float:
    r"""HaarPSI of two H×W×3 pictures in [0,1]: 1 where they are equal, towards 0 where they differ.

    Computed by piq, in colour, with the constants of the paper; no weights are loaded.

    Raises
    ------
    UsageError
        If the pictures differ in shape.

    Source: Reisenhofer, Bosse, Kutyniok, Wiegand, *A Haar Wavelet-Based Perceptual Similarity Index for Image
    Quality Assessment*, 2018.
    """
    same_shape(picture, truth)
    import torch

    pair = [
        torch.from_numpy(np.ascontiguousarray(each.transpose(2, 0, 1)))[None] for each in (picture, truth)
    ]
    with torch.inference_mode():
        return float(library().haarpsi(*(each.float().clamp(0, 1) for each in pair)))


def library() -> Any:
    """The module ``piq.haarpsi`` by itself.

    The package's front door also loads torchvision, for other metrics; a torchvision that was built for
    another torch fails there. So the submodule is loaded under a parent that has the package's path alone.

    Raises
    ------
    ImportError
        If piq or torch is not installed.
    """
    found = importlib.util.find_spec("piq")
    if found is None:
        raise ImportError("piq is not installed")
    if "piq" in sys.modules:
        return importlib.import_module("piq.haarpsi")
    parent = ModuleType("piq")
    parent.__path__ = list(found.submodule_search_locations or ())
    sys.modules["piq"] = parent
    try:
        return importlib.import_module("piq.haarpsi")
    finally:
        del sys.modules["piq"]  # who imports piq later gets all of it


def haarpsi_lacking() -> str | None:
    """Why it cannot be computed here, with the way out; ``None`` where it can."""
    try:
        library()
    except Exception as error:  # torch may be missing, or broken
        return f"piq cannot be loaded ({type(error).__name__}): {PERCEPTUAL}"
    return None
