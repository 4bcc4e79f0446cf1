r"""What the X-ray commands share: opening measurements with their references, modes, and provenance."""

__all__ = [
    "add_artefacts",
    "add_measured",
    "add_mode",
    "add_net",
    "artefacts_of",
    "checksums",
    "check_output",
    "check_raw",
    "check_thickness",
    "dark_of",
    "opened",
    "warn_dark",
    "warn_fringes",
]

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from relume.cli.console import Console, say
from relume.cli.options import add_engine, number
from relume.errors import ImageError, InconsistentScan, OutputExists, UsageError
from relume.files import digest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from relume.background import Artefacts
    from relume.scan import Scan

_FRINGES = 1.05, 0.005  # in absorption T ≤ 1: what more than this share of the pixels may not exceed


def add_measured(parser: argparse.ArgumentParser) -> None:
    """Flat and dark frames that are not in the file itself."""
    group = parser.add_argument_group("references")
    group.add_argument("--reference", type=Path, metavar="FILE", help="frames of the empty field")
    group.add_argument(
        "--dark",
        metavar="FILE|COUNTS",
        help="frames without light, or the detector's offset (default: the frames in the file, or 0)",
    )


def add_net(parser: argparse.ArgumentParser) -> None:
    """Which model the learned methods run, and on what."""
    group = parser.add_argument_group("the model of pix2pix and series")
    group.add_argument(
        "--model", default="xray", metavar="NAME|DIR", help="a model or its folder (default: xray)"
    )
    add_engine(group)


def add_artefacts(parser: argparse.ArgumentParser, *, glare: str, outliers: str) -> None:
    """What the camera adds; what is taken off of it unless it is told, in words."""
    group = parser.add_argument_group("the camera")
    group.add_argument(
        "--glare",
        type=number(0, 1),
        metavar="SHARE",
        help="of a whole frame's mean light that lies as a veil over it, and is taken off "
        f"(default: {glare})",
    )
    group.add_argument(
        "--outliers",
        choices=("mend", "keep"),
        help="what becomes of single bright pixels: the median of their neighbours, or nothing "
        f"(default: {outliers})",
    )


def artefacts_of(args: argparse.Namespace, usual: "Artefacts") -> "Artefacts":
    """What is taken off: what is usual but for what was said."""
    return usual.told(glare=args.glare, outliers=None if args.outliers is None else args.outliers == "mend")


def add_mode(parser: argparse.ArgumentParser) -> None:
    """Thickness, and the contrast that allows it or not."""
    group = parser.add_argument_group("thickness")
    group.add_argument(
        "--thickness",
        type=number(1e-6, 1e9),
        metavar="MU",
        help="add thickness maps in µm, for a linear attenuation of MU per cm; needs --mode absorption",
    )
    group.add_argument("--mode", choices=("absorption", "zernike"), help="the contrast of the microscope")


def check_thickness(args: argparse.Namespace) -> None:
    """Refuses thickness where transmission says nothing about it.

    Raises:
        UsageError: Zernike contrast, or nobody said which.
    """
    if args.thickness is None:
        return
    if args.mode == "zernike":
        raise UsageError(
            "no thickness follows from Zernike contrast, where phase moves the transmission: "
            "leave --thickness out"
        )
    if args.mode is None:
        raise UsageError("--thickness needs --mode absorption: in Zernike contrast it would be wrong")


def check_output(path: Path, *, overwrite: bool) -> None:
    """Makes sure that a result can go there before the work is done."""
    if path.exists() and not overwrite:
        raise OutputExists(f"{path} exists; choose another name, or give --overwrite")


def check_raw(target: Path, inputs: Sequence[Path], args: argparse.Namespace) -> None:
    """Refuses to write over what is measured: the inputs, what lies in their folders, references, darks.

    Raises:
        UsageError: the result would take the place of one of them.
    """
    place, given = target.resolve(), [*inputs, *_beside(args).values()]
    if place in {path.resolve() for path in given}:
        raise UsageError(f"{target} would be replaced by its result: choose another -o")
    tiles = [path.resolve() for path in given if path.is_dir()]
    tiles += [path.resolve().parent for path in given if path.suffix.lower() == ".txt"]  # a configuration
    if place.parent in tiles or (target.exists() and any(place.is_relative_to(folder) for folder in tiles)):
        raise UsageError(f"{target} would lie among the raw files: choose another -o")


def _beside(args: argparse.Namespace) -> dict[str, Path]:
    """The files of --reference and --dark, by what they are."""
    found = {} if args.reference is None else {"reference": args.reference}
    return found if args.dark is None or _level(args.dark) is not None else found | {"dark": Path(args.dark)}


def _level(text: str) -> float | None:
    """The number that --dark is, or ``None`` where it is a file.

    Raises:
        UsageError: it is no finite number.
    """
    try:
        level = float(text)
    except ValueError:
        return None
    if not math.isfinite(level):
        raise UsageError(f"--dark {text}: give the dark level in counts, or a file of dark frames")
    return level


def opened(path: Path, args: argparse.Namespace, *, needs_flats: bool, stale: bool = False) -> "Scan":
    """A measurement with the flat and dark frames of the options in place of its own.

    A reference in the file that contradicts it stops only a method that uses it. Dark frames in the file stay
    where a reference is given. Of a stale reference the exposure does not matter. Of a file of references
    with flats of its own those are taken.
    """
    from relume.scan import open_frames, open_scan, with_references

    try:
        scan = open_scan(path)
    except InconsistentScan as error:
        if needs_flats and not args.reference and not stale:
            raise
        try:
            scan = open_scan(path, references="darks")
        except InconsistentScan:
            scan = open_scan(path, references=False)
        if needs_flats and not args.reference:  # of another exposure: a stale one's shape is all that counts
            found = open_frames(path, "flats")
            if not found.own:
                raise
            scan = with_references(scan, flats=found, stale=True)
        else:
            Console.of(args).note(f"{path}: left out: {error}")
    if args.reference is not None and needs_flats:
        reference = open_frames(args.reference, "flats")
        if reference.own:
            Console.of(args).note(f"{args.reference}: the flat frames in it are used, and not its images")
        scan = with_references(scan, flats=reference, stale=stale)
    if scan.corrected:
        raise UsageError(f"{path} has been divided by its reference already")
    if _ours(scan):
        raise UsageError(f"{path} has been corrected by relume already: give the raw file")
    return scan


def _ours(scan: "Scan") -> bool:
    """Whether the file, or the first one of a folder, is an image that relume has corrected."""
    from relume.scan import provenance_of
    from relume.tasks.background import METHODS

    first = next(iter(scan.facts.get("files") or ()), None)
    try:
        how = provenance_of(scan.path if first is None else scan.path / first)
    except (ImageError, KeyError, TypeError):  # not a file of ours
        return False
    return how.method in (*METHODS, "mosaic")


def dark_of(scan: "Scan", text: str | None) -> "npt.NDArray[np.float32] | float":
    """The dark level of a measurement as --dark says, or its own dark frames, or 0.

    Raises:
        InconsistentScan: the dark frames are of another size.
    """
    from relume.scan import open_frames, with_references

    if text is not None:
        level = _level(text)
        if level is not None:
            return level
        scan = with_references(scan, darks=open_frames(text, "darks"))
    return 0.0 if scan.darks is None else scan.darks.mean()


def checksums(scan: "Scan", args: argparse.Namespace) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names and SHA-256 of the files of a measurement, and of those that --reference and --dark name."""
    names = scan.facts.get("files")
    files = {name: scan.path / name for name in names} if names else {scan.path.name: scan.path}
    for what, path in _beside(args).items():
        inside = sorted(each for each in path.iterdir() if each.is_file()) if path.is_dir() else [path]
        files |= {f"{each.name} ({what})": each for each in inside}
    return tuple(files), tuple(digest(path) for path in files.values())


def warn_dark(scan: "Scan", dark: "npt.NDArray[np.float32] | float", args: argparse.Namespace) -> None:
    """Says when nobody knows the dark level."""
    import numpy as np

    if args.dark is None and not np.any(dark) and not args.quiet:
        say(f"note: {scan.path.name}: no dark level is known; without --dark densities come out too small")


def warn_fringes(name: str, transmission: "npt.NDArray[np.float32]") -> None:
    """Says when an image of alleged absorption looks like phase contrast."""
    import numpy as np

    from relume.bench.transmission import smoothed

    bright, share = _FRINGES
    found = float(np.mean(smoothed(np.nan_to_num(transmission), 2) > bright))
    if found > share:
        say(
            f"note: {name}: {100 * found:.1f} % of it is brighter than the empty field; "
            "if this is Zernike contrast, its thickness means nothing"
        )
