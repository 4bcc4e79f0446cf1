r"""The server's own worker processes: started, watched, begun anew when they die, and asked to leave."""

__all__ = ["Workers"]

import logging
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from relume.errors import BundleError, EngineError, UsageError

log = logging.getLogger("relume.service")

HOPELESS = {error.exit_code for error in (UsageError, BundleError, EngineError)}
LOOK = 0.1  # seconds between two looks at the processes
FIRST_WAIT, LONGEST_WAIT = 0.2, 30.0  # seconds before a worker that died is started again


@dataclass
class _Place:
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0
    wait: float = FIRST_WAIT
    due: float = 0.0
    starts: int = 0


class Workers:
    """``count`` processes of one command.

    ``died`` is called after each death, so that the job of the dead can be given to another at once;
    ``hopeless`` when one ends at its very start because the model or the engine cannot be had.
    """

    def __init__(
        self, command: Sequence[str], count: int, *, died: Callable[[], None], hopeless: Callable[[], None]
    ) -> None:
        self._command, self._died, self._hopeless = list(command), died, hopeless
        self._places = [_Place() for _ in range(count)]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="workers")

    def start(self) -> None:
        """Starts them all."""
        self._thread.start()

    @property
    def alive(self) -> int:
        """How many run."""
        return sum(place.process is not None and place.process.poll() is None for place in self._places)

    def stop(self, patience: float) -> None:
        """Asks them to leave after their present jobs; after ``patience`` seconds at once."""
        self._over.set()
        self._thread.join()
        running = [place.process for place in self._places if place.process is not None]
        for seconds in (patience, 10.0):
            for process in running:
                if process.poll() is None:
                    process.terminate()  # the first says: after this job; the second: now
            deadline = time.monotonic() + seconds
            for process in running:
                _wait(process, deadline - time.monotonic())
        for process in running:
            if process.poll() is None:
                process.kill()  # its job stays in the table, and its lease runs out
                process.wait()

    def _watch(self) -> None:
        while not self._over.is_set():
            for place in self._places:
                self._tend(place)
            self._over.wait(LOOK)

    def _tend(self, place: _Place) -> None:
        now = time.monotonic()
        if place.process is not None and place.process.poll() is not None:
            code = place.process.returncode
            log.warning("a worker ended with code %s", code)
            if code in HOPELESS and place.starts == 1:
                self._hopeless()
            place.process = None
            place.wait = FIRST_WAIT if now - place.began > LONGEST_WAIT else min(2 * place.wait, LONGEST_WAIT)
            place.due = now + place.wait
            self._died()
        if place.process is None and now >= place.due and not self._over.is_set():
            place.process, place.began = subprocess.Popen(self._command), now
            place.starts += 1


def _wait(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    try:
        process.wait(max(0.0, seconds))
    except subprocess.TimeoutExpired:
        return
