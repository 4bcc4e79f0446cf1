r"""Options that several commands share, and how their values are read."""

__all__ = [
    "Parser",
    "Subparsers",
    "add_model",
    "add_output",
    "add_restoring",
    "add_talk",
    "count",
    "duration",
    "exactly",
    "from_zero",
    "memory",
    "number",
    "percent",
]

import argparse
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from relume.errors import UsageError

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction["Parser"]
else:
    Subparsers = object

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class Parser(argparse.ArgumentParser):
    """An argument parser that raises :class:`~relume.errors.UsageError` and takes no abbreviations."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**{**settings, "allow_abbrev": False})  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; {self.prog} --help tells more")


def memory(text: str) -> int:
    """``2G``, ``1.5GiB``, ``800M`` → bytes, in powers of 1024.

    >>> memory("2G"), memory("1.5k")
    (2147483648, 1536)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None or float(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; give something like 2G or 800M")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def duration(text: str) -> float:
    """``90s``, ``10m``, ``24h``, ``7d`` → seconds.

    >>> duration("24h")
    86400.0
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if match is None or float(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; give something like 90s, 10m, 24h or 7d")
    return float(match[1]) * _SECONDS[match[2]]


def count(text: str) -> int:
    """A whole number from 1 on."""
    return _whole(text, 1)


def from_zero(text: str) -> int:
    """A whole number from 0 on."""
    return _whole(text, 0)


def percent(text: str) -> int:
    """A whole number from 1 to 100."""
    if _whole(text, 1) > 100:
        raise argparse.ArgumentTypeError(f"{text!r} is above 100")
    return int(text)


def _whole(text: str, least: int) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text.strip()) or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} on")
    return int(text)


def number(low: float, high: float) -> Callable[[str], float]:
    """A number between two bounds, both included."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is no number from {low:g} to {high:g}")
        return value

    return read


def exactly(*allowed: int) -> Callable[[str], int]:
    """One of a few whole numbers."""

    def read(text: str) -> int:
        if text not in {str(value) for value in allowed}:
            raise argparse.ArgumentTypeError(f"{text!r} is not {' or '.join(map(str, allowed))}")
        return int(text)

    return read


def add_talk(parser: argparse.ArgumentParser) -> None:
    """-q and -v."""
    group = parser.add_argument_group("messages (on stderr)").add_mutually_exclusive_group()
    group.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors")
    group.add_argument(
        "-v", "--verbose", action="store_true", help="say what really runs, and where errors come from"
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Which model, and where it runs."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model", default="photo", metavar="NAME|DIR", help="a model or its folder (default: photo)"
    )
    add_engine(group)
    group.add_argument(
        "--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:1, tensorrt, gpu, …"
    )
    group.add_argument("--precision", default="auto", metavar="NAME", help="auto, f32, bf16, f16 or int8")
    group.add_argument(
        "--force", action="store_true", help="run at a precision that did not pass the model's parity check"
    )
    group.add_argument(
        "--threads", type=count, metavar="N", help="CPU threads (default: as the engine has it)"
    )


def add_engine(group: argparse._ArgumentGroup) -> None:
    """What runs the model."""
    group.add_argument(
        "--engine",
        default="auto",
        metavar="NAME",
        help="auto, openvino, onnx, pytorch, pytorch-compile, pytorch-graph, tensorrt or null "
        "(default: auto)",
    )


def add_output(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """How a picture is written; returns the group, for more."""
    group = parser.add_argument_group("output")
    group.add_argument(
        "--format", metavar="NAME", help="JPEG, PNG, TIFF, WEBP, BMP or HEIF (default: the input's)"
    )
    group.add_argument(
        "--bit-depth", type=exactly(8, 16), metavar="8|16", help="bits a channel (default: the input's)"
    )
    group.add_argument(
        "--quality", type=percent, default=95, metavar="1…100", help="of JPEG, WebP and HEIF (default: 95)"
    )
    metadata = group.add_mutually_exclusive_group()
    metadata.add_argument(
        "--keep-metadata", dest="keep_metadata", action="store_true", default=True, help="the default"
    )
    metadata.add_argument(
        "--strip-metadata",
        dest="keep_metadata",
        action="store_false",
        help="leave out EXIF and resolution; a colour profile stays where the colours need it",
    )
    return group


def add_restoring(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """How a picture is restored, here or elsewhere; returns the group, for more."""
    group = parser.add_argument_group("restoring")
    group.add_argument(
        "--steps", type=count, metavar="N", help="evaluations per tile (default: 1, or 4 for samples)"
    )
    group.add_argument(
        "--seed", type=from_zero, default=0, metavar="N", help="decides all noise (default: 0)"
    )
    group.add_argument(
        "-w",
        "--fidelity",
        type=number(0, 1),
        default=1.0,
        metavar="0…1",
        help="1: the expected picture (default), a little too smooth; less: its own fine detail is brought "
        "back, at 0 to the sharpness that the photograph is expected to have had",
    )
    group.add_argument(
        "--preserve", action="store_true", help="keep every pixel away from the damage, but for its tone"
    )
    group.add_argument(
        "--tone",
        choices=("keep", "neutral", "revive"),
        default="revive",
        help="revive: contrast and lost colours come back, the tint of a sepia print stays no stronger than "
        "it was (default); neutral: such a print becomes grey; keep: leave tone and colour alone",
    )
    group.add_argument(
        "--shading",
        choices=("even", "keep"),
        default="even",
        help="even: light that falls off and uneven fading are undone as far as they are seen (default); "
        "keep: not; with --preserve and --tone keep they stay anyway",
    )
    group.add_argument(
        "--strength",
        type=number(0, 1),
        default=1.0,
        metavar="0…1",
        help="how far to go from the picture as it was (0) to the restored one (1, default)",
    )
    group.add_argument(
        "--tile", type=count, metavar="N", help="side of the tiles in pixels (default: the model's)"
    )
    return group
