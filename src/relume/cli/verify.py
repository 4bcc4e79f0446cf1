r"""``relume verify``: whether relume made a picture."""

__all__ = ["add", "run"]

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from relume.cli.console import Console, say
from relume.cli.options import Subparsers, add_talk, number
from relume.cli.proof import bytes_of, key_of
from relume.cli.streams import STREAM, as_json
from relume.errors import RelumeError, UsageError

if TYPE_CHECKING:
    from relume.tasks.provenance import Verdict

MADE, NOT_MADE, TROUBLE = 0, 1, 2

_EPILOG = """\
The answer is that of the mark where a key is given, and that of the record where none is. A p-value of 1e-9
says: of a thousand million keys, one would find so much in a picture that was made without it.

exit codes, other than those of the other commands: 0 made by relume, 1 not shown to be, 2 any error
"""


def add(subparsers: "Subparsers") -> None:
    """Declares the command."""
    parser = subparsers.add_parser(
        "verify",
        help="tell whether relume made a picture",
        description="Looks for the mark of a key in a picture, cropped, resized or compressed as it may be, "
        "and compares the picture with the record beside it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("picture", metavar="PICTURE", help="a picture, or - for stdin")
    parser.add_argument("--key", metavar="KEY|@FILE", help="of relume restore --mark")
    parser.add_argument(
        "--record", type=Path, metavar="FILE.json", help="the record (default: PICTURE.json, if it is there)"
    )
    parser.add_argument(
        "--signer", type=Path, metavar="KEY.pub", help="the public key that the record must be signed with"
    )
    parser.add_argument(
        "--threshold",
        type=number(0, 1),
        default=1e-6,
        metavar="P",
        help="the mark counts as found below this p-value (default: 1e-6)",
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    add_talk(parser)


def run(args: argparse.Namespace) -> int:
    """Verifies; 0 yes, 1 no, 2 for every error, so that no error reads as a no."""
    try:
        verdict, record = _verify(args)
    except RelumeError as error:
        line = str(error)
        say(f"{args.picture}: {line.removeprefix('picture: ')}" if line.startswith("picture: ") else line)
        return TROUBLE
    except Exception as error:
        if args.verbose:
            raise
        say(f"internal error: {type(error).__name__}: {error} (-v shows where)")
        return TROUBLE
    if args.json:
        facts = {"picture": args.picture, **verdict.as_dict()}
        print(as_json(facts), end="")
    elif not Console.of(args).quiet:
        print(_text(args.picture, verdict, record), end="")
    return MADE if verdict.made else NOT_MADE


def _verify(args: argparse.Namespace) -> tuple["Verdict", Path | None]:
    from relume.tasks import sidecar
    from relume.tasks.provenance import verify

    data = sys.stdin.buffer.read() if args.picture == STREAM else bytes_of(Path(args.picture), "the picture")
    place = args.record
    if place is None and args.picture != STREAM:
        beside = sidecar.sidecar_of(Path(args.picture))
        place = beside if beside.exists() else None
    if args.key is None and place is None:
        raise UsageError(f"{args.picture} has no record beside it: give --key, or --record FILE.json")
    verdict = verify(
        data,
        key=None if args.key is None else key_of(args.key),
        record=None if place is None else sidecar.read(place),
        signer=None if args.signer is None else bytes_of(args.signer, "the signer's public key"),
        threshold=args.threshold,
    )
    return verdict, place


def _text(picture: str, verdict: "Verdict", record: Path | None) -> str:
    lines = [f"{picture}: {'made by relume' if verdict.made else 'not shown to be made by relume'}"]
    if verdict.mark is not None:
        found = "found" if verdict.found else "not found"
        where: str = verdict.mark.question
        if where == "resized":
            where += f", {verdict.mark.pitch:.3f} pixels per unit of the mark"
        told = f" ({where})" if verdict.found else ""
        lines.append(f"  mark       {found}, p = {verdict.mark.p_value:.1e}{told}")
    if verdict.findings is not None:
        words = {True: "agrees", False: "DIFFERS", None: "unknown"}
        lines.append(f"  record     {record}")
        lines += [f"  {each.what:10} {words[each.agrees]}: {each.says}" for each in verdict.findings]
    return "\n".join(lines) + "\n"
