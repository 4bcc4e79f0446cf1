r"""``relume restore``: damaged photographs come back."""

__all__ = ["add", "run"]

import argparse
import functools
import os
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relume.cli.console import INTERRUPTED, Console, Progress, say
from relume.cli.invented import WHITE, map_invented
from relume.cli.jobs import Job, Wanted, plan
from relume.cli.options import (
    Subparsers,
    add_model,
    add_output,
    add_restoring,
    add_talk,
    count,
    memory,
)
from relume.cli.pipeline import pipeline
from relume.cli.proof import Proof, add_proof, to_stdout
from relume.cli.report import Entry, Report, check_report
from relume.cli.running import load
from relume.cli.streams import STREAM, Writing, deliver, read_from
from relume.errors import ImageError, OutOfMemory, OutputExists, RelumeError, UsageError

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
    _add_restoring(parser)
    group = add_output(parser)
    group.add_argument("--suffix", default="-restored", help="ends the names of results (default: -restored)")
    existing = group.add_mutually_exclusive_group()
    existing.add_argument(
        "--skip-existing", action="store_true", help="leave out what has its result: resumes a batch"
    )
    existing.add_argument("--overwrite", action="store_true", help="replace what is there")
    group.add_argument("--report", type=Path, metavar="FILE.json", help="write what became of every input")
    add_proof(parser)
    add_talk(parser)


def _add_restoring(parser: argparse.ArgumentParser) -> None:
    group = add_restoring(parser)
    group.add_argument(
        "--mask",
        default="auto",
        metavar="auto|none|FILE|DIR",
        help="where the damage is (white): found by the model, not told, a picture, or a folder of pictures "
        "named like the inputs or NAME-mask.png",
    )
    group.add_argument(
        "--save-mask",
        nargs="?",
        const="",
        metavar="FILE|DIR",
        help="write the damage that was found; without a value beside the result (put it after the inputs)",
    )
    group.add_argument(
        "--samples",
        type=count,
        default=1,
        metavar="N",
        help="draw N plausible pictures: the result is their mean, and each gets a file of its own",
    )
    group.add_argument(
        "--uncertainty",
        action="store_true",
        help=f"write the spread over the samples beside the result, 16-bit PNG, white = {WHITE} of the range",
    )
    group.add_argument(
        "--invented",
        action="store_true",
        help="write beside the result how far each pixel is expected to be from the truth, as a map like "
        "that of --uncertainty; the report tells how much is invented (34 evaluations more per tile)",
    )
    group.add_argument(
        "--max-memory", type=memory, metavar="SIZE", help="refuse pictures that need more, such as 2G"
    )


def run(args: argparse.Namespace) -> int:
    """Restores; one bad file does not stop the others."""
    console = Console.of(args)
    report = Report(settings=_told(args))
    code = RelumeError.exit_code
    if args.report is not None:
        check_report(args.report)
    try:
        jobs = plan(_wanted(args))
        settings = _settings(args)
        report.entries += [Entry(job.name, str(job.output)) for job in jobs]
        code = _all(jobs, settings, args, report, console)
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


def _wanted(args: argparse.Namespace) -> Wanted:
    return Wanted(
        inputs=args.inputs,
        output=args.output,
        recursive=args.recursive,
        suffix=args.suffix,
        format=args.format,
        overwrite=args.overwrite,
        save_mask=args.save_mask,
        uncertainty=args.uncertainty,
        invented=args.invented,
        sidecar=args.sidecar or args.sign is not None or (args.mark is not None and not to_stdout(args)),
        samples=args.samples,
    )


def _settings(args: argparse.Namespace) -> "Settings":
    from relume.tasks import Settings

    if args.mask not in ("auto", "none") and not Path(args.mask).exists():
        raise UsageError(f"--mask {args.mask}: there is no such file or folder")
    return Settings(
        steps=args.steps,
        seed=args.seed,
        fidelity=args.fidelity,
        mask="none" if args.mask == "none" else "auto",
        preserve=args.preserve,
        tone=args.tone,
        strength=args.strength,
        samples=args.samples,
        uncertainty=args.uncertainty,
        tile=args.tile,
        max_memory=args.max_memory,
    )


def _told(args: argparse.Namespace) -> dict[str, Any]:
    """The options, as a report keeps them."""
    left_out = {"run", "command", "inputs", "report", "quiet", "verbose"}
    told = {key: value for key, value in sorted(vars(args).items()) if key not in left_out}
    # The key of a mark is a secret, and a report is not.
    return told | {"mark": args.mark is not None, "sign": args.sign is not None}


def _all(
    jobs: list[Job], settings: "Settings", args: argparse.Namespace, report: Report, console: Console
) -> int:
    proof = Proof.of(args)
    restorer = functools.cache(lambda: _load(args, report, console))
    progress = Progress(len(jobs), console)
    stages = pipeline(
        list(zip(jobs, report.entries, strict=True)),
        lambda pair: _given(*pair, args),
        lambda pair, given: _restored(*pair, given, restorer, settings, args, progress, proof),
        lambda pair, done: _put(*pair, done, args, proof),
        # A pipe that nobody fills must not be waited for in a thread; a bound on memory is for one picture.
        overlap=len(jobs) > 1 and args.max_memory is None and all(job.source != STREAM for job in jobs),
    )
    try:
        with closing(stages):
            for _, entry in stages:
                _tell(entry, console)
    except KeyboardInterrupt:
        for entry in [entry for entry in report.entries if entry.status == "pending"][:1]:
            entry.status = "interrupted"
        progress.close()
        say(f"interrupted; {report.count('done')} of {len(jobs)} done; --skip-existing goes on from here")
        return INTERRUPTED
    finally:
        progress.close()
    if len(jobs) > 1:
        parts = [f"{report.count(status)} {status}" for status in ("done", "skipped", "failed")]
        console.note(f"{', '.join(parts)} in {time.time() - report.began:.1f} s")
    return report.exit_code()


def _tell(entry: Entry, console: Console) -> None:
    if entry.status == "failed":
        say(str(entry.error))
    elif entry.status == "skipped":
        console.note(f"{entry.input}: {entry.output} is there, skipped")
    else:
        where = "stdout" if entry.output == STREAM else entry.output
        console.note(f"{entry.input} → {where}  {sum(entry.seconds.values()):.2f} s")
        stages = ", ".join(f"{stage} {seconds:.3f} s" for stage, seconds in entry.seconds.items())
        console.detail(f"  {entry.width}×{entry.height}: {stages}; evaluations per tile: {entry.evaluations}")


def _load(args: argparse.Namespace, report: Report, console: Console) -> "Restorer":
    restorer = load(args, console, measure=len(report.entries) >= MANY)
    bundle, engine = restorer.bundle, restorer.engine
    report.model = {"name": bundle.name, "version": bundle.card["version"], "hash": bundle.hash}
    report.engine = engine.facts()
    return restorer


def _given(job: Job, entry: Entry, args: argparse.Namespace) -> "Given | None":
    """Reads a picture and its mask; ``None`` where there is nothing to do. Errors are noted in its entry."""
    try:
        if args.skip_existing and isinstance(job.output, Path) and job.output.exists():
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
        loaded = restorer()
        try:
            done = loaded.restore(given[0], settings, mask=given[1], progress=progress.tiles)
            entry.seconds |= done.seconds
            entry.evaluations = done.evaluations
            if job.invented is not None:
                map_invented(job.invented, entry, loaded, (given[0], done, settings), args)
            overwrite = args.overwrite or args.skip_existing
            seal = proof.seal(job, loaded, settings, done, mask=args.mask, overwrite=overwrite)
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
) -> None:
    """Writes one result. Errors are noted in its entry."""
    if done is None:
        return
    try:
        _write(job, entry, *done, args, proof)
        entry.status = "done"
    except Exception as error:
        _note(error, entry, args)


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
    mask = None if args.mask in ("auto", "none") else _mask(job, Path(args.mask))
    entry.seconds["read"] = time.perf_counter() - began
    return picture, mask


def _mask(job: Job, given: Path) -> "NDArray[np.float32]":
    from relume import image
    from relume.tasks.finish import mask_from

    return mask_from(image.read(_mask_file(job, given) if given.is_dir() else given))


def _mask_file(job: Job, folder: Path) -> Path:
    """The file in a folder of masks that belongs to this picture: NAME or NAME-mask, in any format."""
    from relume.image import is_picture

    place = folder / job.relative.parent
    names = (job.relative.stem, f"{job.relative.stem}-mask")
    for path in sorted(place.iterdir()) if place.is_dir() else []:
        if path.stem in names and is_picture(path):
            return path
    raise UsageError(f"no mask for {job.name}: {place} holds neither {names[0]}.png nor {names[1]}.png")


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
        path.parent.mkdir(parents=True, exist_ok=True)
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
