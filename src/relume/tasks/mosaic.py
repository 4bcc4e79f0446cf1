r"""A mosaic from a scan to a file, part by part: what was done before a kill is not done again."""

__all__ = ["ENDINGS", "Placed", "check_ending", "overlapping", "write_mosaic"]

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from relume.background import filled, lone
from relume.errors import UsageError
from relume.mosaic import Settings, Solution, solve
from relume.mosaic.fuse import Canvas, bands, canvas
from relume.mosaic.looks import Looks
from relume.mosaic.solve import Tell
from relume.mosaic.work import Work
from relume.scan import Provenance, Scan, write_picture

from .mosaic_field import common_field

ENDINGS, PLAIN = (".h5", ".hdf5", ".nxs", ".tif", ".tiff"), (".tif", ".tiff")
GAUGE = "1 is the 95th percentile of the mosaic, over cells of 8 pixels"


class Placed(NamedTuple):
    """What was written: the picture's shape, the solution, and whether an earlier run was gone on with."""

    shape: tuple[int, int]
    solution: Solution
    resumed: bool


def overlapping(scan: Scan, overlap: float) -> npt.NDArray[np.float64]:
    """Nominal places (N,2) of a grid whose tiles share ``overlap`` of their side.

    Raises:
        UsageError: the tiles are no grid, or the overlap is not within (0, 0.9).
    """
    if scan.positions is None or scan.grid is None:
        raise UsageError(f"{scan.path} is no grid of tiles; say where they lie in a TileConfiguration.txt")
    if not 0 < overlap < 0.9:
        raise UsageError(f"an overlap of {overlap:g}: it is a share between 0 and 0.9")
    return scan.positions * (1 - overlap)


def check_ending(path: Path, *, sigma: bool = False) -> bool:
    """Whether the file holds the picture alone, before any work is done for it.

    Raises:
        UsageError: results cannot be written under such a name, or no sigma beside them.
    """
    plain = path.suffix.lower() in PLAIN
    if not plain and path.suffix.lower() not in ENDINGS:
        raise UsageError(f"cannot write {path.name}: end the name in {', '.join(ENDINGS)}")
    if sigma and plain:
        raise UsageError("TIFF holds no sigma beside the picture; end the name in .h5 or .nxs")
    return plain


def write_mosaic(
    scan: Scan,
    path: Path,
    *,
    nominal: npt.NDArray[np.float64],
    dark: npt.NDArray[np.floating] | float = 0.0,
    settings: Settings | None = None,
    flat: npt.NDArray[np.floating] | None = None,
    sigma: bool = False,
    checksums: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
    model: str | Path = "xray",
    engine: str = "auto",
    overwrite: bool = False,
    tell: Tell | None = None,
    told: Mapping[str, Any] | None = None,
) -> Placed:
    """Solves a mosaic and writes it; the folder ``.NAME.relume`` beside it holds the parts until it is whole.

    Args:
        scan: the tiles, in the order in which they were taken.
        path: where to; ``.h5``, ``.nxs`` or ``.tif``.
        nominal: (N,2) corners (y, x) as the stage has them.
        dark: what the detector gives without light.
        settings: how it is solved; the common field may be ``auto`` or any of
            :data:`relume.tasks.mosaic_field.FIELDS`.
        flat: counts of the empty field less the dark level (H,W), in place of an estimated field.
        sigma: whether the standard deviation is written beside it.
        checksums: names and SHA-256 of the source, for the provenance and to know a run again.
        model: the name or path of the bundle of the fields ``series`` and ``pix2pix``.
        engine: what runs it.
        overwrite: whether a file that stands there may be replaced.
        tell: told of progress.
        told: what the provenance is to say beside the settings.

    Raises:
        UsageError: places and tiles do not match, a tile is dark, the file's ending is none of these, there
            is no such field.
        BundleNotFound: the model of the field is not there.
        OutputExists: a file stands there and ``overwrite`` is false.
    """
    settings = settings or Settings()
    plain = check_ending(path, sigma=sigma)
    estimator, bundle = None, None
    if flat is None:
        name, estimator, bundle = common_field(
            settings.common,
            model,
            engine,
            tiles=len(scan.frames),
            empty=settings.prior.empty,
            glare=settings.artefacts.glare,
        )
        settings = replace(settings, common=name)
    off = settings.artefacts
    measured = None if flat is None else filled(flat)
    bright = None if measured is None else lone(measured)
    looks = Looks(scan.frames, dark, names=scan.facts.get("files", ()), artefacts=off, bright=bright)
    given = None if measured is None else _logarithm(off.unveiled(measured))
    key = {
        "settings": asdict(settings),
        "nominal": nominal.tolist(),
        "source": checksums,
        "model": None if bundle is None else bundle.hash,
        "arrays": [_digest(array) for array in (dark, flat)],
    }
    work = Work(path.with_name(f".{path.name}.relume"), key)
    found = solve(looks, nominal, settings=settings, given=given, estimator=estimator, work=work, tell=tell)
    on = canvas(found.places, looks.shape)
    write_picture(
        path,
        on.shape,
        _layers(looks, found, on, work, sigma=sigma, tell=tell or (lambda stage, done, total: None)),
        Provenance(
            "mosaic",
            _told(settings, found, looks, measured=flat is not None) | dict(told or {}),
            GAUGE,
            bundle=None if bundle is None else bundle.hash,
            source=checksums[0],
            checksums=checksums[1],
        ),
        extra={} if plain else _arrays(found, on),
        pixel_size=scan.pixel_size,
        overwrite=overwrite,
    )
    resumed = work.resumed
    work.remove()
    return Placed(on.shape, found, resumed)


_FLOOR = 0.02  # of a flat's median: what is darker, blocked corners and dead pixels, tells no light


def _logarithm(flat: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(np.log(np.maximum(flat, _FLOOR * float(np.median(flat)))))


def _digest(array: Any) -> str | None:
    return None if array is None else hashlib.sha256(np.asarray(array, np.float64).tobytes()).hexdigest()


def _layers(
    looks: Looks, found: Solution, on: Canvas, work: Work, *, sigma: bool, tell: Tell
) -> Iterator[dict[str, Any]]:
    """The bands, from the folder where they are there, made and kept otherwise."""
    for number in range(on.bands):
        kept = work.load(f"band-{number:05d}")
        if kept is None:
            band = next(bands(looks, found, on, wanted=iter([number])))
            kept = {"data": band.transmission, "sigma": band.sigma}
            work.save(f"band-{number:05d}", **kept)
        tell("fusion", number + 1, on.bands)
        yield kept if sigma else {"data": kept["data"]}


def _told(settings: Settings, found: Solution, looks: Looks, *, measured: bool) -> dict[str, Any]:
    gauge = found.balance.gauge
    accepted = sum(link.ncc >= settings.gate for link in found.links)
    return {
        **asdict(settings),
        **({"common": "reference"} if measured else {}),
        "dark mean": float(np.nanmean(looks.dark)),
        "glare": _range(looks.added(i).glare for i in range(len(looks))),
        "outliers": sum(len(looks.added(i).where) for i in range(len(looks))),
        "links": len(found.links),
        "links accepted": accepted,
        "open modes": gauge.open_modes,
        "eigenvalues": gauge.eigenvalues,
        "deviations": gauge.deviations,
        "fixed by": gauge.fixed_by,
    }


def _range(values: Iterable[float]) -> list[float]:
    """The least and the largest."""
    every = list(values)
    return [min(every), max(every)]


def _arrays(found: Solution, on: Canvas) -> dict[str, Any]:
    """What else is known, beside the picture; places are in its pixels."""
    held = found.balance
    return {
        "background": np.exp(found.field).astype(np.float32),
        "positions": found.places - np.asarray(on.origin),
        "gains": held.gains,
        "gains_sigma": held.deviations,
        "slow_modes": held.modes,
    }
