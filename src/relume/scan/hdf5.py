r"""What the two HDF5 formats share: opening, and frames read one at a time out of a dataset."""

__all__ = ["library", "is_hdf5", "frames_of", "dataset", "degrees", "text"]

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from relume.errors import MissingExtra, UnreadableImage, UnsupportedImage

from .scan import Frames, Sample

_MAGIC = b"\x89HDF\r\n\x1a\n"


def library() -> Any:
    """h5py.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingExtra("reading HDF5 and NeXus", "scan") from error
    return h5py


def is_hdf5(path: Path) -> bool:
    """Whether a file begins like an HDF5 file."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(8) == _MAGIC


def dataset(file: Any, name: str) -> Any | None:
    """A dataset by its name, or ``None``."""
    found = file.get(name)
    return found if isinstance(found, library().Dataset) else None


def frames_of(data: Any, index: Sequence[int] | None = None) -> Frames:
    """The frames of a dataset (N, H, W), or the only one of a dataset (H, W).

    A link to another file is followed: the frames are read from where they lie.

    Raises:
        UnsupportedImage: a dataset of another shape, or of something that is no number.
        UnreadableImage: it holds nothing.
    """
    if data.ndim not in (2, 3) or data.dtype.kind not in "uif":
        raise UnsupportedImage(
            f"{data.name} is {data.dtype} of shape {data.shape}; frames are numbers (N, H, W)"
        )
    count = data.shape[0] if data.ndim == 3 else 1
    if 0 in data.shape:
        raise UnreadableImage(f"{data.name} is empty")
    path = data.file.filename
    read = partial(_frame, path, data.name)
    index = range(count) if index is None else index
    return Frames(data.shape[-2:], data.dtype, read, index, f"{path}: {data.name}")


def _frame(path: str, name: str, number: int) -> Sample:
    with library().File(path, "r") as file:
        data = file[name]
        frame: Sample = data[number] if data.ndim == 3 else data[()]
    return frame


def degrees(angles: Any) -> npt.NDArray[np.float64]:
    """A dataset of angles in degrees (N,). One that says nothing of its unit is in degrees already."""
    values: npt.NDArray[np.float64] = np.asarray(angles[()], np.float64).ravel()
    unit = text(angles.attrs.get("units", "")).strip().lower()
    return np.rad2deg(values) if unit.startswith("rad") else values


def text(value: Any) -> str:
    """A string attribute, whichever way it is stored."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
