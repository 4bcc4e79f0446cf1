r"""A mosaic as a folder: one file a tile, and a tile configuration that says where each lies.

``TileConfiguration.txt`` is the one that ImageJ's stitching plugins write: lines ``file ; ; (x, y)`` in
pixels, y downwards. Without it the tiles are taken in the order of their names, as many rows as columns, the
first at the lower left, x fastest, edge to edge; ``facts["grid"]`` then says that this was assumed. Files
that fill no square are a stack without places, and ``facts["grid"]`` says so.

Source: Preibisch, Saalfeld, Tomancak, *Globally optimal stitching of tiled 3D microscopic image
acquisitions*, 2009.
"""

__all__ = ["FORMAT"]

import math
import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from relume.errors import InconsistentScan, UnreadableImage, UnsupportedImage
from relume.files import reading

from . import exchange, nexus, tiff, xradia
from .scan import Format, Frames, References, Role, Sample, Scan

_TILES = (xradia.FORMAT, tiff.FORMAT, exchange.FORMAT, nexus.FORMAT)
_CONFIGURATIONS = ("TileConfiguration.txt", "TileConfiguration.registered.txt")
_SUFFIXES = {".tif", ".tiff", ".xrm", ".h5", ".hdf5", ".nxs"}
_LINE = re.compile(r"^\s*(?P<file>[^;]+?)\s*;[^;]*;\s*\((?P<place>[^)]*)\)\s*(#.*)?$")


class _Layout(NamedTuple):
    files: list[Path]
    positions: npt.NDArray[np.float64] | None
    grid: tuple[int, int] | None
    told: str  # where the places come from


def _sniff(path: Path) -> bool:
    return path.is_dir() or path.name in _CONFIGURATIONS


def _open(path: Path, references: bool | Role) -> Scan:
    folder, layout = _laid_out(path)
    first = _tile_scan(layout.files[0], references)
    size, places = first.frames.size, layout.positions
    if layout.grid is not None:
        places = xradia.positions(layout.grid, size)
    frames = Frames(
        size, first.frames.dtype, partial(_tile, tuple(layout.files), size), range(len(layout.files))
    )
    return Scan(
        format=FORMAT.name,
        path=folder,
        frames=frames,
        flats=first.flats,
        darks=first.darks,
        positions=places,
        grid=layout.grid,
        pixel_size=first.pixel_size,
        energy=first.energy,
        exposure=first.exposure,
        binning=first.binning,
        flat_exposure=first.flat_exposure,
        flat_binning=first.flat_binning,
        corrected=first.corrected,
        facts={"grid": layout.told, "files": [os.path.relpath(file, folder) for file in layout.files]},
        exposures=first.exposures,
    )


def _references(path: Path, role: Role) -> References | None:
    """Those of the first tile."""
    file = _laid_out(path)[1].files[0]
    with reading(file.name):
        return _format(file).references(file, role)


def _laid_out(path: Path) -> tuple[Path, _Layout]:
    """The folder, and what lies where in it."""
    folder = path if path.is_dir() else path.parent
    names = _CONFIGURATIONS if path.is_dir() else (path.name,)
    configuration = next((folder / name for name in names if (folder / name).is_file()), None)
    return folder, _by_name(folder) if configuration is None else _configured(configuration)


def _configured(path: Path) -> _Layout:
    files, places = [], []
    for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        text = line.strip()
        if not text or text.startswith("#"):  # anywhere else it may belong to the name of a file
            continue
        if dim := re.fullmatch(r"dim\s*=\s*(\d+)\s*(#.*)?", text):
            if dim[1] != "2":
                raise UnsupportedImage(f"{path.name} describes a mosaic in more than two dimensions")
            continue
        match = _LINE.match(text)
        if match is None:
            raise UnreadableImage(f"{path.name} has a line that is no tile: {text[:60]}")
        files.append(_inside(path.parent, match["file"]))
        places.append(_place(match["place"], path.name))
    if not files:
        raise UnreadableImage(f"{path.name} names no tile")
    return _Layout(files, np.array(places, np.float64), None, path.name)


def _inside(folder: Path, name: str) -> Path:
    """A tile's path. A configuration that came with the data may name nothing outside its folder."""
    file = folder / name
    if not file.resolve().is_relative_to(folder.resolve()):
        raise UnsupportedImage(f"the tile configuration names {name}, which lies outside its folder")
    if not file.is_file():
        raise UnreadableImage(f"the tile {name} is missing; take its line out of the tile configuration")
    return file


def _place(text: str, name: str) -> tuple[float, float]:
    """(y, x) from "x, y"."""
    numbers = [float(part) for part in text.split(",")]
    if len(numbers) != 2 or not all(map(math.isfinite, numbers)):
        raise UnreadableImage(f"{name} has a position that is not (x, y): ({text})")
    return numbers[1], numbers[0]


def _by_name(folder: Path) -> _Layout:
    def numbers(file: Path) -> list[Any]:
        return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", file.name)]

    files = [f for f in folder.iterdir() if f.suffix.lower() in _SUFFIXES and not f.name.startswith(".")]
    side = math.isqrt(len(files))
    if not files:
        raise UnreadableImage("the folder holds no tile (.tif, .xrm, .h5)")
    files.sort(key=numbers)
    if side * side == len(files):
        return _Layout(files, None, (side, side), "assumed")
    told = f"{len(files)} tiles are no square; say where they lie in a {_CONFIGURATIONS[0]} beside them"
    return _Layout(files, None, None, told)


def _format(file: Path) -> Format:
    format = next((format for format in _TILES if format.sniff(file)), None)
    if format is None:
        raise UnsupportedImage("a file of a kind that is not read as a tile")
    return format


def _tile_scan(file: Path, references: bool | Role) -> Scan:
    with reading(file.name):
        scan = _format(file).open(file, references)
        if len(scan.frames) != 1:
            raise InconsistentScan(f"it holds {len(scan.frames)} frames; a tile is one")
    return scan


def _tile(files: Sequence[Path], size: tuple[int, int], number: int) -> Sample:
    frames = _tile_scan(files[number], False).frames
    if frames.size != size:
        raise InconsistentScan(
            f"{files[number].name} is {frames.size[1]}×{frames.size[0]}, the first tile {size[1]}×{size[0]}"
        )
    return frames.raw(0)


FORMAT = Format("mosaic folder", _sniff, _open, _references)
