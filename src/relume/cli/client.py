r"""``relume client``: pictures are restored by a service, here or elsewhere."""

__all__ = ["add", "run"]

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from relume.cli.console import Console, Progress, say
from relume.cli.jobs import FOUND, ending_of
from relume.cli.options import Parser, Subparsers, add_output, add_restoring, add_talk, count, duration
from relume.cli.streams import STREAM, put, read_bytes
from relume.client import Client, Facts
from relume.errors import OutputExists, RelumeError, UsageError

SERVER, TOKEN = "RELUME_SERVER", "RELUME_TOKEN"
_EPILOG = f"""\
The address and the token can also come from the environment, as {SERVER} and {TOKEN}, where other
users do not see them. Ctrl-C while a picture is being restored cancels it on the service, too.
"""


def add(subparsers: "Subparsers") -> None:
    """Declares the command and its parts."""
    parser = subparsers.add_parser(
        "client",
        help="let a service do it",
        description="Sends pictures to a service (relume serve) and fetches the results.",
        epilog=_EPILOG,
    )
    parts = parser.add_subparsers(dest="part", required=True, metavar="restore|mask|delete")
    _add_restore(parts)
    _add_mask(parts)
    delete = _part(parts, "delete", _delete, "cancel a job and delete all that the service has of it")
    delete.add_argument("id", metavar="ID", help="the job, as restore -v and the service's answers name it")


def run(args: argparse.Namespace) -> int:
    """Never called: every part of the command has a function of its own."""
    raise UsageError(f"relume client has no {args.part}")


def _part(
    parts: "Subparsers", name: str, does: Callable[[argparse.Namespace], int], what: str
) -> argparse.ArgumentParser:
    made: Parser = parts.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
    made.set_defaults(run=does)
    group = made.add_argument_group("service")
    group.add_argument(
        "--server", metavar="URL", help=f"default: {SERVER} of the environment, or http://127.0.0.1:8000"
    )
    group.add_argument("--token", help=f"what the service wants to be shown (default: {TOKEN}, if it is set)")
    group.add_argument(
        "--patience",
        type=duration,
        default=600.0,
        metavar="TIME",
        help="how long to wait for a full queue, or for a service that went away (10m)",
    )
    add_talk(made)
    return made


def _add_restore(parts: "Subparsers") -> None:
    made = _part(parts, "restore", _restore, "have a photograph restored")
    made.add_argument("input", metavar="INPUT", help="a picture, or - for stdin")
    _add_target(made, "NAME-restored, in the format of the result")
    made.add_argument("--delete", action="store_true", help="afterwards delete it from the service")
    group = add_restoring(made)
    group.add_argument(
        "--mask",
        default="auto",
        metavar="auto|twice|none|FILE",
        help="where the damage is (white): found by the model; found, and where it is sure "
        "told to it in a second pass (twice the time, blots pale more); not told; or a picture",
    )
    group.add_argument("--save-mask", metavar="FILE", help="write the damage that was found")
    group.add_argument("--samples", type=count, metavar="N", help="the mean of N plausible pictures")
    group.add_argument("--save-uncertainty", metavar="FILE", help="write where the result is a guess")
    add_output(made)


def _add_mask(parts: "Subparsers") -> None:
    made = _part(parts, "mask", _mask, "have the damage in a picture found")
    made.add_argument("input", metavar="INPUT", help="a picture, or - for stdin")
    _add_target(made, "NAME-mask.png")
    made.add_argument("--tile", type=count, metavar="N", help="side of the tiles (default: the model's)")


def _add_target(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "-o", "--output", metavar="OUT", help=f"a file, or - for stdout (default: beside, {default})"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")


def _client(args: argparse.Namespace) -> Client:
    address = args.server or os.environ.get(SERVER) or "http://127.0.0.1:8000"
    token = args.token or os.environ.get(TOKEN) or None
    return Client(address, token=token, patience=args.patience)


def _restore(args: argparse.Namespace) -> int:
    console, client = Console.of(args), _client(args)
    picture = read_bytes(args.input)
    painted = None if args.mask in FOUND else read_bytes(args.mask)
    output = _output(args, f"-restored{ending_of(args.input, args.format)}")
    parts = {"result": output, "mask": args.save_mask, "uncertainty": args.save_uncertainty}
    wanted = {part: target for part, target in parts.items() if target is not None}
    for target in wanted.values():
        _check_free(target, args)
    job = client.submit(picture, _options(args), mask=painted)
    console.detail(f"job {job['id']}")
    job = _followed(client, job, args.input, console)
    for part, target in wanted.items():
        put(client.result(job["id"], part), target, overwrite=args.overwrite)
    if args.delete:
        client.delete(job["id"])
    console.note(f"{args.input} → {output}  {job['damaged']:.1%} damaged, model {job['model']}")
    return 0


def _mask(args: argparse.Namespace) -> int:
    output = _output(args, "-mask.png")
    _check_free(output, args)
    found = _client(args).mask(read_bytes(args.input), {"tile": args.tile})
    put(found, output, overwrite=args.overwrite)
    Console.of(args).note(f"{args.input} → {output}")
    return 0


def _delete(args: argparse.Namespace) -> int:
    _client(args).delete(args.id)
    Console.of(args).note(f"{args.id} is deleted")
    return 0


def _followed(client: Client, job: Facts, name: str, console: Console) -> Facts:
    """The job when it is done; whoever is interrupted meanwhile takes the work back."""
    progress = Progress(1, console)
    progress.begin(name)
    latest = job
    try:
        for latest in client.follow(job["id"]):
            at = latest.get("progress") or {"share": 0.0}
            progress.tiles(round(1000 * at["share"]), 1000)
            console.detail(f"{latest['state']}, {at['share']:.0%}")
    except KeyboardInterrupt:
        try:
            client.delete(job["id"])
        except RelumeError as error:
            say(f"the service goes on with job {job['id']} ({error})")
        raise
    finally:
        progress.close()
    return latest


def _options(args: argparse.Namespace) -> dict[str, object]:
    """The fields of the form."""
    names = ("steps", "seed", "fidelity", "preserve", "tone", "shading", "strength", "samples", "tile")
    written = ("bit_depth", "quality", "keep_metadata")
    return {
        **{name: getattr(args, name) for name in (*names, *written)},
        "mask": args.mask if args.mask in FOUND else "auto",
        "uncertainty": args.save_uncertainty is not None,
        "format": _format(args),
    }


def _format(args: argparse.Namespace) -> str | None:
    """Of the result: as asked for, else as -o is called, else the service's choice, the input's own."""
    from relume.image.codecs import codec_named

    suffix = "" if args.output in (None, STREAM) else Path(args.output).suffix
    wanted = args.format or suffix
    return codec_named(wanted).format if wanted else None


def _output(args: argparse.Namespace, ending: str) -> str:
    if args.output is not None:
        return str(args.output)
    if args.input == STREAM:
        return STREAM
    source = Path(args.input)
    return str(source.with_name(source.stem + ending))


def _check_free(target: str, args: argparse.Namespace) -> None:
    """Before anything is sent, so that no work is lost."""
    if target == STREAM:
        return
    if Path(target).exists() and not args.overwrite:
        raise OutputExists(f"{target} exists; choose another name, or give --overwrite")
    if args.input != STREAM and Path(target).resolve() == Path(args.input).resolve():
        raise UsageError(f"{target} is the input: choose another -o")
