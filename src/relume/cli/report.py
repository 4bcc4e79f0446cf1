r"""The report of a batch: what became of every input, as JSON."""

__all__ = ["Entry", "Report", "check_report"]

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from relume._version import __version__
from relume.cli.streams import as_json, write_text
from relume.errors import ImageError, NoInput, OutputExists, RelumeError, UsageError

SOME_FAILED = ImageError.exit_code


@dataclass
class Entry:
    """One input. ``status`` is pending, done, skipped, failed or interrupted; seconds are by stage.

    ``invented`` holds what was asked for by --invented: expected errors, of the [0,1] range.
    """

    input: str
    output: str
    status: str = "pending"
    error: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    width: int | None = None
    height: int | None = None
    bytes_in: int | None = None
    bytes_out: int | None = None
    evaluations: int | None = None
    invented: dict[str, Any] | None = None
    files: list[str] = field(default_factory=list)
    code: int = 0
    usable: bool = True

    def fail(self, error: Exception) -> None:
        """Notes what went wrong, in one line that names the input once."""
        line = " ".join(str(error).split()) or type(error).__name__
        if not isinstance(error, RelumeError):
            line = f"internal error: {type(error).__name__}: {line}"
        if self.input == "stdin":
            line = line.removeprefix("picture: ")
        self.status, self.error = "failed", line if self.input in line else f"{self.input}: {line}"
        self.code = error.exit_code if isinstance(error, RelumeError) else RelumeError.exit_code


@dataclass
class Report:
    """A batch; filled while it runs."""

    settings: dict[str, Any]
    model: dict[str, Any] | None = None
    engine: dict[str, Any] | None = None
    entries: list[Entry] = field(default_factory=list)
    error: str | None = None
    began: float = field(default_factory=time.time)

    def count(self, status: str) -> int:
        """How many inputs have that status."""
        return sum(entry.status == status for entry in self.entries)

    def exit_code(self) -> int:
        """0: all done; 3: some failed. When all failed: 4 if none was a picture, or the code they share."""
        failed = [entry for entry in self.entries if entry.status == "failed"]
        if not failed:
            return 0
        if len(failed) < len(self.entries):
            return SOME_FAILED
        if not any(entry.usable for entry in failed):
            return NoInput.exit_code
        codes = {entry.code for entry in failed}
        return codes.pop() if len(codes) == 1 else SOME_FAILED

    def write(self, path: Path, code: int) -> None:
        """Writes it as a whole; an older report gives way."""
        states = ("done", "skipped", "failed", "interrupted", "pending")
        facts = {
            "relume": __version__,
            "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.began)),
            "seconds": round(time.time() - self.began, 3),
            "exit_code": code,
            "error": self.error,
            "model": self.model,
            "engine": self.engine,
            "settings": self.settings,
            "counts": {state: self.count(state) for state in states},
            "files": [_facts(entry) for entry in self.entries],
        }
        write_text(as_json(facts), path, overwrite=True)


def _facts(entry: Entry) -> dict[str, Any]:
    facts = asdict(entry)
    del facts["usable"]
    facts["exit_code"] = facts.pop("code")
    facts["seconds"] = {stage: round(value, 4) for stage, value in entry.seconds.items()}
    return facts


def check_report(path: Path) -> None:
    """Makes sure that a report can go there before hours are spent on what it is about.

    Raises:
        UsageError: there is no folder for it.
        OutputExists: what stands there is no report.
    """
    if not path.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}; make it first")
    if not path.exists():
        return
    try:
        known = "relume" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        known = False
    if not known:
        raise OutputExists(f"{path} exists and is no report of relume; give another --report")
