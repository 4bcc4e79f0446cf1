r"""What a person sees while a command runs; all of it goes to stderr, so that stdout stays clean."""

__all__ = ["INTERRUPTED", "Console", "Progress", "say"]

import argparse
import sys
from dataclasses import dataclass
from typing import Any

INTERRUPTED = 130


def say(line: str) -> None:
    """One line on stderr, under the name of the program."""
    print(f"relume: {' '.join(line.splitlines())}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Console:
    """How much is told: ``note`` unless -q, ``detail`` only with -v."""

    quiet: bool = False
    verbose: bool = False

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Console":
        """As the options say."""
        return cls(quiet=bool(args.quiet), verbose=bool(args.verbose))

    def note(self, line: str) -> None:
        """What was done."""
        if not self.quiet:
            print(line, file=sys.stderr, flush=True)

    def detail(self, line: str) -> None:
        """What really runs."""
        if self.verbose:
            print(line, file=sys.stderr, flush=True)


class Progress:
    """One bar over all pictures, which moves with the tiles of each; only where stderr is a terminal."""

    def __init__(self, total: int, console: Console) -> None:
        self._bar: Any = None
        self._done = 0
        if not console.quiet and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=total,
                file=sys.stderr,
                leave=False,
                bar_format="{l_bar}{bar}| {n:.1f}/{total} [{elapsed}<{remaining}]",
            )

    def begin(self, name: str) -> None:
        """A picture is begun."""
        if self._bar is not None:
            self._bar.set_description_str(name[-40:])

    def tiles(self, done: int, total: int) -> None:
        """So many of its tiles are done."""
        self._move(self._done + done / max(total, 1))

    def at(self, stage: int, share: float) -> None:
        """So much of a stage is done, after ``stage`` others."""
        self._move(stage + share)

    def end(self) -> None:
        """The picture is done, or has failed. The bar makes way for a line."""
        self._done += 1
        self._move(self._done)
        if self._bar is not None:
            self._bar.clear()

    def _move(self, to: float) -> None:
        if self._bar is not None:
            self._bar.n = to
            self._bar.refresh()

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.close()
