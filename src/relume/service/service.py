r"""What the routes share: one open service."""

__all__ = ["Service", "service_of"]

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from relume import bundle as bundles
from relume.bundle import Bundle
from relume.errors import Draining, NotReady, ServiceError
from relume.service.clock import Clock
from relume.service.config import Config, Web
from relume.service.feed import Feed
from relume.service.folders import Folders
from relume.service.intake import Intake
from relume.service.metrics import Metrics
from relume.service.opening import open_folders, open_store
from relume.service.store import Job, Store

_SCREENS = 2  # pictures that are made fit for a screen at once


@dataclass
class Service:
    """The parts of a running service. Make one by :meth:`open`."""

    config: Config
    web: Web
    bundle: Bundle
    store: Store
    folders: Folders
    clock: Clock
    intake: Intake
    feed: Feed
    metrics: Metrics
    draining: threading.Event = field(default_factory=threading.Event)
    answering: int = 0  # requests that bring something, and are not answered yet
    alive: Callable[[], int] | None = None  # how many workers run; None: that is not this process' business
    screens: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_SCREENS))

    @classmethod
    def open(cls, config: Config, web: Web) -> "Service":
        """Opens table and folders, and finds the model.

        Raises
        ------
        BundleError, UsageError, MissingExtra, ServiceError
            When one of these cannot be had.
        """
        bundle = bundles.find(config.model)
        folders = open_folders(config)
        store = open_store(config, folders)
        clock = Clock(floor=store.fact("seen") or 0.0)
        intake = Intake(config, store, folders, clock, model=bundle, workers=web.workers)
        metrics = Metrics(store)
        return cls(config, web, bundle, store, folders, clock, intake, Feed(store), metrics)

    def check_open(self) -> None:
        """Raises :class:`~relume.errors.Draining` when nothing new is taken."""
        if self.draining.is_set():
            raise Draining("the service is about to stop: send it again in a moment")

    async def job(self, id: str) -> Job:
        """The job of that id; raises :class:`~relume.errors.NoSuchJob`."""
        return await run_in_threadpool(self.store.get, id)

    async def part(self, job: Job, part: str) -> tuple[bytes, str]:
        """The bytes and the media type of one part of a result.

        Raises
        ------
        NotReady
            The job is not done, or has no such part.
        """
        if job.state != "done" or job.outcome is None:
            raise NotReady(f"the job is {job.state}: there is no result" + " yet" * (not job.over))
        facts = job.outcome["parts"].get(part)
        if facts is None:
            raise NotReady(f"this job has no part {part!r}; it has {', '.join(job.outcome['parts'])}")
        return await self.bytes_of(job, facts["file"]), facts["type"]

    async def bytes_of(self, job: Job, name: str) -> bytes:
        """A file of a job."""
        try:
            return await run_in_threadpool(self.folders.get, job.folder, name)
        except ServiceError:
            await self.job(job.id)  # deleted a moment ago? Then that is what is said
            raise

    def drop(self, id: str) -> None:
        """Deletes a job with all that belongs to it; work on it stops within a step.

        Raises
        ------
        NoSuchJob
            There is none.
        """
        self.folders.drop(self.store.delete(id).folder)

    def seconds_left(self, job: Job) -> float | None:
        """How long until the job is done, by the measured rate and its own progress; None when it is over."""
        if job.over:
            return None
        if job.progress is not None:
            return float(job.progress["eta"])
        pace = self.store.rate() * max(1, self.web.workers)
        return round(self.store.waiting(job) / pace + job.cost / self.store.rate(), 2)


def service_of(request: Request) -> Service:
    """The service that a request was sent to."""
    service: Service = request.app.state.service
    return service
