r"""``relume xray simulate``: raw images and mosaics with their truth."""

__all__ = ["add", "run"]

import argparse
from pathlib import Path

from relume.cli.console import Console, Progress
from relume.cli.extras import need
from relume.cli.options import Subparsers, add_talk, count, from_zero, number

_EPILOG = """\
OUT gets raw images (uint16 TIFF), dark.tif, and truth.h5 with transmission, background and gains; a session
gets flat.tif too, and a mosaic a TileConfiguration.txt with the places as the stage has them and the real
ones in truth.h5. The same options and seed give the same images. Seeds from 200000 to 200499 are kept for
tests.
"""
_LEAST = 16  # pixels


def add(subparsers: "Subparsers") -> None:
    """Declares the command."""
    parser = subparsers.add_parser(
        "simulate",
        help="raw images and mosaics with their truth",
        description="Simulates images of a transmission X-ray microscope, with their true background "
        "and sample.",
        epilog=_EPILOG,
    )
    parser.set_defaults(run=run)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="a folder")
    parser.add_argument("--seed", type=from_zero, default=0, metavar="N", help="decides all (default: 0)")
    parser.add_argument("--size", type=count, default=512, metavar="N", help="side in pixels (default: 512)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--images", type=count, metavar="N", help="single images of one session (default: 20)")
    what.add_argument("--mosaic", type=count, metavar="K", help="K×K overlapping tiles of one sample")
    parser.add_argument(
        "--overlap",
        type=number(0.01, 0.5),
        metavar="SHARE",
        help="of a tile's side in a mosaic (default: drawn)",
    )
    parser.add_argument(
        "--kind", action="append", metavar="NAME", help="a sort of sample; may be given again"
    )
    parser.add_argument(
        "--instrument", type=from_zero, metavar="SEED", help="of a session with the same detector"
    )
    parser.add_argument("--mode", choices=("absorption", "zernike"), help="the contrast (default: drawn)")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    add_talk(parser)


def run(args: argparse.Namespace) -> int:
    """Simulates."""
    need("scan", "relume xray simulate")
    from relume.degrade.illumination import Mosaic, Simulator
    from relume.degrade.phantoms import KINDS
    from relume.errors import UsageError
    from relume.tasks.xray_sets import write_mosaic_set, write_session

    kinds = tuple(args.kind or KINDS)
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise UsageError(f"no sample is called {unknown[0]!r}; there are: {', '.join(KINDS)}")
    if args.size < _LEAST:
        raise UsageError(f"--size {args.size}: light and samples need {_LEAST} pixels a side or more")
    zernike = None if args.mode is None else args.mode == "zernike"
    progress = Progress(1, Console.of(args))
    progress.begin("simulating")
    try:
        if args.mosaic:
            step = None if args.overlap is None else args.size * (1 - args.overlap)
            mosaic = Mosaic(
                args.seed,
                args.mosaic,
                args.size,
                step=step,
                instrument=args.instrument,
                kinds=kinds,
                zernike=zernike,
            )
            write_mosaic_set(args.output, mosaic, overwrite=args.overwrite, tell=progress.tiles)
        else:
            many = args.images or 20
            simulator = Simulator(
                args.seed,
                args.size,
                instrument=args.instrument,
                moments=many,
                kinds=kinds,
                zernike=zernike,
            )
            write_session(args.output, simulator, many, overwrite=args.overwrite, tell=progress.tiles)
    finally:
        progress.close()
    Console.of(args).note(str(args.output))
    return 0
