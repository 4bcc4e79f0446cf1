r"""What is done and what is left: decided from the manifests and the files, one picture after another.

A picture is *finished* when a line says that it was done from this input, with these options, by this model,
and its result is there with the size that the line holds. Who was killed between writing a result and saying
so is found out, too: the last line is then ``begun``, and at the result's place stands something else than
before. Results are moved into place whole, so it is the new one.
"""

__all__ = ["Ledger", "Work"]

from dataclasses import dataclass, field, replace
from pathlib import Path

from relume.archive.manifest import FOLDER, Lines, Manifest, Record, is_open, now
from relume.archive.shard import Shard
from relume.errors import ImageError, OutputExists, UsageError
from relume.files import digest

TRIES = 3  # processes that may die on a picture before it is called failed


@dataclass(frozen=True)
class Work:
    """One picture: where it is, the mask that was given with it, and where its result goes."""

    picture: Path
    result: Path
    mask: Path | None = None


@dataclass
class _History:
    """What the manifests say about one result: when it was last done, and who began since the last end."""

    done: Record | None = None
    begun: list[Record] = field(default_factory=list)

    def add(self, record: Record) -> None:
        if record.status == "begun":
            self.begun.append(record)
            return
        self.begun = []
        if record.status == "done":
            self.done = record


class Ledger:
    """The manifests of ``out``, and one of its own to write.

    Parameters
    ----------
    out:
        The folder of the results.
    shard:
        The part of the archive that is worked on; its manifest is nobody else's meanwhile.
    options, model:
        Hashes of what decides a result.
    replace:
        Whether what stands at a result's place, and is not this very result, gives way.
    worker:
        A name, where several work for one shard.

    Raises
    ------
    UsageError
        If another process works on this shard, or on another number of shards.
    """

    def __init__(
        self, out: Path, shard: Shard, *, options: str, model: str, replace: bool = False, worker: str = ""
    ) -> None:
        self._out, self._options, self._model, self._replace = out, options, model, replace
        name = f"shard-{shard.index}-of-{shard.count}{worker and '.'}{worker}.jsonl"
        self._manifest = Manifest(out / FOLDER / name)
        try:
            _refuse_other_counts(out, shard)
        except UsageError:
            self.close()
            raise
        self._histories: dict[str, _History] = {}
        self._open: dict[str, Record] = {}
        self._lines = Lines(out)
        self._learn(self._lines.new())

    @property
    def wary(self) -> bool:
        """Whether one more death calls some picture failed: then nothing else should be begun beside it."""
        return any(len(history.begun) >= TRIES - 1 for history in self._histories.values())

    def finished(self, work: Work) -> bool:
        """Whether there is nothing left to do for this picture.

        Raises:
            OutputExists: something else stands at the result's place, and it was not to give way.
            OSError: the picture cannot be read.
        """
        if not _size(work.result):
            return False
        wanted = self._wanted(work)
        differs = self._differs(wanted, work)
        if differs:  # unless another worker has done it after the manifests were read
            self._learn(self._lines.new(but=self._manifest.path))
            differs = self._differs(wanted, work)
        if differs and not self._replace:
            raise OutputExists(f"{work.result} {differs}; --overwrite makes it anew")
        return not differs

    def begin(self, work: Work) -> bool:
        """Whether the picture is to be worked on; if so, that it was begun is written down.

        Raises:
            OutputExists: something else stands at the result's place, and it was not to give way.
            ImageError: several processes have died on this picture.
            OSError: it cannot be read.
        """
        if self.finished(work):
            return False
        wanted = self._wanted(work)
        deaths = len(self._history(wanted.result).begun)
        if deaths >= TRIES:
            error = f"{work.picture}: {deaths} processes ended while at work on it; the next call tries again"
            self._write(replace(wanted, status="failed", error=error))
            raise ImageError(error)
        before = digest(work.result) if work.result.exists() else None
        begun = replace(wanted, input=digest(work.picture), before=before)
        self._write(begun)
        self._open[wanted.result] = begun
        return True

    def done(self, work: Work, *, seconds: float, joules: float | None, engine: str | None) -> None:
        """Writes down that the result is there."""
        begun = self._open.pop(self._key(work))
        self._write(
            replace(_finished(begun, work.result), seconds=round(seconds, 4), joules=joules, engine=engine)
        )

    def failed(self, work: Work, error: str, *, seconds: float) -> None:
        """Writes down why there is no result, if the picture was begun."""
        begun = self._open.pop(self._key(work), None)
        if begun is not None:
            ended = replace(begun, status="failed", error=error, before=None, at=now())
            self._write(replace(ended, seconds=round(seconds, 4)))

    def close(self) -> None:
        """Leaves the shard to others."""
        self._manifest.close()

    def _key(self, work: Work) -> str:
        return work.result.relative_to(self._out).as_posix()

    def _history(self, key: str) -> _History:
        return self._histories.setdefault(key, _History())

    def _learn(self, records: list[Record]) -> None:
        for record in records:
            self._history(record.result).add(record)

    def _write(self, record: Record) -> None:
        self._manifest.append(record)
        self._history(record.result).add(record)

    def _wanted(self, work: Work) -> Record:
        facts = work.picture.stat()
        return Record(
            status="begun",
            result=self._key(work),
            picture=str(work.picture),
            size=facts.st_size,
            modified=facts.st_mtime_ns,
            mask=digest(work.mask) if work.mask is not None else None,
            options=self._options,
            model=self._model,
        )

    def _differs(self, wanted: Record, work: Work) -> str:
        """What is wrong with the result that is there, in words; empty when it is the one that is wanted."""
        history = self._history(wanted.result)
        if history.begun:
            made = _finished(history.begun[-1], work.result)
            if made.output != history.begun[-1].before:  # it was moved into place, with no time to say so
                self._write(made)
        done = history.done
        if done is None:
            return "exists, and no manifest knows it"
        if _size(work.result) != done.length:
            return "was changed after it was made"
        same_file = (done.size, done.modified) == (wanted.size, wanted.modified)
        if done.mask != wanted.mask or not (same_file or digest(work.picture) == done.input):
            return "was made from another input"
        if done.options != wanted.options:
            return "was made with other options"
        return "" if done.model == wanted.model else "was made by another model"


def _finished(begun: Record, result: Path) -> Record:
    return replace(
        begun, status="done", output=digest(result), length=_size(result), before=None, at=now(), joules=None
    )


def _size(result: Path) -> int:
    """Bytes; 0 where nothing is. An empty file is a name that somebody took and did not live to fill."""
    try:
        return result.stat().st_size
    except FileNotFoundError:
        return 0


def _refuse_other_counts(out: Path, shard: Shard) -> None:
    for path in sorted((out / FOLDER).glob("shard-*.jsonl")):
        count = path.name.split(".")[0].rsplit("-", 1)[-1]
        if count != str(shard.count) and is_open(path):
            raise UsageError(
                f"{out} is being worked on in {count} shards: two counts at once would do work twice; wait"
            )
