r"""What is over is deleted: jobs after their time, and folders that no job owns."""

__all__ = ["Sweeper"]

from collections.abc import Callable

from relume.service.clock import Clock, monotonic
from relume.service.folders import Folders
from relume.service.store import Store

GRACE = 600.0  # seconds that a folder may be without a job: it is written before its row


class Sweeper:
    """Keeps the promise that nothing stays longer than ``keep`` seconds after its end."""

    def __init__(
        self,
        store: Store,
        folders: Folders,
        clock: Clock,
        *,
        keep: float,
        elapsed: Callable[[], float] = monotonic,
    ) -> None:
        self._store, self._folders, self._clock, self._keep = store, folders, clock, keep
        self._elapsed = elapsed
        self._strays: dict[str, float] = {}

    def sweep(self) -> int:
        """Deletes what is due; returns how many jobs that were."""
        now = self._clock.now()
        over = self._store.delete_ended(now - self._keep)
        for folder in over:
            self._folders.drop(folder)
        self._sweep_strays()
        self._store.set_fact("seen", now)
        return len(over)

    def _sweep_strays(self) -> None:
        present = self._elapsed()
        on_disk = self._folders.all()  # looked at before the table, which learns of a folder after the disk
        strays = on_disk - self._store.folders()
        self._strays = {folder: self._strays.get(folder, present) for folder in strays}
        for folder, since in self._strays.items():
            if present - since >= GRACE:
                self._folders.drop(folder)
