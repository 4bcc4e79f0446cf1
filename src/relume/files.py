r"""Files: written whole or not at all, and read with errors that name them."""

__all__ = ["digest", "make_folder", "one_line", "place", "placing", "reading"]

import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from relume.errors import ImageError, ImageTooLarge, OutputExists, RelumeError, UnreadableImage


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turns whatever a decoder raises into one line that names the file."""
    try:
        yield
    except ImageError as error:
        raise type(error)(f"{name}: {error}") from error
    except RelumeError:
        raise
    except MemoryError as error:
        raise ImageTooLarge(f"{name}: not enough memory to decode it") from error
    except OSError as error:
        raise UnreadableImage(
            f"{name}: {one_line(error.strerror or f'truncated or damaged ({error})')}"
        ) from error
    except Exception as error:
        raise UnreadableImage(f"{name}: truncated or damaged ({one_line(error)})") from error


@contextmanager
def placing(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Gives an empty file beside ``path`` to write into; it takes that name when the block ends well.

    On any failure nothing is left behind. A link is followed.

    Raises:
        OutputExists: a file stands there, at the start or by the end, and ``overwrite`` is false.
        ImageError: the folder is missing, full or not writable.
    """
    exists = OutputExists(f"{path} exists; choose another name, or ask for overwriting")
    if not overwrite and Path(path).exists():
        raise exists
    try:
        with _beside(Path(path), overwrite=overwrite) as part:
            yield part
    except FileExistsError as error:
        raise exists from error
    except OSError as error:
        raise ImageError(f"cannot write {path}: {one_line(error.strerror or error)}") from error


def place(data: bytes, path: Path, *, overwrite: bool) -> None:
    """Writes beside the target, then moves it there in one step; on any failure nothing is left behind.

    Raises:
        FileExistsError: when a file stands there and ``overwrite`` is false.
        OSError: when the folder is missing, full or not writable.
    """
    with _beside(path, overwrite=overwrite) as part:
        part.write_bytes(data)


@contextmanager
def _beside(path: Path, *, overwrite: bool) -> Iterator[Path]:
    target = path.resolve()
    part = target.with_name(f".relume-{secrets.token_hex(8)}.part")
    try:
        # 0o666, less what the umask takes: a file like any other (tempfile would make it private)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        if overwrite:
            with suppress(OSError):
                part.chmod(stat.S_IMODE(target.stat().st_mode))
            part.replace(target)
        else:
            _claim(part, target)
    finally:
        part.unlink(missing_ok=True)


def _claim(part: Path, target: Path) -> None:
    """Moves ``part`` to a name that nobody has, however many try at once."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: take the name first, empty, then fill it in one step
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        try:
            part.replace(target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise


def make_folder(path: Path) -> None:
    """Makes a folder and those above it, where they are missing.

    Raises:
        ImageError: a file stands in the way, or nothing may be made there.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"cannot make the folder {path}: {one_line(error.strerror or error)}") from error


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def one_line(text: object) -> str:
    """A message on one line of at most 120 characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= 120 else line[:119] + "…"
