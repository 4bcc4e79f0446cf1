r"""Pictures from a file or stdin, to a file or stdout: ``-`` stands for the streams."""

__all__ = ["STREAM", "Writing", "as_json", "deliver", "put", "read_bytes", "read_from", "write_text"]

import argparse
import json
import os
import secrets
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relume.errors import ImageError, OutputExists, UsageError
from relume.files import placing, reading

if TYPE_CHECKING:
    from relume.image import Image

STREAM = "-"


@dataclass(frozen=True)
class Writing:
    """How a picture is written, as in :func:`relume.image.write`."""

    format: str | None = None
    bit_depth: int | None = None
    keep_metadata: bool = True
    quality: int = 95
    overwrite: bool = False

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Writing":
        """As the options of :func:`~relume.cli.options.add_output` and --overwrite say."""
        return cls(args.format, args.bit_depth, args.keep_metadata, args.quality, args.overwrite)


def read_from(source: str | Path) -> "Image":
    """The picture in a file, or on stdin for ``-``."""
    from relume import image

    return image.read(sys.stdin.buffer.read() if source == STREAM else source)


def deliver(
    picture: "Image", target: str | Path, writing: Writing, *, seal: Callable[[bytes], None] | None = None
) -> int:
    """Writes a picture to a file, or to stdout for ``-``; returns its size in bytes.

    ``seal`` is told the bytes of the file before they take its name.

    Raises:
        OutputExists: a file stands there, and overwriting was not asked for.
        UsageError: stdout is a terminal, or the format is none.
        ImageError: it cannot be written.
    """
    from relume import image

    how = writing
    if target != STREAM:
        path = image.write(
            picture,
            target,
            format=how.format,
            bit_depth=how.bit_depth,
            keep_metadata=how.keep_metadata,
            quality=how.quality,
            overwrite=how.overwrite,
            seal=seal,
        )
        return path.stat().st_size
    _check_stdout()
    data = image.encode(
        picture,
        format=how.format,
        bit_depth=how.bit_depth,
        keep_metadata=how.keep_metadata,
        quality=how.quality,
    )
    _to_stdout(data)
    return len(data)


def read_bytes(source: str | Path) -> bytes:
    """The bytes of a file, or of stdin for ``-``.

    Raises:
        UnreadableImage: it cannot be read.
    """
    with reading(str(source)):
        return sys.stdin.buffer.read() if source == STREAM else Path(source).read_bytes()


def put(data: bytes, target: str | Path, *, overwrite: bool) -> None:
    """Writes a picture's bytes to a file, or to stdout for ``-``. Errors are those of :func:`deliver`."""
    if target == STREAM:
        _check_stdout()
        _to_stdout(data)
        return
    with placing(target, overwrite=overwrite) as part:
        part.write_bytes(data)


def _check_stdout() -> None:
    if sys.stdout.isatty():
        raise UsageError("the picture would go to the terminal: give -o FILE, or lead stdout into a file")


def _to_stdout(data: bytes) -> None:
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError as error:
        # What is left in the buffer would fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise ImageError("nobody read the picture on stdout to its end") from error


def write_text(text: str, path: Path, *, overwrite: bool) -> None:
    """Writes a text file that is whole or not there.

    Raises:
        OutputExists: a file stands there, and overwriting was not asked for.
        UsageError: the folder is missing or not writable.
    """
    if path.exists() and not overwrite:
        raise OutputExists(f"{path} exists; choose another name, or give --overwrite")
    part = path.with_name(f".relume-{secrets.token_hex(8)}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            part.unlink()


def as_json(value: Any) -> str:
    """JSON for a file or a pipe; names of files survive in ASCII, and numbers that are none are refused."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"
