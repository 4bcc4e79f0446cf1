r"""NeXus: NXtomo with ``image_key`` (0 sample, 1 flat, 2 dark, 3 invalid), or a plain NXdata with a signal.

Source: Könnecke et al., *The NeXus data format*, 2015; application definition NXtomo.
"""

__all__ = ["FORMAT"]

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from relume.errors import InconsistentScan, UnreadableImage

from .hdf5 import dataset, degrees, frames_of, is_hdf5, library, text
from .scan import Format, Frames, References, Role, Scan, keeps, known

_SAMPLE = 0
_KEYS: dict[Role, int] = {"flats": 1, "darks": 2}


def _sniff(path: Path) -> bool:
    if not is_hdf5(path):
        return False
    with library().File(path, "r") as file:
        return _of_class(file, "NXentry") is not None


def _open(path: Path, references: bool | Role) -> Scan:
    with library().File(path, "r") as file:
        entry = _of_class(file, "NXentry")
        detector = _detector(entry)
        return _plain(path, entry) if detector is None else _tomo(path, entry, detector, references)


def _of_class(group: Any, name: str) -> Any | None:
    """The first group of a NeXus class directly inside another."""
    for child in group.values():
        if isinstance(child, library().Group) and text(child.attrs.get("NX_class", "")) == name:
            return child
    return None


def _detector(entry: Any) -> Any | None:
    """The detector that has ``image_key``, wherever the entry keeps it."""
    found: list[Any] = []

    def visit(_: str, item: Any) -> None:
        if isinstance(item, library().Group) and "image_key" in item and "data" in item:
            found.append(item)

    entry.visititems(visit)
    return found[0] if found else None


def _keys(detector: Any) -> npt.NDArray[Any]:
    """What each frame is (N,)."""
    data, keys = detector["data"], np.asarray(detector["image_key"][()]).ravel()
    if data.ndim != 3 or len(keys) != data.shape[0]:
        raise InconsistentScan(f"it has {len(keys)} image keys for data of shape {data.shape}")
    return keys


def _chosen(detector: Any, key: int) -> Frames | None:
    """The frames of a kind."""
    index = [int(i) for i in np.flatnonzero(_keys(detector) == key)]
    return frames_of(detector["data"], index) if index else None


def _exposures(detector: Any, key: int) -> npt.NDArray[np.float64] | None:
    """Of the frames of a kind, in seconds; of all frames alike where the file does not list them all."""
    times = np.asarray(detector["count_time"][()] if "count_time" in detector else (), np.float64).ravel()
    keys = _keys(detector)
    return known(times[keys == key] if len(times) == len(keys) else times)


def _exposure(exposures: npt.NDArray[np.float64] | None) -> float | None:
    return None if exposures is None else float(exposures.mean())


def _references(path: Path, role: Role) -> References | None:
    with library().File(path, "r") as file:
        detector = _detector(_of_class(file, "NXentry"))
        frames = None if detector is None else _chosen(detector, _KEYS[role])
        if frames is None:
            return None
        return References(frames, True, _exposure(_exposures(detector, _KEYS[role])))


def _tomo(path: Path, entry: Any, detector: Any, references: bool | Role) -> Scan:
    frames = _chosen(detector, _SAMPLE)
    if frames is None:
        raise UnreadableImage(
            "none of its frames is marked as a sample (image_key 0); it can only be used as a reference"
        )
    exposures = _exposures(detector, _SAMPLE)
    flats = _chosen(detector, _KEYS["flats"]) if keeps(references, "flats") else None
    return Scan(
        format=FORMAT.name,
        path=path,
        frames=frames,
        flats=flats,
        darks=_chosen(detector, _KEYS["darks"]) if keeps(references, "darks") else None,
        angles=_angles(dataset(entry, "sample/rotation_angle"), _keys(detector)),
        exposure=_exposure(exposures),
        flat_exposure=None if flats is None else _exposure(_exposures(detector, _KEYS["flats"])),
        exposures=exposures,
        pixel_size=_length(detector, "x_pixel_size"),
        facts={"title": text(entry["title"][()]) if "title" in entry else ""},
    )


def _angles(values: Any | None, keys: npt.NDArray[Any]) -> npt.NDArray[np.float64] | None:
    """Those of the sample frames, whether the file lists them for all frames or for these alone."""
    if values is None:
        return None
    sample = keys == _SAMPLE
    angles = degrees(values)
    if len(angles) == len(keys):
        angles = angles[sample]
    return angles if len(angles) == sample.sum() else None


def _plain(path: Path, entry: Any) -> Scan:
    """An entry whose first NXdata names its signal: what other programs, and relume, write as a result."""
    data = _of_class(entry, "NXdata")
    signal = None if data is None else dataset(data, text(data.attrs.get("signal", "data")))
    if data is None or signal is None:
        raise UnreadableImage("it has neither image keys (NXtomo) nor a signal (NXdata)")
    return Scan(format=FORMAT.name, path=path, frames=frames_of(signal))


def _number(group: Any, name: str) -> float | None:
    """A positive number, or the first of a list; ``None`` if there is none."""
    values = np.asarray(group[name][()], np.float64).ravel() if name in group else np.zeros(0)
    return float(values[0]) if values.size and values[0] > 0 else None


def _length(group: Any, name: str) -> float | None:
    """In µm."""
    value = _number(group, name)
    unit = text(group[name].attrs.get("units", "m")) if value is not None else ""
    factor = {"m": 1e6, "mm": 1e3, "um": 1.0, "µm": 1.0, "micron": 1.0, "nm": 1e-3}.get(unit)
    return value * factor if value is not None and factor is not None else None


FORMAT = Format("NeXus", _sniff, _open, _references)
