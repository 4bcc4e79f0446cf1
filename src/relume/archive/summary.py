r"""What became of an archive, from its manifests alone; on request the results are read, too."""

__all__ = ["Summary", "summarise"]

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from relume.archive.manifest import Lines, Record
from relume.files import digest


@dataclass
class Summary:
    """Counts of results by what the last line about each says, and what they took.

    ``begun``: somebody works on it, or was killed. ``again`` counts results that were done more than once
    from the same input, with the same options, by the same model: it should be 0. ``joules`` is None unless
    all that was done was measured; it is the sum over the lines. ``bad`` are results that are missing or not
    what was written.
    """

    done: int = 0
    failed: int = 0
    begun: int = 0
    again: int = 0
    seconds: float = 0.0
    joules: float | None = None
    bytes: int = 0
    damaged: int = 0
    options: int = 0
    models: int = 0
    errors: dict[str, str] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    checked: bool = False


def summarise(out: Path, *, check: bool = False) -> Summary:
    """Reads the manifests of an output folder; ``check`` compares every result with its SHA-256.

    Without ``check`` only its size is looked at.
    """
    lines = Lines(out)
    last: dict[str, Record] = {}
    times: Counter[tuple[str, ...]] = Counter()
    for record in lines.new():
        last[record.result] = record
        if record.status == "done":
            times[record.result, str(record.input), str(record.mask), record.options, record.model] += 1
    done = [record for record in last.values() if record.status == "done"]
    joules = [record.joules for record in done if record.joules is not None]
    return Summary(
        done=len(done),
        failed=sum(record.status == "failed" for record in last.values()),
        begun=sum(record.status == "begun" for record in last.values()),
        again=sum(count > 1 for count in times.values()),
        seconds=sum(record.seconds or 0.0 for record in done),
        joules=sum(joules) if done and len(joules) == len(done) else None,
        bytes=sum(record.length or 0 for record in done),
        damaged=lines.damaged,
        options=len({record.options for record in done}),
        models=len({record.model for record in done}),
        errors={key: str(record.error) for key, record in sorted(last.items()) if record.status == "failed"},
        unfinished=sorted(key for key, record in last.items() if record.status == "begun"),
        bad=sorted(record.result for record in done if not _stands(out / record.result, record, check)),
        checked=check,
    )


def _stands(path: Path, record: Record, check: bool) -> bool:
    try:
        return path.stat().st_size == record.length and (not check or digest(path) == record.output)
    except OSError:
        return False
