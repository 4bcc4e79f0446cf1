r"""Which pictures are restored, and where the results go: all decided before the first one is read.

A result stands beside its picture under a name with a suffix, or below the output folder, where the tree of a
folder input is kept. No result may fall on another, or on an input that was not asked to be replaced.
"""

__all__ = ["FOUND", "Job", "Wanted", "ending_of", "mask_file", "plan"]

import argparse
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from relume.archive import Shard
from relume.cli.streams import STREAM
from relume.errors import NoInput, RelumeError, UsageError

FOUND = ("auto", "twice", "none")  # what --mask says where it names no file
_HEAD = 65536  # bytes that tell the format of a file


@dataclass(frozen=True)
class Wanted:
    """What the options say about inputs and outputs.

    ``save_mask`` is None (no), empty (beside the result), a file or a folder; ``samples`` counts
    pictures that get files of their own; ``shard`` is the part of the inputs that this process does.
    """

    inputs: Sequence[str]
    output: str | None = None
    recursive: bool = False
    suffix: str = "-restored"
    format: str | None = None
    overwrite: bool = False
    save_mask: str | None = None
    uncertainty: bool = False
    invented: bool = False
    sidecar: bool = False
    samples: int = 1
    shard: Shard | None = None


@dataclass(frozen=True)
class Job:
    """One picture: where it comes from, and where everything that is made of it goes.

    ``relative`` is its place below the input folder; ``refused`` says why it must not be done, if so.
    """

    source: str | Path
    output: str | Path
    relative: Path
    mask: Path | None = None
    uncertainty: Path | None = None
    invented: Path | None = None
    sidecar: Path | None = None
    samples: tuple[Path, ...] = ()
    refused: str = ""

    @property
    def name(self) -> str:
        """How it is called in messages."""
        return "stdin" if self.source == STREAM else str(self.source)

    @property
    def beside(self) -> tuple[Path, ...]:
        """The files that accompany the result."""
        single = (self.mask, self.uncertainty, self.invented, self.sidecar)
        return (*(path for path in single if path is not None), *self.samples)

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that are to be written, the result last: where it is, the others are."""
        return (*self.beside, *([self.output] if isinstance(self.output, Path) else []))


def plan(wanted: Wanted) -> list[Job]:
    """Lists the pictures in order, each once; of a shard, which may be empty, only its own.

    Raises:
        NoInput: there is none.
        UsageError: the output cannot hold them all, or the format cannot be written.
    """
    if wanted.format is not None:
        _check_format(wanted.format)
    if "/" in wanted.suffix or os.sep in wanted.suffix:
        raise UsageError(f"the suffix {wanted.suffix!r} is part of a name: it cannot hold a separator")
    found = list(_found(wanted))
    if not found:
        raise NoInput(f"no picture in {', '.join(wanted.inputs)}; -r looks into the folders below, too")
    single = len(wanted.inputs) == 1 and not Path(wanted.inputs[0]).is_dir()
    if wanted.output == STREAM and not single:
        raise UsageError("stdout takes one picture: give -o DIR for several")
    mine = [each for each in found if wanted.shard is None or wanted.shard.holds(each[1])]
    jobs = [_job(source, relative, wanted, single=single) for source, relative in mine]
    return _without_accidents(jobs, [source for source, _ in found], wanted)


def _check_format(format: str) -> None:
    from relume.image.codecs import codec_named

    codec_named(format)


def _found(wanted: Wanted) -> Iterator[tuple[str | Path, Path]]:
    seen: set[str] = set()
    for given in wanted.inputs:
        if given == STREAM:
            pictures: list[tuple[str | Path, Path]] = [(STREAM, Path("stdin"))]
        elif Path(given).is_dir():
            pictures = [(path, path.relative_to(given)) for path in _inside(Path(given), wanted)]
        else:
            pictures = [(Path(given), Path(Path(given).name))]
        for source, relative in pictures:
            key = STREAM if source == STREAM else str(Path(source).resolve())
            if key not in seen:
                seen.add(key)
                yield source, relative


def _inside(folder: Path, wanted: Wanted) -> Iterator[Path]:
    """The pictures of a folder, without what an earlier run has put there."""
    from relume.image import is_picture

    out = None if wanted.output in (None, STREAM) else Path(str(wanted.output)).resolve()
    same = out is None or out == folder.resolve()
    mine = re.compile(re.escape(wanted.suffix) + r"(-mask|-uncertainty|-invented|-sample\d+)?$")
    for root, folders, names in os.walk(folder):
        kept = [name for name in folders if wanted.recursive and not name.startswith(".")]
        folders[:] = sorted(name for name in kept if (Path(root) / name).resolve() != out)
        stems = {Path(name).stem for name in names if is_picture(name)}
        for name in sorted(names):
            path = Path(root) / name
            result = mine.search(path.stem) if wanted.suffix else None
            # Beside its original it is a result wherever this run writes to.
            made = result and (same or path.stem[: result.start()] in stems)
            if is_picture(path) and not name.startswith(".") and not made:
                yield path


def _job(source: str | Path, relative: Path, wanted: Wanted, *, single: bool) -> Job:
    from relume.tasks.sidecar import sidecar_of

    output = _output(source, relative, wanted, single=single)
    job = Job(source, output, relative)
    if isinstance(output, str):
        if wanted.save_mask == "" or wanted.uncertainty or wanted.invented or wanted.sidecar:
            raise UsageError("a result on stdout has nothing beside it: give --save-mask FILE, or -o FILE")
        stem, folder = relative.stem, Path()
    else:
        stem, folder = output.stem, output.parent
    numbers = range(1, wanted.samples + 1) if wanted.samples > 1 and isinstance(output, Path) else range(0)
    return replace(
        job,
        mask=_mask(job, folder / f"{stem}-mask.png", wanted, single=single),
        uncertainty=folder / f"{stem}-uncertainty.png" if wanted.uncertainty else None,
        invented=folder / f"{stem}-invented.png" if wanted.invented else None,
        sidecar=sidecar_of(output) if wanted.sidecar and isinstance(output, Path) else None,
        samples=tuple(folder / f"{stem}-sample{n}{Path(output).suffix}" for n in numbers),
    )


def _output(source: str | Path, relative: Path, wanted: Wanted, *, single: bool) -> str | Path:
    out = wanted.output
    if out == STREAM or (out is None and source == STREAM):
        return STREAM
    name = f"{relative.stem}{wanted.suffix}{ending_of(source, wanted.format)}"
    if out is None:
        return Path(source).with_name(name)
    if single and not _is_folder(out):
        if Path(out).suffix and wanted.format is None:
            _check_format(Path(out).suffix)
        return Path(out)
    if Path(out).exists() and not Path(out).is_dir():
        raise UsageError(f"{out} is a file, and several results cannot go into it: give -o DIR")
    return Path(out) / relative.with_name(name)


def _is_folder(path: str) -> bool:
    return path.endswith(("/", os.sep)) or Path(path).is_dir()


def _mask(job: Job, beside: Path, wanted: Wanted, *, single: bool) -> Path | None:
    if not wanted.save_mask:
        return None if wanted.save_mask is None else beside
    if single and not _is_folder(wanted.save_mask):
        return Path(wanted.save_mask)
    if Path(wanted.save_mask).is_file():
        raise UsageError(f"{wanted.save_mask} is a file, and several masks cannot go into it: give a folder")
    return Path(wanted.save_mask) / job.relative.with_name(f"{job.relative.stem}-mask.png")


def ending_of(source: str | Path, format: str | None) -> str:
    """The suffix of the result: the picture's own where it tells the truth and can be written."""
    from relume.image.codecs import codec_named, codec_of

    own = "" if source == STREAM else Path(source).suffix
    try:
        if format is not None:
            codec = codec_named(format)
        elif source == STREAM:
            return ".png"
        else:
            with Path(source).open("rb") as file:
                codec = codec_of(file.read(_HEAD))
    except (OSError, RelumeError):  # reading it will say so
        return own
    if codec.encode is None:
        return ".tif"
    return own if own.lower() in codec.suffixes else codec.suffixes[0]


def _without_accidents(jobs: list[Job], sources: list[str | Path], wanted: Wanted) -> list[Job]:
    """Refuses what would fall on an input, of any shard, or on another result."""
    inputs = {_place(source): source for source in sources if source != STREAM}
    taken: dict[str, Job] = {}
    checked = []
    for job in jobs:
        refused = ""
        for path in job.files:
            place = _place(path)
            asked = wanted.overwrite and path is job.output and inputs.get(place) is job.source
            if place in inputs and not asked:
                refused = (
                    f"{path} is an input: choose another -o or --suffix, or name it by -o and --overwrite"
                )
            elif place in taken:
                refused = f"{path} is also where the result of {taken[place].name} goes: give another -o"
            taken.setdefault(place, job)
        checked.append(replace(job, refused=refused))
    return checked


def _place(path: str | Path) -> str:
    return os.path.normcase(Path(path).resolve())


def mask_file(job: Job, args: argparse.Namespace) -> Path | None:
    """The mask that was given with this picture: NAME or NAME-mask in a folder, in any format; or None.

    Raises:
        UsageError: the folder has none for it.
    """
    from relume.image import is_picture

    if args.mask in FOUND:
        return None
    given = Path(args.mask)
    if not given.is_dir():
        return given
    place = given / job.relative.parent
    names = (job.relative.stem, f"{job.relative.stem}-mask")
    for path in sorted(place.iterdir()) if place.is_dir() else []:
        if path.stem in names and is_picture(path):
            return path
    raise UsageError(f"no mask for {job.name}: {place} holds neither {names[0]}.png nor {names[1]}.png")
