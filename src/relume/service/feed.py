r"""Following jobs: one look at the table serves all who wait."""

__all__ = ["Feed"]

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator

from starlette.concurrency import run_in_threadpool

from relume.errors import RelumeError
from relume.service.store import Job, Store

EVERY = 0.15  # seconds


class Feed:
    """Tells followers what has changed about their jobs, several times a second, while there are any."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._followed: Counter[str] = Counter()
        self._asked: set[str] = set()
        self._latest: dict[str, Job] = {}
        self._error: RelumeError | None = None
        self._tick = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def followers(self, id: str) -> int:
        """How many follow this job now."""
        return self._followed[id]

    async def follow(self, id: str) -> AsyncGenerator[Job | None, None]:
        """The job, at every look; None when there is none (any more). Ends after the last change.

        Raises
        ------
        StoreFull, StoreBroken
            The table cannot be read.
        """
        self._followed[id] += 1
        try:
            while True:
                if self._task is None or self._task.done():
                    self._task = asyncio.create_task(self._look())
                await self._tick.wait()
                if id not in self._asked:
                    continue  # that look had begun before we came
                if self._error is not None:
                    raise self._error
                job = self._latest.get(id)
                yield job
                if job is None or job.over:
                    return
        finally:
            self._followed[id] -= 1
            if self._followed[id] <= 0:
                del self._followed[id]

    async def _look(self) -> None:
        while self._followed:
            asked = set(self._followed)
            try:
                self._latest = await run_in_threadpool(self._store.many, asked)
                self._error = None
            except RelumeError as error:
                self._error = error
            self._asked = asked
            tick, self._tick = self._tick, asyncio.Event()
            tick.set()
            await asyncio.sleep(EVERY)
