r"""``relume xray``: images of a transmission X-ray microscope. One subcommand a file, listed in
:data:`COMMANDS`."""

__all__ = ["COMMANDS", "add"]

from types import ModuleType

from relume.cli.options import Subparsers
from relume.cli.xray import correct, evaluate, mosaic, simulate

COMMANDS: list[ModuleType] = [correct, mosaic, simulate, evaluate]


def add(subparsers: "Subparsers") -> None:
    """Declares the command and what stands below it."""
    parser = subparsers.add_parser(
        "xray",
        help="X-ray micrographs without a background shot",
        description="Takes the uneven light out of images of a transmission X-ray microscope. Values stay "
        "linear "
        "and are never clipped.",
    )
    below = parser.add_subparsers(dest="xray", required=True, metavar="WHAT")
    for command in COMMANDS:
        command.add(below)
