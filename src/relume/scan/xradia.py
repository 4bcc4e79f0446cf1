r"""Xradia .xrm and .txrm: an OLE compound file of many small streams, each of them optional.

The layout is not published. ``ImageData{k}/Image{i}`` hold the frames, 100 to a k;
``ReferenceData/Image`` holds the empty field and ``ImageInfo`` the metadata. All is little-endian; rows are
stored from the bottom upwards and are turned upright here. A mosaic is one large image of rows × columns
tiles, the first tile at the lower left.
"""

__all__ = ["FORMAT", "positions"]

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from relume.errors import InconsistentScan, MissingExtra, UnreadableImage, UnsupportedImage

from .scan import Format, Frames, References, Role, Sample, Scan, keeps, known

_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_TYPES: dict[int, np.dtype[Any]] = {5: np.dtype("<u2"), 10: np.dtype("<f4")}
_INTEGERS = (
    "ImageWidth", "ImageHeight", "NoOfImages", "ImagesTaken", "DataType", "HorizontalBin", "VerticalalBin",
    "MosiacRows", "MosiacColumns", "OriginalDataRefCorrected", "CameraNo", "AcquisitionMode",
)  # fmt: skip
_FLOATS = (
    "PixelSize", "Energy", "ExpTimes", "Angles", "Current", "IonChamberCurrent", "XPosition", "YPosition",
    "ZPosition", "Voltage", "Temperature", "OpticalMagnification", "XrayMagnification", "StoRADistance",
    "DtoRADistance",
)  # fmt: skip
_TEXTS = ("Date", "ReferenceFile", "CameraName", "ObjectiveName")


def _library() -> Any:
    try:
        import olefile
    except ImportError as error:
        raise MissingExtra("reading .xrm and .txrm", "scan") from error
    return olefile


def _sniff(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(8) == _MAGIC


def _open(path: Path, references: bool | Role) -> Scan:
    with _library().OleFileIO(path) as ole:
        info = _info(ole)
        frames = _frames(path, ole, info)
        kept = _reference(path, ole, frames) if keeps(references, "flats") else None
    rows, columns = _grid(info)
    grid = (rows, columns) if rows * columns == len(frames) > 1 else None
    exposures = known(np.atleast_1d(info.get("ExpTimes", []))[: len(frames)])
    return Scan(
        format=FORMAT.name,
        path=path,
        frames=frames,
        flats=None if kept is None else kept.frames,
        angles=_per_frame(info, "Angles", len(frames)) if grid is None else None,
        positions=positions(grid, frames.size) if grid is not None else None,
        grid=grid,
        pixel_size=_positive(info, "PixelSize"),
        energy=_positive(info, "Energy"),
        exposure=None if exposures is None else float(exposures.mean()),
        binning=int(_positive(info, "HorizontalBin") or 0) or None,
        flat_exposure=None if kept is None else kept.exposure,
        flat_binning=None if kept is None else kept.binning,
        corrected=bool(_one(info, "OriginalDataRefCorrected")),
        facts=info,
        exposures=exposures,
    )


def _references(path: Path, role: Role) -> References | None:
    with _library().OleFileIO(path) as ole:
        return _reference(path, ole, _frames(path, ole, _info(ole))) if role == "flats" else None


def _grid(info: dict[str, Any]) -> tuple[int, int]:
    """(rows, columns) of a mosaic; zeros elsewhere."""
    return _one(info, "MosiacRows") or 0, _one(info, "MosiacColumns") or 0


def _frames(path: Path, ole: Any, info: dict[str, Any]) -> Frames:
    """The images, or the tiles of the only one."""
    width, height = _one(info, "ImageWidth"), _one(info, "ImageHeight")
    if not width or not height:
        raise UnreadableImage("it does not say how wide and high its images are")
    size, count, grid = (height, width), _count(ole, info), _grid(info)
    dtype = _dtype(info, ole.get_size(_stream(1)), width * height)
    if math.prod(grid) > 1 and count == 1:
        return _mosaic_frames(path, ole, size, grid, dtype)
    _check_sizes(ole, [_stream(i + 1) for i in range(count)], width * height * dtype.itemsize)
    return Frames(size, dtype, partial(_frame, path, size, dtype), range(count), str(path))


def _stream(number: int) -> str:
    """The name of frame 1, 2, …: a hundred to a folder."""
    return f"ImageData{(number - 1) // 100 + 1}/Image{number}"


def _bytes(ole: Any, name: str) -> bytes | None:
    """A stream by its name in any case; ``None`` if it is missing or was never filled."""
    if not ole.exists(name) or not ole.get_size(name):
        return None
    return bytes(ole.openstream(name).read())


def _info(ole: Any) -> dict[str, Any]:
    """What ``ImageInfo`` says: a number, a list of numbers, or a text; nothing for what is not filled."""
    facts: dict[str, Any] = {}
    for names, dtype in ((_INTEGERS, "<i4"), (_FLOATS, "<f4")):
        for name in names:
            data = _bytes(ole, f"ImageInfo/{name}") or b""
            values = np.frombuffer(data[: len(data) // 4 * 4], dtype).tolist()
            if values:
                facts[name] = values[0] if len(values) == 1 else values
    for name in _TEXTS:
        text = (_bytes(ole, f"ImageInfo/{name}") or b"").split(b"\0")[0].decode("latin-1").strip()
        if text:
            facts[name] = text
    return facts


def _one(info: dict[str, Any], name: str) -> Any:
    value = info.get(name)
    return value[0] if isinstance(value, list) else value


def _positive(info: dict[str, Any], name: str) -> float | None:
    """The first value if it means anything: a stream that was never filled holds zeros."""
    value = _one(info, name)
    return float(value) if value is not None and math.isfinite(value) and value > 0 else None


def _per_frame(info: dict[str, Any], name: str, count: int) -> npt.NDArray[np.float64] | None:
    """One number a frame. A scan that was stopped has more of them than frames; one with fewer has none."""
    values = np.atleast_1d(np.asarray(info.get(name, []), np.float64))
    return values[:count] if len(values) >= count else None


def _count(ole: Any, info: dict[str, Any]) -> int:
    """How many frames are really there: a scan that was stopped promises more than it holds."""
    promised = max(_one(info, "NoOfImages") or 1, 1)
    taken = _one(info, "ImagesTaken") or promised
    count = 0
    while count < promised and ole.exists(_stream(count + 1)) and ole.get_size(_stream(count + 1)):
        count += 1
    if not count:
        raise UnreadableImage("it holds no image stream")
    if count < min(taken, promised):
        raise UnreadableImage(f"it says that {min(taken, promised)} images were taken and holds {count}")
    return min(count, taken)


def _dtype(info: dict[str, Any], size: int, pixels: int) -> np.dtype[Any]:
    code = _one(info, "DataType")
    if code is None:  # left out by some writers: the length of the data tells
        code = {2: 5, 4: 10}.get(size // pixels)
    if code not in _TYPES:
        raise UnsupportedImage(f"its images are of the data type {code}; export them as 16 bits or float")
    return _TYPES[code]


def _check_sizes(ole: Any, names: list[str], expected: int) -> None:
    for name in names:
        if ole.get_size(name) != expected:
            raise UnreadableImage(
                f"truncated or damaged ({name} holds {ole.get_size(name)} bytes instead of {expected})"
            )


def _image(path: Path, name: str, size: tuple[int, int], dtype: np.dtype[Any]) -> Sample:
    """A stream as an upright image."""
    with _library().OleFileIO(path) as ole:
        data = ole.openstream(name).read()
    if len(data) < math.prod(size) * dtype.itemsize:
        raise UnreadableImage(f"truncated ({name} ends early)")
    return np.frombuffer(data, dtype, math.prod(size)).reshape(size)[::-1]


def _frame(path: Path, size: tuple[int, int], dtype: np.dtype[Any], number: int) -> Sample:
    return _image(path, _stream(number + 1), size, dtype)


def _mosaic_frames(
    path: Path, ole: Any, size: tuple[int, int], grid: tuple[int, int], dtype: np.dtype[Any]
) -> Frames:
    """The tiles of one large image, x fastest, from the lower left upwards."""
    stored = ole.get_size(_stream(1))
    if stored == math.prod(size) * math.prod(grid) * dtype.itemsize:  # the size given is that of a tile
        size = (size[0] * grid[0], size[1] * grid[1])
    _check_sizes(ole, [_stream(1)], math.prod(size) * dtype.itemsize)
    if size[0] % grid[0] or size[1] % grid[1]:
        raise InconsistentScan(
            f"its image of {size[1]}×{size[0]} pixels cannot be cut into {grid[1]}×{grid[0]} equal tiles"
        )
    tile = (size[0] // grid[0], size[1] // grid[1])
    whole = _whole(path, ole, size, dtype)
    return Frames(tile, dtype, partial(_tile, whole, tile, grid[1]), range(math.prod(grid)), str(path))


def _whole(path: Path, ole: Any, size: tuple[int, int], dtype: np.dtype[Any]) -> Callable[[], Sample]:
    """Opens the large image as it is stored: mapped from the file where its sectors lie in one run."""
    sectors, at = [], ole._find(_stream(1))
    start = ole.direntries[at].isectStart
    for _ in range(-(-math.prod(size) * dtype.itemsize // ole.sectorsize)):
        sectors.append(start)
        start = int(ole.fat[start])
    if np.all(np.diff(sectors) == 1):
        offset = (sectors[0] + 1) * ole.sectorsize
        return partial(np.memmap, path, dtype, "r", offset, size)
    return partial(_scattered, path, size, dtype)


def _scattered(path: Path, size: tuple[int, int], dtype: np.dtype[Any]) -> Sample:
    return _image(path, _stream(1), size, dtype)[::-1]


def _tile(whole: Callable[[], Sample], tile: tuple[int, int], columns: int, number: int) -> Sample:
    row, column = divmod(number, columns)
    (h, w), stored = tile, whole()
    return stored[row * h : (row + 1) * h, column * w : (column + 1) * w][::-1]


def positions(grid: tuple[int, int], tile: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Corners of tiles laid edge to edge, the first at the lower left: their overlap is not in the file."""
    rows, columns = np.divmod(np.arange(math.prod(grid)), grid[1])
    return np.stack([(grid[0] - 1 - rows) * tile[0], columns * tile[1]], axis=1).astype(np.float64)


def _reference(path: Path, ole: Any, images: Frames) -> References | None:
    """The empty field that lies in the file, and what is known of it; its size is that of the images."""
    facts: dict[str, float] = {}
    data, size = _bytes(ole, "ReferenceData/Image"), images.size
    if data is None:
        return None
    for key, kind in (("DataType", "<i4"), ("Binning", "<i4"), ("ExpTime", "<f4")):
        value = _bytes(ole, f"ReferenceData/{key}")
        if value is not None and len(value) >= 4:
            facts[key] = float(np.frombuffer(value[:4], kind)[0])
    dtype = _TYPES.get(int(facts.get("DataType", 0)), images.dtype)
    if len(data) != math.prod(size) * dtype.itemsize:
        side = math.isqrt(len(data) // dtype.itemsize)
        raise InconsistentScan(
            f"its reference has about {side}×{side} pixels, its images {size[1]}×{size[0]}; "
            "it was taken with another binning or is truncated"
        )
    frames = Frames(
        size, dtype, partial(_reference_frame, path, size, dtype), range(1), f"{path}: the reference"
    )
    exposure = known(facts.get("ExpTime", 0))
    return References(
        frames, True, None if exposure is None else float(exposure[0]), int(facts.get("Binning", 0)) or None
    )


def _reference_frame(path: Path, size: tuple[int, int], dtype: np.dtype[Any], number: int) -> Sample:
    return _image(path, "ReferenceData/Image", size, dtype)


FORMAT = Format("Xradia", _sniff, _open, _references)
