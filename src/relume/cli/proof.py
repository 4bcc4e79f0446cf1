r"""Options that make a result provable: a mark in it, and a record beside it."""

__all__ = ["Proof", "add_proof", "bytes_of", "key_of", "to_stdout"]

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from relume.cli.jobs import FOUND, Job
from relume.cli.streams import STREAM, as_json, write_text
from relume.errors import UsageError

if TYPE_CHECKING:
    from relume.image import Image
    from relume.tasks import Restoration, Restorer, Settings


def add_proof(parser: argparse.ArgumentParser) -> None:
    """--mark, --sidecar and --sign."""
    group = parser.add_argument_group("provenance")
    group.add_argument(
        "--mark",
        metavar="KEY|@FILE",
        help="put an invisible mark into the result, which relume verify finds with the same key; writes a "
        "record, too (@FILE: the key stands in a file, and in no list of processes)",
    )
    group.add_argument(
        "--sidecar",
        action="store_true",
        help="write a record beside the result, RESULT.json: settings, and hashes of input, output and model",
    )
    group.add_argument(
        "--sign", type=Path, metavar="KEY.pem", help="sign the record with this Ed25519 private key"
    )


def key_of(text: str) -> str:
    """The key, or the first line of the file behind ``@``.

    Raises:
        UsageError: there is no such file, or no text.
    """
    key = text
    if text.startswith("@"):
        lines = bytes_of(Path(text[1:]), "the key").decode("utf-8", "surrogateescape").splitlines()
        key = lines[0].strip() if lines else ""
    if not key:
        raise UsageError("an empty key marks nothing: give some text that others cannot guess")
    return key


def to_stdout(args: argparse.Namespace) -> bool:
    """Whether the result goes to stdout, beside which nothing can stand."""
    return args.output == STREAM or (args.output is None and STREAM in args.inputs)


@dataclass(frozen=True)
class Proof:
    """What the options ask for, read once."""

    key: str | None
    signing: bytes | None

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Proof":
        """As the options say; a key that cannot sign is refused before there is anything to sign.

        Raises:
            UsageError: a key cannot be read.
            MissingExtra: signing needs one.
        """
        signing = None
        if args.sign is not None:
            from relume.tasks.sidecar import sign

            signing = bytes_of(args.sign, "the signing key")
            sign({}, signing)
        return cls(None if args.mark is None else key_of(args.mark), signing)

    def marked(self, picture: "Image") -> "Image":
        """The picture with the mark, if one was asked for."""
        from relume.tasks.provenance import mark

        return picture if self.key is None else mark(picture, self.key)

    def seal(
        self,
        job: Job,
        restorer: "Restorer",
        settings: "Settings",
        restoration: "Restoration",
        *,
        mask: str,
        overwrite: bool,
    ) -> Callable[[bytes], None] | None:
        """What writes the record once the bytes of the result are known; None if none was asked for."""
        from relume.tasks.provenance import MARK
        from relume.tasks.sidecar import record, sign

        path, source = job.sidecar, job.source
        if path is None:
            return None

        def write(result: bytes) -> None:
            given = None if source == STREAM else Path(source).read_bytes()
            facts = record(
                source=(job.name if given is None else Path(source).name, given),
                result=(Path(job.output).name, result),
                bundle=restorer.bundle,
                engine=restorer.engine.facts(),
                settings=settings,
                restoration=restoration,
                mask=mask if mask in FOUND else "given",
                mark=None if self.key is None else MARK,
            )
            signed = facts if self.signing is None else sign(facts, self.signing)
            write_text(as_json(signed), path, overwrite=overwrite)

        return write


def bytes_of(path: Path, what: str) -> bytes:
    """The contents of a small file.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{what} cannot be read: {path}: {error.strerror or error}") from error
