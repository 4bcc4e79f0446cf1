r"""What the two HDF5 formats share: opening, and frames read one at a time out of a dataset."""

__all__ = ["library", "is_hdf5", "frames_of", "dataset", "text"]

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

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


def frames_of(path: Path, data: Any, index: Sequence[int] | None = None) -> Frames:
    """The frames of a dataset (N, H, W), or the only one of a dataset (H, W).

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
    read = partial(_frame, path, data.name)
    return Frames(data.shape[-2:], data.dtype, read, range(count) if index is None else index)


def _frame(path: Path, name: str, number: int) -> Sample:
    with library().File(path, "r") as file:
        data = file[name]
        frame: Sample = data[number] if data.ndim == 3 else data[()]
    return frame


def text(value: Any) -> str:
    """A string attribute, whichever way it is stored."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
