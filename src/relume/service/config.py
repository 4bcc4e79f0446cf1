r"""What a service is told when it starts."""

__all__ = ["Config", "Web", "default_folder"]

from dataclasses import dataclass
from pathlib import Path

from relume import bundle as bundles
from relume.errors import UsageError


def default_folder() -> Path:
    """Where jobs are kept unless the caller says otherwise."""
    return bundles.user_folder() / "service"


@dataclass(frozen=True)
class Config:
    """What the server and its workers have in common.

    Parameters
    ----------
    data:
        Folder for uploads and results; private to the user.
    database:
        URL of the job table. ``None`` means a SQLite file in ``data``.
    model, engine, device, precision, threads, force:
        As in :class:`~relume.tasks.Restorer`.
    max_bytes, max_pixels:
        Bounds on one upload.
    max_queue:
        Bound on the work that waits, in pixels times evaluations of the net.
    max_memory:
        As in :class:`~relume.tasks.Settings`.
    keep:
        Seconds after its end until a job, with upload and results, is deleted.
    lease:
        Seconds without a heartbeat after which a worker counts as dead.
    stall:
        Seconds without a finished evaluation after which a worker stops its own heartbeat.
    attempts:
        How many workers may die on a job before it fails.
    jobs:
        How many jobs a worker has in flight at once, on its one engine.
    batch:
        The most steps that the engine evaluates at once. With 1 a result has the very bytes that the picture
        has alone; more pays on a GPU.
    calls:
        How many such evaluations a CPU works on at once, each with its part of the threads
        (:meth:`relume.engines.Engine.shared`); results do not depend on it.
    """

    data: Path
    database: str | None = None
    model: str = "photo"
    engine: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    force: bool = False
    max_bytes: int = 200 * 2**20
    max_pixels: int = 100_000_000
    max_queue: int = 2_000_000_000
    max_memory: int | None = None
    keep: float = 24 * 3600.0
    lease: float = 30.0
    stall: float = 900.0
    attempts: int = 5
    jobs: int = 4
    batch: int = 1
    calls: int = 2

    def __post_init__(self) -> None:
        numbers = (self.max_bytes, self.max_pixels, self.max_queue, self.keep, self.lease, self.attempts)
        if min(*numbers, self.jobs, self.batch, self.calls) <= 0:
            raise UsageError("limits, times and attempts are above 0")


@dataclass(frozen=True)
class Web:
    """What only the server has to know.

    Parameters
    ----------
    host, port:
        Where it listens; port 0 takes any that is free.
    token:
        What callers have to show as ``Authorization: Bearer TOKEN``. ``None``: nothing.
    origins:
        Other sites whose pages may call the API from a browser (CORS).
    hosts:
        Names by which the service may be called, besides its own address and localhost.
    workers:
        How many worker processes the server starts and watches.
    drain:
        Seconds that running jobs have to end after a request to stop; the rest is kept for the next start.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    workers: int = 1
    drain: float = 30.0
