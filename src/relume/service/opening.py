r"""Opening the job table, and making it anew from the folders when it is broken or gone.

The folders hold all that an accepted job is made of; the table only says whose turn it is. A SQLite file that
is broken is therefore set aside, and every job whose folder is whole goes back into the queue. Those that
were done are recognised by their result and not done again.
"""

__all__ = ["open_folders", "open_store", "url_of"]

import logging
import time
from pathlib import Path

from relume.service.config import Config
from relume.service.folders import Folders
from relume.service.schema import sqlite_file, sqlite_whole
from relume.service.store import Store

log = logging.getLogger("relume.service")

_EVERYTHING = 2**62


def url_of(config: Config) -> str:
    """The URL of the job table."""
    return config.database or f"sqlite:///{config.data.resolve() / 'jobs.db'}"


def open_folders(config: Config) -> Folders:
    """The folders of the jobs; made if they are missing."""
    return Folders(config.data)


def open_store(config: Config, folders: Folders) -> Store:
    """The job table, whole. Only the server calls this, before any worker runs.

    Raises
    ------
    StoreBroken
        It cannot be reached, or is broken and not a SQLite file.
    """
    file = sqlite_file(url_of(config))
    lost = file is not None and (not file.exists() or not sqlite_whole(file))
    if file is not None and lost and file.exists():
        _set_aside(file)
    store = Store(url_of(config))
    if lost:
        refilled = _refill(store, folders)
        if refilled:
            log.warning("the job table was made anew: %d jobs are back in the queue", refilled)
    return store


def _set_aside(file: Path) -> None:
    aside = file.with_name(f"{file.name}.broken-{time.time_ns()}")
    log.error("the job table is broken; it is kept as %s", aside.name)
    file.replace(aside)
    for ending in ("-wal", "-shm"):  # they belong to the broken file and would spoil the new one
        file.with_name(file.name + ending).unlink(missing_ok=True)


def _refill(store: Store, folders: Folders) -> int:
    records = [(folder, folders.facts(folder, "job.json")) for folder in sorted(folders.all())]
    jobs = [(folder, facts) for folder, facts in records if facts is not None]
    for folder, facts in sorted(jobs, key=lambda job: float(job[1]["created"])):
        store.submit(
            facts["id"],
            folder=folder,
            request=facts["request"],
            cost=facts["cost"],
            now=facts["created"],
            limit=_EVERYTHING,
        )
    return len(jobs)
