r"""What is left to do: told by the files alone, or by the manifest of an archive."""

__all__ = ["Kept", "Keep", "Plain", "keeping", "ledger_of"]

import argparse
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from relume.archive import Ledger, Work, sweep
from relume.cli.jobs import FOUND, Job, mask_file
from relume.cli.laps import Laps
from relume.cli.proof import bytes_of, key_of
from relume.cli.report import Entry, Report
from relume.cli.restoring import settings_of, shard_of
from relume.errors import OutputExists, UsageError


class Keep(Protocol):
    """Asked before a picture is read, told after it is written."""

    resume: str
    wary: bool
    """Whether no picture may be begun before the one before it has ended."""

    def begin(self, job: Job) -> bool:
        """Whether there is something to do for it."""

    def end(self, job: Job, entry: Entry) -> None:
        """What became of it."""


class Plain:
    """Nothing is written down: a result that exists is left out where that was asked for."""

    resume = "--skip-existing"
    wary = False

    def __init__(self, *, skip: bool) -> None:
        self._skip = skip

    def begin(self, job: Job) -> bool:
        """False where the result exists and is to be left alone."""
        return not (self._skip and isinstance(job.output, Path) and job.output.exists())

    def end(self, job: Job, entry: Entry) -> None:
        """Nothing: the result is all there is."""


class Kept:
    """A line in the ledger for everything that happens."""

    resume = "the same call"

    def __init__(self, ledger: Ledger, args: argparse.Namespace, report: Report) -> None:
        self._ledger, self._args, self._report = ledger, args, report
        self.wary = ledger.wary
        self._laps = Laps()
        self._lock = threading.Lock()  # pictures are begun in one thread and ended in another

    def begin(self, job: Job) -> bool:
        """Whether it is not finished; what must not be done at all is refused by whoever reads it."""
        if job.refused:
            return True
        try:
            with self._lock:
                return self._ledger.begin(work_of(job, self._args))
        except OutputExists:
            if self._args.skip_existing:
                return False
            raise

    def end(self, job: Job, entry: Entry) -> None:
        """Writes it down. The joules are those since the last one ended: they sum to all that were spent."""
        joules, seconds = self._laps.lap(), sum(entry.seconds.values())
        if job.refused or entry.status not in ("done", "failed"):
            return
        if entry.status == "failed":
            work = Work(Path(job.source), Path(job.output))
            with self._lock:
                self._ledger.failed(work, str(entry.error), seconds=seconds)
            return
        engine = self._report.engine or {}
        name = "/".join(str(engine.get(key)) for key in ("name", "device", "precision")) if engine else None
        with self._lock:
            self._ledger.done(work_of(job, self._args), seconds=seconds, joules=joules, engine=name)


@contextmanager
def keeping(
    args: argparse.Namespace, jobs: list[Job], report: Report, *, worker: str = ""
) -> Iterator[tuple[Keep, argparse.Namespace]]:
    """Who keeps account, and the options under which the writing goes on.

    Of an archive, the ledger decides what may be replaced before a picture is read, and nobody else works on
    it: from there on, writing replaces.

    Raises:
        UsageError: another process works on this part of the archive.
        BundleError: there is no such model.
    """
    if shard_of(args) is None:
        yield Plain(skip=args.skip_existing), args
        return
    sweep({path.parent for job in jobs for path in job.files})
    ledger = ledger_of(args, worker=worker)
    try:
        yield Kept(ledger, args, report), argparse.Namespace(**{**vars(args), "overwrite": True})
    finally:
        ledger.close()


def ledger_of(args: argparse.Namespace, *, worker: str = "") -> Ledger:
    """The ledger of the part of the archive that the options speak of."""
    from relume import bundle as bundles

    shard = shard_of(args)
    if shard is None:
        raise UsageError("this is no archive: give --shard 1/1")
    model = bundles.find(args.model).hash
    out, options = Path(args.output), _options(args)
    return Ledger(out, shard, options=options, model=model, replace=args.overwrite, worker=worker)


def work_of(job: Job, args: argparse.Namespace) -> Work:
    """The picture, as a ledger knows it."""
    return Work(Path(job.source), Path(job.output), mask_file(job, args))


def _options(args: argparse.Namespace) -> str:
    """The hash of what decides a result; on what engine and in how much memory it is made does not."""
    settings = asdict(settings_of(args))
    del settings["max_memory"]
    writing = ("format", "bit_depth", "quality", "keep_metadata", "precision")
    beside = ("uncertainty", "invented", "sidecar")
    facts = {
        "settings": settings,
        **{name: getattr(args, name) for name in writing + beside},
        "mask": args.mask if args.mask in FOUND else "given",
        "save_mask": args.save_mask is not None,
        # Keys are secrets, and a manifest is not.
        "mark": None if args.mark is None else _hash(key_of(args.mark).encode("utf-8", "surrogateescape")),
        "sign": None if args.sign is None else _hash(bytes_of(args.sign, "the signing key")),
    }
    return _hash(json.dumps(facts, sort_keys=True).encode())


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
