r"""The worker: one engine, and several jobs in flight on it.

Each job has a thread, which decodes, cuts, blends, reports and encodes; the steps of all of them meet in one
scheduler (:mod:`relume.tasks.scheduler`). Which jobs run beside each other is a matter of ``lanes.py``.

A job ends in one of five ways: done; failed, which is the picture's or the options' fault; stopped, because
it was deleted; released, because the disk is full, the database is away or the worker was told to stop; or
not at all, because the worker was killed, and then its lease runs out and another one begins anew.
"""

__all__ = ["Worker"]

import logging
import os
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from relume import image as images
from relume.errors import LostLease, RelumeError, ServiceError, StoreBroken, StoreFull
from relume.service.clock import Clock, monotonic
from relume.service.config import Config
from relume.service.folders import Folders
from relume.service.lanes import Lane, Lanes
from relume.service.leases import Observer, name_of_this_worker
from relume.service.preview import Preview
from relume.service.problems import problem_of
from relume.service.result import PARTS, make
from relume.service.store import Job, Store
from relume.tasks import Restorer, Scheduler
from relume.tasks.progress import Moment

log = logging.getLogger("relume.service")

IDLE = 0.1  # seconds between two looks at an empty queue
TELL = 0.2  # seconds between two reports on one job
SHOW = 0.5  # seconds between two previews
PAUSE = 5.0  # seconds after the disk was full or the database away


class Worker:
    """Works on what the table holds until told to end: by ``leave`` after its jobs, by ``stop`` at once.

    ``parent`` is the process that started this one: when it is gone, the worker ends after its present jobs.
    """

    def __init__(
        self, config: Config, store: Store, folders: Folders, restorer: Restorer, *, parent: int | None = None
    ) -> None:
        self._config, self._store, self._folders, self._restorer = config, store, folders, restorer
        self._observer = Observer(store, lease=config.lease, attempts=config.attempts)
        self._clock = Clock(floor=store.fact("seen") or 0.0)
        self._name = name_of_this_worker()
        self._parent = parent
        self._scheduler = Scheduler(restorer.engine, batch=config.batch, calls=restorer.engine.calls)
        self._lanes = Lanes(config.jobs, config.max_pixels)
        self._ended = threading.Event()
        self.leave = threading.Event()
        self.stop = threading.Event()

    def run(self) -> None:
        """Works until told to stop."""
        looked = float("-inf")
        running: set[Future[None]] = set()
        with ThreadPoolExecutor(self._config.jobs, thread_name_prefix="job") as pool:
            while not self.leave.is_set() and not self.stop.is_set() and not self._orphaned():
                try:
                    if monotonic() - looked >= min(1.0, self._config.lease / 4):
                        looked = monotonic()
                        self._observer.look(self._clock.now())
                    over = {each for each in running if each.done()}
                    running -= over
                    for each in over:
                        each.result()  # raises what is wrong with the disk or the database
                    taken = self._take()
                    if taken is not None:
                        running.add(pool.submit(self._do, *taken))
                    elif self._ended.wait(IDLE):
                        self._ended.clear()
                except (StoreBroken, StoreFull) as error:
                    log.warning("worker pauses: %s", error)
                    self.leave.wait(PAUSE)

    def _orphaned(self) -> bool:
        return self._parent is not None and os.getppid() != self._parent

    def work(self) -> bool:
        """Does one job, here and now, if there is one; whether there was."""
        taken = self._take()
        if taken is not None:
            self._do(*taken)
        return taken is not None

    def _take(self) -> tuple[Job, Lane] | None:
        """The next job and its lane, if there is one for a free lane."""
        widest = self._lanes.widest()
        job = widest and self._store.claim(self._name, self._clock.now(), widest.most)
        return (job, self._lanes.enter(job.cost)) if job else None

    def _do(self, job: Job, lane: Lane) -> None:
        """Does a job, however it ends. Raises what is wrong with the disk or the database."""
        try:
            self._finish(job)
        except LostLease:
            log.info("job %s was deleted or taken over", job.id)
        except _Stopping:
            self._release(job)
        except (StoreFull, StoreBroken):
            if self._release(job):
                raise
        finally:
            self._lanes.leave(lane)
            self._ended.set()

    def _release(self, job: Job) -> bool:
        """Gives the job back; where not even that is possible, its lease runs out by itself.

        False when the job was deleted meanwhile: then its folder is gone, and nothing is wrong with the disk.
        """
        try:
            self._store.release(job)
        except LostLease:
            return False
        except ServiceError:
            log.warning("job %s could not be given back; its lease will run out", job.id)
        return True

    def _finish(self, job: Job) -> None:
        began = self._lanes.clock()
        self._folders.tidy(job.folder)
        outcome = self._made_before(job)
        seconds = None
        if outcome is None:
            try:
                outcome = self._make(job)
            except (ServiceError, _Stopping):
                raise
            except Exception as error:
                self._fail(job, error)
                return
            seconds = self._lanes.clock() - began
        self._store.finish(job, outcome, self._clock.now(), seconds)
        log.info("job %s is done", job.id)

    def _fail(self, job: Job, error: Exception) -> None:
        problem = problem_of(error)
        self._store.fail(job, problem, self._clock.now())
        log.info("job %s failed: %s", job.id, type(error).__name__)
        if not isinstance(error, RelumeError | MemoryError):
            log.error("an error inside relume in job %s", job.id, exc_info=error)

    def _made_before(self, job: Job) -> dict[str, Any] | None:
        """What an earlier worker had finished but could not report any more."""
        facts = self._folders.facts(job.folder, "result.json")
        parts = (facts or {}).get("parts", {})
        there = [self._folders.has(job.folder, parts[part]["file"]) for part in PARTS if part in parts]
        return facts if there and all(there) else None

    def _make(self, job: Job) -> dict[str, Any]:
        watch = _Watch(self, job)
        with _Heart(self._store, job, self._config, watch):
            data = self._folders.get(job.folder, job.request["upload"])
            picture = images.read(data, max_pixels=self._config.max_pixels)
            watch.preview = Preview(picture) if job.request["options"]["kind"] == "restore" else None
            return make(
                job,
                picture,
                self._folders,
                self._restorer,
                watch,
                run=self._scheduler.run,
                max_memory=self._config.max_memory,
            )

    def tell(self, job: Job, progress: dict[str, Any], preview: bytes | None) -> None:
        """Reports how far a job is."""
        self._store.beat(job)  # before anything is written for a job that may be gone
        if preview is not None:
            self._folders.write(job.folder, "preview.jpg", preview)
        self._store.beat(job, progress)


class _Stopping(Exception):
    """The worker was told to stop."""


class _Watch:
    """Sees every evaluation of one job: reports it, and ends the work when the job is not ours any more."""

    def __init__(self, worker: Worker, job: Job) -> None:
        self._worker, self._job = worker, job
        self._began = time.perf_counter()
        self._told = self._shown = float("-inf")  # the first moment is told and shown
        self._shows = 0
        self.preview: Preview | None = None
        self.moved = monotonic()
        self.lost = threading.Event()

    def __call__(self, moment: Moment) -> None:
        self.moved = monotonic()
        if self.lost.is_set():
            raise LostLease("the job was deleted, or is another worker's by now")
        if self._worker.stop.is_set():
            raise _Stopping
        if self.preview is not None and moment.step == moment.steps:
            self.preview.take(moment)
        if moment.done == 1 and moment.share == 1:
            return  # the result of a small picture is there sooner than a report would be written
        now = time.perf_counter()
        if now - self._told < TELL:
            return
        self._told = now
        picture = self._picture(now)
        self._worker.tell(self._job, self._progress(moment, now), picture)

    def _picture(self, now: float) -> bytes | None:
        if self.preview is None or now - self._shown < SHOW:
            return None
        self._shown = now
        self._shows += 1
        return self.preview.jpeg()

    def _progress(self, moment: Moment, now: float) -> dict[str, Any]:
        elapsed = now - self._began
        names = ("step", "steps", "tile", "tiles", "sample", "samples")
        return {
            **{name: getattr(moment, name) for name in names},
            "share": round(moment.share, 4),
            "eta": round(elapsed * (1 / moment.share - 1), 2),
            "preview": self._shows,
        }


class _Heart(threading.Thread):
    """Beats while the work moves, so that a long evaluation costs no lease; stops when nothing moves."""

    def __init__(self, store: Store, job: Job, config: Config, watch: _Watch) -> None:
        super().__init__(daemon=True, name="heart")
        self._store, self._job, self._config, self._watch = store, job, config, watch
        self._over = threading.Event()

    def __enter__(self) -> "_Heart":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(self._config.lease / 4):
            if monotonic() - self._watch.moved > self._config.stall:
                return
            try:
                self._store.beat(self._job)
            except LostLease:
                self._watch.lost.set()
                return
            except ServiceError:
                continue  # the next beat may come through before the lease is over
