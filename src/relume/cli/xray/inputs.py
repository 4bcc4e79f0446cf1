r"""What the X-ray commands share: opening measurements with their references, modes, and provenance."""

__all__ = [
    "add_measured",
    "add_mode",
    "add_net",
    "checksums",
    "check_output",
    "check_thickness",
    "dark_of",
    "opened",
    "warn_fringes",
]

import argparse
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from relume.cli.console import Console, say
from relume.cli.options import add_engine, number
from relume.errors import InconsistentScan, OutputExists, UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

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
    """Which model pix2pix is, and what runs it."""
    group = parser.add_argument_group("the model of pix2pix")
    group.add_argument(
        "--model", default="xray", metavar="NAME|DIR", help="a model or its folder (default: xray)"
    )
    add_engine(group)


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


def opened(path: Path, args: argparse.Namespace, *, needs_flats: bool, stale: bool = False) -> "Scan":
    """A measurement with the flat and dark frames of the options in place of its own.

    A reference in the file that contradicts it stops only a method that uses it. Dark frames in the file stay
    where a reference is given. Of a stale reference the exposure does not matter.
    """
    from dataclasses import replace

    from relume.scan import open_scan, with_references

    try:
        scan = open_scan(path)
    except InconsistentScan as error:
        if needs_flats and not args.reference:
            raise
        scan = open_scan(path, references=False)
        Console.of(args).note(f"{path}: left out: {error}")
    if args.reference is not None and needs_flats:
        reference = open_scan(args.reference, references=False)
        if stale:
            reference = replace(reference, exposure=None, binning=None)
        scan = with_references(scan, flats=reference)
    if scan.corrected:
        raise UsageError(f"{path} has been divided by its reference already")
    return scan


def dark_of(scan: "Scan", text: str | None) -> "npt.NDArray[np.float32] | float":
    """The dark level of a measurement as --dark says, or its own dark frames, or 0.

    Raises:
        InconsistentScan: the dark frames are of another size.
    """
    from relume.scan import open_scan, with_references

    if text is not None:
        try:
            return float(text)
        except ValueError:
            scan = with_references(scan, darks=open_scan(text, references=False))
    return 0.0 if scan.darks is None else scan.darks.mean()


def checksums(scan: "Scan") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names and SHA-256 of the files of a measurement."""
    names = scan.facts.get("files")
    files = [scan.path / name for name in names] if names else [scan.path]
    sums = []
    for path in files:
        with path.open("rb") as file:
            sums.append(hashlib.file_digest(file, "sha256").hexdigest())
    return tuple(path.name for path in files), tuple(sums)


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
