r"""Results: linear float32 frames as HDF5 (Data Exchange), NeXus or TIFF, with how they came about.

Nothing is clipped and nothing is scaled: a transmission above 1 stays above 1.
"""

__all__ = ["Provenance", "provenance_of", "write", "write_picture"]

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from relume._version import __version__
from relume.errors import UnreadableImage, UsageError
from relume.files import placing, reading

from .hdf5 import is_hdf5, library, text
from .scan import Frame


@dataclass(frozen=True)
class Provenance:
    """How a result came about.

    Args:
        method: the name of the estimator of the background.
        parameters: all of its settings; numbers, texts, lists.
        bundle: SHA-256 that stands for the model, or ``None`` for a method without one.
        gauge: what the free factors were fixed by, e.g. ``"median of the background is 1"``.
        source: the names of the files that went in.
        checksums: their SHA-256, in the same order.
        version: the version of relume.
        date: when, in UTC, as ISO 8601.
    """

    method: str
    parameters: Mapping[str, Any]
    gauge: str
    bundle: str | None = None
    source: tuple[str, ...] = ()
    checksums: tuple[str, ...] = ()
    version: str = __version__
    date: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def json(self) -> str:
        """As one line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False)


Arrays = Mapping[str, npt.NDArray[Any]]
Layers = Mapping[str, Frame]
_KEY = "relume provenance"


def write(
    path: str | os.PathLike[str],
    frames: Iterable[Frame | Layers],
    provenance: Provenance,
    *,
    extra: Arrays | None = None,
    pixel_size: float | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes frames (H, W) of float32, one after the other, to a file that is whole or is not there at all.

    Args:
        path: where to; ``.h5`` and ``.hdf5`` give Data Exchange, ``.nxs`` NeXus, ``.tif`` and ``.tiff``
            a TIFF stack.
        frames: the corrected frames, all of one size; an array (N, H, W) or whatever yields them. A mapping
            holds the frame as ``data`` and beside it what becomes a stack of its own (``background``,
            ``sigma``); HDF5 and NeXus only.
        provenance: how they came about.
        extra: further arrays by name (``background``, ``sigma``, ``positions``); HDF5 and NeXus only.
        pixel_size: in µm.
        overwrite: whether a file that stands there may be replaced.

    Raises:
        UsageError: another suffix, no frame, frames that are not (H, W) of floats or differ in size or names.
        OutputExists: a file stands there and ``overwrite`` is false.
        MissingExtra: HDF5 or NeXus without h5py.
    """
    path = Path(path)
    writer = _writer(path)
    checked = _checked(frames)
    try:
        first = next(checked)
    except StopIteration as error:
        raise UsageError("there is no frame to write") from error
    beside = [*(extra or {}), *(name for name in first if name != "data")]
    if beside and writer is _tiff:
        raise UsageError(f"TIFF holds no {', '.join(beside)} beside the frames; end the name in .h5 or .nxs")
    with placing(path, overwrite=overwrite) as part:
        if writer is _tiff:
            _tiff(part, chain([first], checked), provenance, pixel_size)
        else:
            writer(part, partial(_fill, frames=chain([first], checked)), provenance, extra or {}, pixel_size)
    return path


def write_picture(
    path: str | os.PathLike[str],
    shape: tuple[int, int],
    bands: Iterable[Layers],
    provenance: Provenance,
    *,
    extra: Arrays | None = None,
    pixel_size: float | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes one large picture (H, W) band by band; it is never in memory as a whole.

    HDF5 and NeXus get chunks of 256×256 pixels, as a stack of one frame; TIFF becomes a tiled BigTIFF, which
    holds ``data`` alone.

    Args:
        path, provenance, extra, pixel_size, overwrite: as for :func:`write`.
        shape: (H, W).
        bands: mappings with ``data`` and what stands beside it, full rows from the top down.

    Raises:
        UsageError: another suffix, or bands that do not fill the picture.
        OutputExists, MissingExtra: as for :func:`write`.
    """
    path = Path(path)
    writer = _writer(path)
    if extra and writer is _tiff:
        raise UsageError(f"TIFF holds no {', '.join(extra)} beside the frames; end the name in .h5 or .nxs")
    with placing(path, overwrite=overwrite) as part:
        if writer is _tiff:
            _big_tiff(part, shape, bands, provenance, pixel_size)
        else:
            writer(part, partial(_paint, shape=shape, bands=bands), provenance, extra or {}, pixel_size)
    return path


def _writer(path: Path) -> Callable[..., None]:
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise UsageError(f"cannot write {path.name}: end the name in {', '.join(_WRITERS)}")
    return writer


def _checked(frames: Iterable[Frame | Layers]) -> Iterator[Layers]:
    """Every frame as a mapping with ``data`` in it, all of them alike."""
    first: dict[str, tuple[int, ...]] = {}
    for frame in frames:
        layers = frame if isinstance(frame, Mapping) else {"data": frame}
        shapes = {name: values.shape for name, values in layers.items()}
        first = first or dict.fromkeys(shapes, layers["data"].shape)
        for name, values in layers.items():
            if values.ndim != 2 or values.dtype.kind != "f":
                raise UsageError(f"{name} is floats (H, W), not {values.dtype} {values.shape}")
        if shapes != first:
            raise UsageError(f"frames are of one size and hold the same, not {shapes} after {first}")
        yield {name: values.astype(np.float32, copy=False) for name, values in layers.items()}


def _fill(group: Any, frames: Iterable[Layers]) -> Any:
    """Chunked datasets that grow by a frame at a time; the one of the frames is returned."""
    made: dict[str, Any] = {}
    for count, layers in enumerate(frames, 1):
        for name, values in layers.items():
            if name not in made:
                size = values.shape
                made[name] = group.create_dataset(
                    name,
                    (0, *size),
                    "f4",
                    maxshape=(None, *size),
                    chunks=(1, *size),
                    compression="gzip",
                    shuffle=True,
                )
            made[name].resize(count, axis=0)
            made[name][count - 1] = values
    return made["data"]


def _exchange(
    part: Path, fill: Callable[[Any], Any], how: Provenance, extra: Arrays, pixel_size: float | None
) -> None:
    with library().File(part, "w") as file:
        file["implements"] = "exchange:process"
        group = file.create_group("exchange")
        data = fill(group)
        data.attrs.update(axes="theta:y:x", description="transmission", units="1")
        for name, values in extra.items():
            group[name] = values
        if pixel_size:
            file["measurement/instrument/detector/x_pixel_size"] = pixel_size
            file["measurement/instrument/detector/x_pixel_size"].attrs["units"] = "um"
        _record(file.create_group("process/relume"), how)


def _nexus(
    part: Path, fill: Callable[[Any], Any], how: Provenance, extra: Arrays, pixel_size: float | None
) -> None:
    with library().File(part, "w") as file:
        file.attrs["default"] = "entry"
        entry = file.create_group("entry")
        entry.attrs.update(NX_class="NXentry", default="data")
        group = entry.create_group("data")
        group.attrs.update(NX_class="NXdata", signal="data")
        fill(group).attrs.update(long_name="transmission", units="1")
        for name, values in extra.items():
            group[name] = values
        if pixel_size:
            group["pixel_size"] = pixel_size
            group["pixel_size"].attrs["units"] = "um"
        process = entry.create_group("process")
        process.attrs["NX_class"] = "NXprocess"
        _record(process, how)


def _record(group: Any, how: Provenance) -> None:
    """NXprocess has program, version, date and sequence_index; the rest stands beside them."""
    group["program"], group["version"], group["date"] = "relume", how.version, how.date
    group["sequence_index"] = 1
    group["method"], group["gauge"] = how.method, how.gauge
    group["bundle"] = how.bundle or ""
    group["provenance"] = how.json()


def _tags(how: Provenance, pixel_size: float | None) -> tuple[dict[str, Any], str]:
    """Resolution and description of a TIFF file."""
    resolution = {"resolution": (1e4 / pixel_size,) * 2, "resolutionunit": 3} if pixel_size else {}
    return resolution, json.dumps({_KEY: json.loads(how.json())})  # ASCII: TIFF asks for it


def _tiff(part: Path, frames: Iterable[Layers], how: Provenance, pixel_size: float | None) -> None:
    resolution, text = _tags(how, pixel_size)
    with tifffile.TiffWriter(part, bigtiff=True) as file:
        for number, layers in enumerate(frames):
            file.write(
                layers["data"],
                photometric="minisblack",
                metadata=None,
                description=text if number == 0 else None,
                compression="zlib",
                predictor=3,
                **resolution,
            )


_SQUARE = 256


def _paint(group: Any, shape: tuple[int, int], bands: Iterable[Layers]) -> Any:
    """Datasets (1, H, W) of one frame, filled band by band; the one of the picture is returned."""
    chunk = (1, *(min(_SQUARE, side) for side in shape))
    made: dict[str, Any] = {}
    top = 0
    for layers in bands:
        for name, rows in layers.items():
            if name not in made:
                made[name] = group.create_dataset(
                    name,
                    (1, *shape),
                    "f4",
                    chunks=chunk,
                    compression="gzip",
                    compression_opts=1,
                    shuffle=True,
                )
            made[name][0, top : top + len(rows)] = rows
        top += len(layers["data"])
    _check_filled(top, shape)
    return made["data"]


def _check_filled(rows: int, shape: tuple[int, int]) -> None:
    if rows != shape[0]:
        raise UsageError(f"{rows} rows do not fill a picture of {shape[0]}")


def _big_tiff(
    part: Path, shape: tuple[int, int], bands: Iterable[Layers], how: Provenance, pixel_size: float | None
) -> None:
    resolution, text = _tags(how, pixel_size)
    with tifffile.TiffWriter(part, bigtiff=True) as file:
        file.write(
            _squares(shape, bands),
            shape=shape,
            dtype="f4",
            tile=(_SQUARE, _SQUARE),
            photometric="minisblack",
            metadata=None,
            description=text,
            compression="zlib",
            predictor=3,
            **resolution,
        )


def _squares(shape: tuple[int, int], bands: Iterable[Layers]) -> Iterator[Frame]:
    """Full squares, row by row, out of bands of any height."""
    waiting = np.zeros((0, shape[1]), np.float32)
    rows = 0
    for layers in bands:
        waiting = np.concatenate([waiting, np.asarray(layers["data"], np.float32)])
        rows += len(layers["data"])
        while len(waiting) >= _SQUARE or (rows == shape[0] and len(waiting)):
            strip, waiting = waiting[:_SQUARE], waiting[_SQUARE:]
            full = np.zeros((_SQUARE, -(-shape[1] // _SQUARE) * _SQUARE), np.float32)
            full[: len(strip), : shape[1]] = strip
            yield from np.split(full, full.shape[1] // _SQUARE, axis=1)
    _check_filled(rows, shape)


def provenance_of(path: str | os.PathLike[str]) -> Provenance:
    """How a file that :func:`write` made came about.

    Raises:
        UnreadableImage: it is not such a file.
    """
    with reading(str(path)):
        if is_hdf5(Path(path)):
            with library().File(path, "r") as file:
                found = file.get("process/relume/provenance") or file.get("entry/process/provenance")
                record = None if found is None else json.loads(text(found[()]))
        else:
            with tifffile.TiffFile(path) as file:
                description = file.pages[0].description
            record = json.loads(description).get(_KEY) if description.startswith("{") else None
        if record is None:
            raise UnreadableImage("it says nothing of how it came about")
    sequences = {key: tuple(record[key]) for key in ("source", "checksums")}
    return Provenance(**{**record, **sequences})


_WRITERS: dict[str, Callable[..., None]] = {
    ".h5": _exchange,
    ".hdf5": _exchange,
    ".nxs": _nexus,
    ".tif": _tiff,
    ".tiff": _tiff,
}
