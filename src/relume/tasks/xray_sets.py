r"""Simulated X-ray measurements as files: what a microscope would have written, and the truth beside it."""

__all__ = ["write_mosaic_set", "write_session"]

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from relume.degrade.illumination import Mosaic, Shot, Simulator
from relume.errors import OutputExists
from relume.files import make_folder, placing
from relume.scan import Provenance, write

TRUTH = "truth.h5"
CONFIGURATION = "TileConfiguration.txt"
Tell = Callable[[int, int], None]


def write_session(
    folder: Path,
    simulator: Simulator,
    count: int,
    *,
    overwrite: bool = False,
    tell: Tell | None = None,
) -> None:
    """``raw_0000.tif`` … of one session, ``flat.tif`` (ten exposures at the moment of the first),
    ``dark.tif``.

    Raises:
        OutputExists: a file stands there and ``overwrite`` is false, or it is true and images of another
            simulation would be left beside these.
    """
    _check(folder, "raw", ("flat.tif", "dark.tif"), count, overwrite)
    shots = _kept((simulator.shot(i) for i in range(count)), folder, "raw", overwrite, tell, count)
    _truth(folder, shots, {"seed": simulator.seed, "n": simulator.n}, {}, overwrite)
    flat = simulator.flat(0, exposures=10).astype(np.float32)
    dark = np.full((simulator.n, simulator.n), simulator.session.detector.dark, np.float32)
    for name, frame in (("flat.tif", flat), ("dark.tif", dark)):
        _tiff(folder / name, frame, overwrite)


def write_mosaic_set(
    folder: Path, mosaic: Mosaic, *, overwrite: bool = False, tell: Tell | None = None
) -> None:
    """``tile_0000.tif`` … in the order in which they are taken, and where the stage says that they lie.

    Raises:
        OutputExists: as for :func:`write_session`.
    """
    _check(folder, "tile", ("dark.tif", CONFIGURATION), len(mosaic), overwrite)
    shots = _kept(mosaic, folder, "tile", overwrite, tell, len(mosaic))
    places = {"positions": mosaic.positions, "nominal": mosaic.nominal}
    facts = {"seed": mosaic.simulator.seed, "n": mosaic.n, "k": mosaic.k, "step": mosaic.step}
    _truth(
        folder,
        shots,
        {**facts, "kind": mosaic.sample.kind, "zernike": mosaic.optics.zernike},
        places,
        overwrite,
    )
    _tiff(
        folder / "dark.tif",
        np.full((mosaic.n,) * 2, mosaic.simulator.session.detector.dark, np.float32),
        overwrite,
    )
    lines = [f"tile_{i:04d}.tif; ; ({x:.3f}, {y:.3f})" for i, (y, x) in enumerate(mosaic.nominal)]
    with placing(folder / CONFIGURATION, overwrite=overwrite) as part:
        part.write_text("\n".join(["dim = 2", *lines]) + "\n", encoding="ascii")


def _check(folder: Path, name: str, others: tuple[str, ...], count: int, overwrite: bool) -> None:
    """Before anything is written: nothing may stand there, or nothing but what is replaced."""
    new = {f"{name}_{i:04d}.tif" for i in range(count)} | {TRUTH, *others}
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if not overwrite and (taken := sorted(new & there)):
        raise OutputExists(f"{folder / taken[0]} exists; choose another folder, or ask for overwriting")
    images = {each for each in there if each.startswith(("raw_", "tile_")) and each.endswith(".tif")}
    if left := sorted(images - new):
        raise OutputExists(
            f"{folder / left[0]} of another simulation would stay among these images: choose another folder"
        )


def _kept(
    shots: Iterable[Shot], folder: Path, name: str, overwrite: bool, tell: Tell | None, count: int
) -> Iterator[Shot]:
    """Writes the raw image of each shot on its way."""
    make_folder(folder)
    for number, shot in enumerate(shots):
        _tiff(folder / f"{name}_{number:04d}.tif", shot.raw, overwrite)
        if tell is not None:
            tell(number + 1, count)
        yield shot


def _truth(
    folder: Path, shots: Iterable[Shot], facts: dict[str, Any], arrays: dict[str, Any], overwrite: bool
) -> None:
    """The transmissions as frames, and beside them backgrounds, gains and places."""
    gains: list[float] = []

    def frames() -> Iterator[dict[str, Any]]:
        for shot in shots:
            gains.append(shot.gain)
            yield {"data": shot.clean.astype(np.float32), "background": shot.background.astype(np.float32)}

    extra = arrays | {"gain": gains}
    how = Provenance("simulation", facts, "transmission of an empty field is 1")
    write(folder / TRUTH, frames(), how, extra=extra, overwrite=overwrite)


def _tiff(path: Path, frame: Any, overwrite: bool) -> None:
    with placing(path, overwrite=overwrite) as part:
        tifffile.imwrite(part, frame, photometric="minisblack")
