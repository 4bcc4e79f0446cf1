r"""``relume xray mosaic``: overlapping tiles to one picture, without a shot of the empty field."""

__all__ = ["add", "run"]

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from relume.cli.console import Console, Progress, say
from relume.cli.extras import need
from relume.cli.options import Subparsers, add_talk, from_zero, number
from relume.cli.xray.inputs import (
    add_artefacts,
    add_measured,
    add_net,
    artefacts_of,
    check_output,
    check_raw,
    checksums,
    dark_of,
    opened,
    warn_dark,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from relume.scan import Scan

_EPILOG = """\
Parts that are done lie in a hidden folder beside OUT until it is whole: the same command goes on after an
interruption. Overlaps leave open a ramp and a bowl over the whole mosaic. The brightest parts of the tiles
hold them, as far as they agree; what else does, and how well, is in the provenance of OUT.
"""
_ASSUMED = 0.135  # of a tile, where nothing says how far they overlap; with the radius, 2 to 25 %
_STAGES = ("registration", "field", "gains", "fusion")


def add(subparsers: "Subparsers") -> None:
    """Declares the command."""
    parser = subparsers.add_parser(
        "mosaic",
        help="overlapping tiles to one picture",
        description="Registers overlapping tiles, finds the light that they have in common, balances "
        "their gains "
        "in one solve and fuses them. Linear float32; 1 is the brightest part.",
        epilog=_EPILOG,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "input", type=Path, metavar="FOLDER", help="tiles, with TileConfiguration.txt, or a mosaic .xrm"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help=".h5, .nxs or .tif")
    parser.add_argument(
        "--field",
        default="auto",
        metavar="NAME",
        help="the common light: series (the trained model and what all tiles hold over it; the default up "
        "to 8 tiles), gradients (the default of more), location, hash-grid (needs torch), pix2pix (the "
        "model on each tile); a --reference overrides it",
    )
    add_net(parser)
    add_measured(parser)
    add_artefacts(parser, glare="0.055, or what a darker tile allows", outliers="mend")
    places = parser.add_argument_group("places")
    places.add_argument(
        "--overlap",
        type=number(0.001, 0.9),
        metavar="SHARE",
        help=f"of a tile's side, where the tiles come without places (default: {_ASSUMED})",
    )
    places.add_argument(
        "--radius",
        type=from_zero,
        metavar="N",
        help="pixels around their places in which tiles are looked for; 0 believes the stage "
        "(default: 1/16 tile)",
    )
    group = parser.add_argument_group("gauge")
    group.add_argument("--mode", choices=("absorption", "zernike"), help="the contrast of the microscope")
    group.add_argument(
        "--gain-spread",
        type=number(1e-4, 2),
        metavar="X",
        help="how far ln gains of tiles differ (default: 0.02 for --mode absorption, else 0.15)",
    )
    group.add_argument(
        "--no-empty",
        action="store_true",
        help="do not take the brightest parts of the tiles, where they agree, for empty",
    )
    parser.add_argument("--uncertainty", action="store_true", help="add one standard deviation of each pixel")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    add_talk(parser)


def run(args: argparse.Namespace) -> int:
    """Makes a mosaic."""
    need("xray", "relume xray mosaic")
    import numpy as np

    from relume.background import Artefacts
    from relume.mosaic import Prior, Settings
    from relume.mosaic.registration import GATE
    from relume.tasks.mosaic import check_ending, write_mosaic

    check_ending(args.output, sigma=args.uncertainty)
    check_raw(args.output, [args.input], args)
    check_output(args.output, overwrite=args.overwrite)
    console = Console.of(args)
    scan = opened(args.input, args, needs_flats=args.reference is not None, stale=True)
    dark = dark_of(scan, args.dark)
    flat = scan.flats.mean() - dark if args.reference is not None and scan.flats is not None else None
    assumed = _edge_to_edge(scan)
    radius = (
        args.radius
        if args.radius is not None
        else int(0.117 * min(scan.frames.size))
        if assumed and args.overlap is None
        else None
    )
    nominal = _nominal(scan, args.overlap, assumed=assumed)
    warn_dark(scan, dark, args)
    spread = args.gain_spread or (0.02 if args.mode == "absorption" else 0.15)
    progress = Progress(len(_STAGES), console)

    def tell(stage: str, done: int, total: int) -> None:
        progress.begin(stage)
        progress.at(_STAGES.index(stage), done / max(total, 1))

    try:
        made = write_mosaic(
            scan,
            args.output,
            nominal=nominal,
            dark=dark,
            settings=Settings(
                args.field,
                radius,
                prior=Prior(gain=spread, empty=not args.no_empty),
                artefacts=artefacts_of(args, Artefacts()),
            ),
            flat=flat,
            sigma=args.uncertainty,
            checksums=checksums(scan, args),
            model=args.model,
            engine=args.engine,
            overwrite=args.overwrite,
            tell=tell,
            told={
                "mode": args.mode or "not told",
                "dark": args.dark or ("none" if not np.any(dark) else "frames of the file"),
                "reference": str(args.reference or "none"),
            },
        )
    finally:
        progress.close()
    found = made.solution
    accepted = sum(link.ncc >= GATE for link in found.links)
    size = f"{made.shape[1]}×{made.shape[0]}"
    console.note(
        f"{args.input} → {args.output}  {len(scan.frames)} tiles, {size}{', gone on' if made.resumed else ''}"
    )
    modes = found.balance.gauge
    console.detail(
        f"  {accepted} of {len(found.links)} links found; {modes.open_modes}"
        f"{' or more' if modes.open_modes == len(modes.eigenvalues) else ''} modes left open"
    )
    if "empty_sd" in modes.fixed_by:
        console.detail(
            f"  the brightest parts of the tiles agree to {modes.fixed_by['empty_sd']:.1%}, "
            f"{modes.fixed_by['empty_share']:.0%} of them (--no-empty: do not take them for empty)"
        )
    if not args.quiet:
        for line in _doubts(found.places, scan.frames.size, accepted, len(found.links), searched=radius != 0):
            say(f"note: {args.input}: {line}")
    return 0


def _doubts(
    places: "npt.NDArray[np.float64]", size: tuple[int, int], accepted: int, links: int, *, searched: bool
) -> list[str]:
    """What a person should know before they believe the picture."""
    from relume.mosaic.overlap import groups

    lines = []
    apart = groups(places, size)
    if apart > 1:
        lines.append(
            f"its tiles lie in {apart} groups that do not overlap: light and gains cannot be compared "
            "between them; are the places in pixels? TileConfiguration.txt or --overlap says where tiles lie"
        )
    if searched and links and accepted < links / 2:
        lines.append(
            f"only {accepted} of {links} shifts between neighbours were found, the other tiles lie where the "
            "stage or --overlap has them; a TileConfiguration.txt, --overlap or a larger --radius may help"
        )
    return lines


def _edge_to_edge(scan: "Scan") -> bool:
    """Whether the places are no more than a guess, or those of a picture that was cut into tiles."""
    return scan.grid is not None


def _nominal(scan: "Scan", overlap: float | None, *, assumed: bool) -> "npt.NDArray[np.float64]":
    from relume.errors import UsageError
    from relume.tasks.mosaic import overlapping

    if assumed:
        return overlapping(scan, _ASSUMED if overlap is None else overlap)
    if scan.positions is None:
        why = scan.facts.get("grid") or "it does not say where its frames lie"
        raise UsageError(f"{scan.path} is no mosaic: {why}")
    return scan.positions
