r"""``relume restore``: damaged photographs come back."""

__all__ = ["add", "loaded", "one_by_one", "run"]

import argparse
import functools
import os
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from relume.cli.console import INTERRUPTED, Console, Progress, say
from relume.cli.invented import WHITE, map_invented
from relume.cli.jobs import Job, mask_file, plan
from relume.cli.keeping import Keep, Kept, keeping
from relume.cli.options import Subparsers, add_model, add_output, add_talk
from relume.cli.pipeline import pipeline
from relume.cli.proof import Proof, add_proof
from relume.cli.report import Entry, Report, check_report
from relume.cli.restoring import add_archive, add_restoring_here, settings_of, shard_of, told, wanted_of
from relume.cli.running import load
from relume.cli.streams import STREAM, Writing, deliver, read_from
from relume.errors import ImageError, OutOfMemory, OutputExists, RelumeError, UsageError
from relume.files import make_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from relume.image import Image
    from relume.tasks import Restoration, Restorer, Settings

    Given = tuple[Image, NDArray[np.float32] | None]
    Seal = Callable[[bytes], None] | None

MANY = 32  # pictures, for which it pays to time the engines first

_EPILOG = """\
Without -o a result stands beside its picture, under the name with the suffix; -o DIR keeps the tree of a
folder. What is there already is not replaced: give --skip-existing to go on with a batch, or --overwrite.
"""


def add(subparsers: "Subparsers") -> None:
    """Declares the command."""
    parser = subparsers.add_parser(
        "restore", help="restore photographs", description="Restores damaged photographs.", epilog=_EPILOG
    )
    parser.set_defaults(run=run)
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="pictures, folders, or - for stdin")
    parser.add_argument("-o", "--output", metavar="OUT", help="a file, a folder, or - for stdout")
    parser.add_argument("-r", "--recursive", action="store_true", help="look into the folders below, too")
    add_model(parser)
    add_restoring_here(parser)
    group = add_output(parser)
    group.add_argument("--suffix", default="-restored", help="ends the names of results (default: -restored)")
    existing = group.add_mutually_exclusive_group()
    existing.add_argument(
        "--skip-existing", action="store_true", help="leave out what has its result: resumes a batch"
    )
    existing.add_argument("--overwrite", action="store_true", help="replace what is there")
    group.add_argument("--report", type=Path, metavar="FILE.json", help="write what became of every input")
    add_proof(parser)
    add_archive(parser)
    add_talk(parser)


def run(args: argparse.Namespace) -> int:
    """Restores; one bad file does not stop the others."""
    console = Console.of(args)
    report = Report(settings=told(args))
    code = RelumeError.exit_code
    if args.report is not None:
        check_report(args.report)
    try:
        jobs = plan(wanted_of(args))
        settings = settings_of(args)
        report.entries += [Entry(job.name, str(job.output)) for job in jobs]
        code = _done(jobs, settings, args, report, console)
    except RelumeError as error:
        code, report.error = error.exit_code, str(error)
        raise
    except KeyboardInterrupt:
        code = INTERRUPTED
        raise
    finally:
        if args.report is not None:
            report.write(args.report, code)
    return code


def _done(
    jobs: list[Job], settings: "Settings", args: argparse.Namespace, report: Report, console: Console
) -> int:
    if args.on is not None:
        from relume.cli.on_ray import on_ray

        with closing(on_ray(jobs, args, report)) as ended:
            return _watch(ended, Kept.resume, args, report, console)
    with keeping(args, jobs, report) as (keep, allowed):
        restorer = functools.cache(lambda: loaded(args, report, console))
        progress = Progress(len(jobs), console)
        entries = one_by_one(jobs, settings, allowed, report, keep, restorer, progress)
        with closing(progress), closing(entries) as ended:
            return _watch(ended, keep.resume, args, report, console)


def _watch(
    ended: Iterator[Entry], resume: str, args: argparse.Namespace, report: Report, console: Console
) -> int:
    """Tells of each input when it has ended, and of all at the end; returns the exit code."""
    try:
        for entry in ended:
            _tell(entry, console, archive=shard_of(args) is not None)
    except KeyboardInterrupt:
        for entry in [entry for entry in report.entries if entry.status == "pending"][:1]:
            entry.status = "interrupted"
        total = len(report.entries)
        say(f"interrupted; {report.count('done')} of {total} done; {resume} goes on from here")
        return INTERRUPTED
    if len(report.entries) > 1:
        parts = [f"{report.count(status)} {status}" for status in ("done", "skipped", "failed")]
        console.note(f"{', '.join(parts)} in {time.time() - report.began:.1f} s")
    return report.exit_code()


def one_by_one(
    jobs: list[Job],
    settings: "Settings",
    args: argparse.Namespace,
    report: Report,
    keep: Keep,
    restorer: Callable[[], "Restorer"],
    progress: Progress,
) -> Generator[Entry, None, None]:
    """Restores them one after another into the entries of the report, and hands those out.

    ``keep`` is asked in the thread that reads, and told in the one that writes. ``restorer`` is asked for
    when the first picture has been read.
    """
    proof = Proof.of(args)
    stages = pipeline(
        list(zip(jobs, report.entries, strict=True)),
        lambda pair: _given(*pair, args, keep),
        lambda pair, given: _restored(*pair, given, restorer, settings, args, progress, proof),
        lambda pair, done: _put(*pair, done, args, proof, keep),
        # A pipe that nobody fills must not be waited for in a thread; a bound on memory is for one picture.
        overlap=len(jobs) > 1
        and args.max_memory is None
        and not keep.wary
        and all(job.source != STREAM for job in jobs),
    )
    try:
        with closing(stages):
            yield from (entry for _, entry in stages)
    except KeyboardInterrupt:
        progress.close()
        raise


def _tell(entry: Entry, console: Console, *, archive: bool) -> None:
    """What became of one input. In an archive most may be finished: that is no news."""
    if entry.status == "failed":
        say(str(entry.error))
    elif entry.status == "skipped":
        note = console.detail if archive else console.note
        note(f"{entry.input}: {entry.output} is there, skipped")
    else:
        where = "stdout" if entry.output == STREAM else entry.output
        console.note(f"{entry.input} → {where}  {sum(entry.seconds.values()):.2f} s")
        stages = ", ".join(f"{stage} {seconds:.3f} s" for stage, seconds in entry.seconds.items())
        console.detail(f"  {entry.width}×{entry.height}: {stages}; evaluations per tile: {entry.evaluations}")


def loaded(args: argparse.Namespace, report: Report, console: Console) -> "Restorer":
    """A restorer as the options want it; what it is goes into the report."""
    restorer = load(args, console, measure=len(report.entries) >= MANY)
    bundle, engine = restorer.bundle, restorer.engine
    report.model = {"name": bundle.name, "version": bundle.card["version"], "hash": bundle.hash}
    report.engine = engine.facts()
    return restorer


def _given(job: Job, entry: Entry, args: argparse.Namespace, keep: Keep) -> "Given | None":
    """Reads a picture and its mask; ``None`` where there is nothing to do. Errors are noted in its entry."""
    try:
        if not keep.begin(job):
            entry.status = "skipped"
            return None
        return _read(job, entry, args)
    except Exception as error:
        _note(error, entry, args)
        return None


def _restored(
    job: Job,
    entry: Entry,
    given: "Given | None",
    restorer: Callable[[], "Restorer"],
    settings: "Settings",
    args: argparse.Namespace,
    progress: Progress,
    proof: Proof,
) -> "tuple[Restoration, Seal] | None":
    """Restores one picture. Its own errors are noted in its entry; those of the model are raised."""
    progress.begin(job.name)
    try:
        if given is None:
            return None
        model = restorer()
        try:
            done = model.restore(given[0], settings, mask=given[1], progress=progress.tiles)
            entry.seconds |= done.seconds
            entry.evaluations = done.evaluations
            if job.invented is not None:
                made = given[0], done, settings
                map_invented(job.invented, entry, model, made, args, mask=given[1])
            overwrite = args.overwrite or args.skip_existing
            seal = proof.seal(job, model, settings, done, mask=args.mask, overwrite=overwrite)
        except Exception as error:
            _note(error, entry, args)
            return None
        return done, seal
    finally:
        progress.end()


def _put(
    job: Job,
    entry: Entry,
    done: "tuple[Restoration, Seal] | None",
    args: argparse.Namespace,
    proof: Proof,
    keep: Keep,
) -> None:
    """Writes one result, and what became of it. Errors are noted in its entry."""
    if done is not None:
        try:
            _write(job, entry, *done, args, proof)
            entry.status = "done"
        except Exception as error:
            _note(error, entry, args)
    keep.end(job, entry)


def _note(error: Exception, entry: Entry, args: argparse.Namespace) -> None:
    if isinstance(error, MemoryError):
        error = OutOfMemory("not enough memory; give --max-memory, or make the picture smaller")
    if isinstance(error, OSError) and not isinstance(error, RelumeError):
        error = ImageError(f"{error.filename or entry.output}: {error.strerror or error}")
    if args.verbose and not isinstance(error, RelumeError):
        traceback.print_exception(error)
    entry.fail(error)


def _read(job: Job, entry: Entry, args: argparse.Namespace) -> "Given":
    if job.refused:
        raise UsageError(job.refused)
    there = [path for path in job.files if path.exists()]
    if there and not args.overwrite and not args.skip_existing:
        raise OutputExists(f"{there[0]} exists; give --overwrite to replace it, or --skip-existing to go on")
    began = time.perf_counter()
    try:
        picture = read_from(job.source)
    except ImageError:
        entry.usable = False
        raise
    entry.width, entry.height = picture.width, picture.height
    entry.bytes_in = Path(job.source).stat().st_size if job.source != STREAM else None
    given = mask_file(job, args)
    mask = None if given is None else _mask(given)
    entry.seconds["read"] = time.perf_counter() - began
    return picture, mask


def _mask(path: Path) -> "NDArray[np.float32]":
    from relume import image
    from relume.tasks.finish import mask_from

    return mask_from(image.read(path))


def _write(
    job: Job,
    entry: Entry,
    restoration: "Restoration",
    seal: "Seal",
    args: argparse.Namespace,
    proof: Proof,
) -> None:
    """Writes what accompanies the result, then the result: where it is, all of it is."""
    from relume import image

    began = time.perf_counter()
    for path in job.files:
        make_folder(path.parent)
    plain, writing = Writing(overwrite=args.overwrite), Writing.of(args)
    extra: list[tuple[Path, image.Image, Writing]] = []
    if job.mask is not None:
        extra.append((job.mask, image.Image(restoration.mask[..., None]), plain))
    if job.uncertainty is not None and restoration.uncertainty is not None:
        spread = (restoration.uncertainty / WHITE).clip(0, 1)[..., None]
        extra.append((job.uncertainty, image.Image(spread, bit_depth=16), plain))
    for path, sample in zip(job.samples, restoration.samples, strict=bool(job.samples)):
        extra.append((path, proof.marked(sample), writing))
    for path, picture, how in extra:
        if not (args.skip_existing and path.exists()):  # made before an interruption, by the same options
            deliver(picture, path, how)
            entry.files.append(os.fspath(path))
    entry.bytes_out = deliver(proof.marked(restoration.image), job.output, writing, seal=seal)
    if job.sidecar is not None:
        entry.files.append(os.fspath(job.sidecar))
    entry.seconds["write"] = time.perf_counter() - began
