r"""``relume xray correct``: raw images over their background."""

__all__ = ["add", "run"]

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from relume.cli.console import Console, Progress, say
from relume.cli.options import Subparsers, add_talk
from relume.cli.xray.inputs import (
    add_artefacts,
    add_measured,
    add_mode,
    add_net,
    artefacts_of,
    check_output,
    check_raw,
    check_thickness,
    checksums,
    dark_of,
    opened,
    warn_dark,
    warn_fringes,
)
from relume.errors import ImageError, RelumeError, UsageError
from relume.files import make_folder

if TYPE_CHECKING:
    from relume.scan import Scan
    from relume.tasks.background import Method
    from relume.tasks.correct import Corrected, Ready
    from relume.tasks.xray_report import Shown

_EPILOG = """\
methods: pix2pix (the trained model, on the image alone; of a --reference of any day it takes the detector's
pattern), series (the model on all frames of all inputs: images of one session, each of another part of the
sample), flat (a reference of the same moment), stale-flat (one of another day: its shape is used, not its
counts), polynomial, gaussian, rolling-ball (the image alone), tile-median, basic (all frames of all inputs),
eigen-flats, none. OUT ends in .h5 (Data Exchange), .nxs or .tif, or is a folder.
HDF5 and NeXus hold the background, and the error and thickness where asked for.
"""
_SHOWN = 6  # frames on a report
_WRITTEN = (".h5", ".hdf5", ".nxs", ".tif", ".tiff")
# Names that ask for a file of another sort; a folder is hardly called so.
_OTHERS = (".png", ".jpg", ".jpeg", ".bmp", ".npy", ".npz", ".mat", ".csv", ".raw", ".xrm", ".txrm", ".zarr")


def add(subparsers: "Subparsers") -> None:
    """Declares the command."""
    parser = subparsers.add_parser(
        "correct",
        help="divide raw images by their background",
        description="Estimates the background of raw X-ray images and divides it out, in linear float32.",
        epilog=_EPILOG,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "inputs",
        nargs="+",
        type=Path,
        metavar="RAW",
        help=".xrm, .txrm, HDF5, NeXus, TIFF, or a folder of tiles",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="a file or a folder")
    parser.add_argument("--method", default="pix2pix", metavar="NAME", help="see below (default: pix2pix)")
    add_net(parser)
    parser.add_argument(
        "--no-empty",
        action="store_true",
        help="pix2pix, series: do not even what is slowly uneven in parts that agree and are taken for empty",
    )
    add_measured(parser)
    add_artefacts(
        parser,
        glare="with pix2pix and series 0.055, or what a darker image allows; 0 with other methods",
        outliers="mend with pix2pix and series, keep with other methods",
    )
    parser.add_argument("--uncertainty", action="store_true", help="add one standard deviation of each pixel")
    add_mode(parser)
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="pictures, profiles and flatness, as .html or .png"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    add_talk(parser)


def run(args: argparse.Namespace) -> int:
    """Corrects; one bad file does not stop the others."""
    from relume.tasks.background import find_method
    from relume.tasks.xray_report import check_name

    check_thickness(args)
    jobs = _jobs(args)
    if args.report is not None:
        check_name(args.report)
        check_output(args.report, overwrite=args.overwrite)
    method = find_method(args.method, model=args.model, engine=args.engine, empty=not args.no_empty)
    method = method._replace(artefacts=artefacts_of(args, method.artefacts))
    console = Console.of(args)
    if args.reference is not None and method.takes != "flats":
        raise UsageError(
            f"--method {method.name} takes no --reference; pix2pix, flat, stale-flat and eigen-flats do"
        )
    scans, failed = _opened(jobs, method, args)
    blank: list[str] = []
    if failed and not scans:
        return next(iter(failed.values())).exit_code
    alone = _Tiles([], None, {})
    tiles = _series(scans, args) if method.needs == "tiles" else dict.fromkeys(scans, alone)
    if method.name == "pix2pix" and (count := sum(len(scan.frames) for scan in scans.values())) >= 3:
        console.note(
            f"each of {count} frames is taken alone; of one session, and of another part of the sample each, "
            "--method series knows their light better"
        )
    shown: list[Shown] = []
    progress = Progress(len(scans), console)
    doubts: set[str] = set()
    for source, scan in scans.items():
        progress.begin(source.name)
        try:
            shown += _one(scan, jobs[source], method, tiles[source], args, progress, blank, doubts)
            progress.end()
            console.note(f"{source} → {jobs[source]}  {method.name}, {len(scan.frames)} frames")
        except RelumeError as error:
            progress.end()
            failed[source] = error
            say(_named(source, error))
    progress.close()
    for doubt in () if args.quiet else doubts:
        say(f"note: {doubt}")
    if args.report is not None and shown:
        _report(shown, args)
        console.note(str(args.report))
    if len(failed) == len(jobs):
        return next(iter(failed.values())).exit_code
    return ImageError.exit_code if failed or blank else 0


def _named(source: Path, error: RelumeError) -> str:
    """What went wrong, under the name of the input."""
    return str(error) if source.name in str(error) else f"{source}: {error}"


def _jobs(args: argparse.Namespace) -> dict[Path, Path]:
    """Input → output.

    Raises:
        UsageError: two results would have one name, or a result the name of an input, or one that asks for
            another sort of file.
        OutputExists: something stands there.
        ImageError: the folder cannot be made.
    """
    if args.output.suffix.lower() in _OTHERS and not args.output.is_dir():
        raise UsageError(
            f"cannot write {args.output.name}: end it in {', '.join(_WRITTEN)}, or name a folder"
        )

    single = args.output.suffix.lower() in _WRITTEN and not args.output.is_dir()
    if single and len(args.inputs) > 1:
        raise UsageError("several inputs need a folder: give -o a name without an ending")
    targets = [args.output if single else args.output / f"{_stem(path)}.h5" for path in args.inputs]
    if len(set(targets)) < len(targets):
        raise UsageError("two inputs have one name: correct them one by one")
    for target in targets:
        check_raw(target, args.inputs, args)
        check_output(target, overwrite=args.overwrite)
        make_folder(target.parent)
    return dict(zip(args.inputs, targets, strict=True))


def _stem(path: Path) -> str:
    """The name of a result: that of a file without its ending, of a folder the whole of it."""
    return path.resolve().name if path.is_dir() else path.stem


def _opened(
    jobs: dict[Path, Path], method: "Method", args: argparse.Namespace
) -> "tuple[dict[Path, Scan], dict[Path, RelumeError]]":
    scans, failed = {}, {}
    for source in jobs:
        try:
            stale = method.name in ("stale-flat", "eigen-flats") or method.model is not None
            scan = opened(source, args, needs_flats=_uses_flats(method, args), stale=stale)
            if method.needs == "flats" and scan.flats is None:
                raise UsageError(f"{source} holds no flat frames: give --reference, or another --method")
            scans[source] = scan
        except RelumeError as error:
            failed[source] = error
            say(_named(source, error))
    return scans, failed


def _uses_flats(method: "Method", args: argparse.Namespace) -> bool:
    """Whether flats count: a method that can do without takes what was given, not what is in the file."""
    return method.needs == "flats" or (method.takes == "flats" and args.reference is not None)


class _Tiles(NamedTuple):
    """Frames of all inputs less their dark level, where among them those of one input were taken, and, once
    it is there, what was made of them all."""

    frames: list[Any]
    places: list[float] | None
    made: "dict[str, Ready]"

    def ready(self, method: "Method", size: tuple[int, int]) -> "Ready | None":
        """What serves every file.

        Raises:
            UsageError: its frames are of another size.
        """
        from relume.tasks.correct import prepared

        if not self.frames:
            return None
        if self.places is None:
            here, there = ("×".join(map(str, reversed(each))) for each in (size, self.frames[0].shape))
            raise UsageError(f"its frames are {here}, most of the others {there}: correct them apart")
        if not self.made:
            self.made[method.name] = prepared(method, self.frames)
        return self.made[method.name]


def _series(scans: "dict[Path, Scan]", args: argparse.Namespace) -> dict[Path, _Tiles]:
    """Frames of all inputs of the commonest size, evenly chosen, each less the dark level of its own input.

    Raises:
        UsageError: fewer than three: what is common could not be told from what is sample.
    """
    from relume.tasks.correct import apart

    sizes = [scan.frames.size for scan in scans.values()]
    size = max(set(sizes), key=sizes.count) if sizes else None
    alike = {source: scan for source, scan in scans.items() if scan.frames.size == size}
    frames = [(source, i) for source, scan in alike.items() for i in range(len(scan.frames))]
    if len(frames) < 3:
        raise UsageError(
            f"the method needs a series of three frames or more of one size, not {len(frames)}; give them "
            "all as RAW"
        )
    every = apart(len(frames), size or ())
    places: dict[Path, list[float]] = {source: [] for source in alike}
    for number, (source, _) in enumerate(frames):
        places[source].append(number / every)
    darks = {source: dark_of(scan, args.dark) for source, scan in alike.items()}
    chosen = [alike[source].frames[i] - darks[source] for source, i in frames[::every]]
    made: dict[str, Ready] = {}
    return {source: _Tiles(chosen, places.get(source), made) for source in scans}


def _one(
    scan: "Scan",
    target: Path,
    method: "Method",
    tiles: _Tiles,
    args: argparse.Namespace,
    progress: Progress,
    blank: list[str],
    doubts: set[str],
) -> "list[Shown]":
    """Corrects the frames of one input, and keeps some of them to show. ``blank`` gets what is dark, and
    ``doubts`` what speaks against a background."""
    import numpy as np

    from relume.scan import Provenance, write
    from relume.tasks import correct
    from relume.tasks.xray_report import Shown

    dark = dark_of(scan, args.dark)
    warn_dark(scan, dark, args)
    if scan.flats is not None and method.model is not None and not _uses_flats(method, args):
        Console.of(args).note(f"{scan.path.name}: its own reference is not used; --method flat divides by it")
    references = list(scan.flats) if scan.flats is not None and _uses_flats(method, args) else []
    empty: list[str] = []

    def without_light(number: int, error: UsageError) -> None:
        empty.append(f"{scan.path.name}, {error}")
        if len(empty) == len(scan.frames):
            raise error
        say(f"{empty[-1]} It is nan in the result.")

    found = correct.correct(
        scan.frames,
        method=method,
        dark=dark,
        references=references,
        scale=scan.flat_scale,
        places=tiles.places,
        ready=tiles.ready(method, scan.frames.size),
        uncertainty=args.uncertainty,
        blank=without_light if len(scan.frames) > 1 else None,
    )
    levels, glare = np.zeros(len(scan.frames)), np.zeros(len(scan.frames))
    outliers = np.zeros(len(scan.frames), np.int64)
    every = -(-len(scan.frames) // _SHOWN)
    shown = []

    def frames() -> Iterator[Any]:
        for number, one in enumerate(found):
            levels[number] = one.level
            doubts.update(filter(None, [one.doubt]))
            outliers[number] = one.outliers
            glare[number] = one.glare if np.isfinite(one.level) else np.nan
            if number % every == 0 and args.report is not None and np.isfinite(one.level):
                raw = scan.frames[number] - dark
                shown.append(
                    Shown(f"{scan.path.name}, frame {number + 1}", raw, one.background, one.transmission)
                )
            yield _layers(one, scan, target, args)
            progress.tiles(number + 1, len(scan.frames))

    names, sums = checksums(scan, args)
    how = Provenance(
        method.name,
        _parameters(method, dark, scan, args),
        correct.gauge(method.name),
        bundle=None if method.model is None else method.model.hash,
        source=names,
        checksums=sums,
    )
    each = {"level": levels, "glare": glare, "outliers": outliers}
    extra = {} if _plain(target) else each | _places(scan)
    write(target, frames(), how, extra=extra, pixel_size=scan.pixel_size, overwrite=args.overwrite)
    _told(scan, outliers, glare, method.artefacts.glare, args)
    blank += empty
    return shown


def _told(scan: "Scan", outliers: Any, glare: Any, usual: float, args: argparse.Namespace) -> None:
    """What was taken off beside the background, and where that was less than expected."""
    import numpy as np

    console, frames = Console.of(args), len(scan.frames)
    if outliers.sum():
        console.detail(
            f"  bright pixels replaced: {outliers.sum()}, in {frames} frames (--outliers keep: none)"
        )
    if less := int((glare < usual - 1e-9).sum()):
        console.note(
            f"{scan.path.name}: {less} of {frames} frames are darker somewhere than a glare of {usual:g} "
            f"would leave them: as little as {np.nanmin(glare):.3f} is taken off (--glare SHARE: as measured)"
        )


def _plain(target: Path) -> bool:
    """Whether the file holds the frames alone."""
    return target.suffix.lower() in (".tif", ".tiff")


def _places(scan: "Scan") -> dict[str, Any]:
    """One place and one angle (degrees) a frame, where they are known."""
    places = {} if scan.positions is None else {"positions": scan.positions}
    return places if scan.angles is None else places | {"theta": scan.angles}


def _layers(one: "Corrected", scan: "Scan", target: Path, args: argparse.Namespace) -> dict[str, Any]:
    from relume.tasks.correct import thickness

    layers = {"data": one.transmission}
    if not _plain(target):
        layers["background"] = one.background
    if one.sigma is not None:
        layers["sigma"] = one.sigma
    if args.thickness is not None:
        layers["thickness"] = thickness(one.transmission, args.thickness)
        warn_fringes(scan.path.name, one.transmission)
    return layers


def _parameters(method: "Method", dark: Any, scan: "Scan", args: argparse.Namespace) -> dict[str, Any]:
    import numpy as np

    facts: dict[str, Any] = {
        "dark": args.dark or ("none" if not np.any(dark) else "frames of the file"),
        "dark mean": float(np.nanmean(dark)),
        "mode": args.mode or "not told",
    }
    facts |= {"glare": method.artefacts.glare, "outliers": "mended" if method.artefacts.outliers else "kept"}
    if method.model is not None:
        facts["model"] = f"{method.model.name} {method.model.card['version']}"
        facts["empty parts sought"] = not args.no_empty
    if _uses_flats(method, args):
        facts |= {"reference": str(args.reference or "of the file"), "exposure ratio": scan.flat_scale}
    if args.thickness is not None:
        facts["attenuation per cm"] = args.thickness
    return facts


def _report(shown: "list[Shown]", args: argparse.Namespace) -> None:
    from relume.tasks.xray_report import report

    report(args.report, shown[:_SHOWN], method=args.method, overwrite=args.overwrite)
