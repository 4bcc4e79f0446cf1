r"""Where the result of a command goes: decided, and refused where it cannot go there, before any work."""

__all__ = ["free", "target_of"]

from collections.abc import Iterable
from pathlib import Path

from relume.cli.jobs import ending_of
from relume.cli.streams import STREAM
from relume.errors import OutputExists, UsageError


def target_of(
    source: str,
    output: str | None,
    ending: str,
    *,
    overwrite: bool,
    format: str | None = None,
    suffix: str = "",
    inputs: Iterable[str | Path | None] = (),
) -> str:
    """Where the result of one picture goes: a file, or ``-`` for stdout.

    Without an ``output`` it stands beside its source, and in an output that is a folder there, under the name
    with the ``ending``, and with the ``suffix``, if it is not the picture's own. ``inputs`` are what must not
    be written over besides the source.

    Raises:
        UsageError: the source is a folder, the result would fall on an input or into no folder, or nothing
            of that suffix can be written.
        OutputExists: a file stands there, and ``overwrite`` is false.
    """
    from relume.image.codecs import codec_named

    if source != STREAM and Path(source).is_dir():
        raise UsageError(f"{source} is a folder: name one picture in it")
    if output == STREAM or (output is None and source == STREAM):
        return STREAM
    if output is None or Path(output).is_dir():
        stem = "stdin" if source == STREAM else Path(source).stem
        folder = Path(source).parent if output is None else Path(output)
        target = folder / f"{stem}{ending}{suffix or ending_of(source, format)}"
    else:
        target = Path(output)
        if target.suffix and format is None:
            codec_named(target.suffix)
    taken = (path for path in (source, *inputs) if path not in (None, STREAM))
    if any(target.resolve() == Path(str(path)).resolve() for path in taken):
        raise UsageError(f"{target} is an input: choose another -o")
    free(target, overwrite=overwrite)
    return str(target)


def free(*paths: Path | None, overwrite: bool) -> None:
    """Makes sure that files can go there.

    Raises:
        OutputExists: something stands there, and ``overwrite`` is false.
        UsageError: it is a folder, or there is no folder to put it into.
    """
    for path in paths:
        if path is None:
            continue
        if path.is_dir():
            raise UsageError(f"{path} is a folder: name a file in it")
        if path.exists() and not overwrite:
            raise OutputExists(f"{path} exists; choose another name, or give --overwrite")
        if not path.absolute().parent.is_dir():
            raise UsageError(f"there is no folder {path.parent}; make it first")
