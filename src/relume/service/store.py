r"""The job table: which jobs there are, who works on them, and what became of them.

.. code-block:: text

    queued ──claim──▶ running ──finish──▶ done
       ▲                 │ ──fail──────▶ failed
       └──expire/release─┘                 └──submit again──▶ queued          delete: the row is gone

A job in ``running`` belongs to the worker that holds its ``token``. Whoever writes on its behalf shows the
token; after the lease was lost nothing can be written with it any more, so that two workers that believe in
the same job still give one result.
"""

__all__ = ["Job", "Lease", "Store"]

import json
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Update, case, delete, func, insert, select, true, update

from relume.errors import Busy, LostLease, NoSuchJob
from relume.service.schema import FACTS, JOBS, connect, failures, serialise

WAITING = ("queued", "running")
_WEIGHT = 0.3  # of the newest job in the measured rate
_FIRST_RATE = 1e6  # pixels × evaluations a second, until one was measured


@dataclass(frozen=True)
class Job:
    """One row. Times are seconds since 1970; ``cost`` is pixels × evaluations."""

    id: str
    folder: str
    state: str
    cost: int
    request: dict[str, Any]
    created: float
    started: float | None
    ended: float | None
    attempts: int
    token: str | None
    worker: str | None
    beat: int
    progress: dict[str, Any] | None
    outcome: dict[str, Any] | None

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state not in WAITING


@dataclass(frozen=True)
class Lease:
    """Who works on what, and how often he has said so."""

    id: str
    token: str
    worker: str
    beat: int


class Store:
    """The table behind a database URL. Safe to use from several threads and processes.

    Raises
    ------
    StoreFull, StoreBroken
        From every method, when the database is out of room or cannot be used.
    """

    def __init__(self, url: str) -> None:
        self._engine = connect(url)
        self._reader = self._engine.execution_options(relume_reading=True)

    def close(self) -> None:
        """Closes all connections."""
        self._engine.dispose()

    def submit(
        self,
        id: str,
        *,
        folder: str,
        request: dict[str, Any],
        cost: int,
        now: float,
        limit: int,
        workers: int = 1,
    ) -> tuple[Job, bool]:
        """Puts a job into the queue; returns it, and whether it is new.

        A job of that id that waits, runs or is done is returned as it is. One that failed begins anew.

        Raises
        ------
        Busy
            When more than ``limit`` of work would wait.
        """
        with self._writing() as connection:
            serialise(connection)
            there = _one(connection, id)
            if there is not None and there.state != "failed":
                return there, False
            self._check_room(connection, cost, limit, workers)
            connection.execute(delete(JOBS).where(JOBS.c.id == id))
            values = {"id": id, "folder": folder, "state": "queued", "cost": cost, "created": now}
            values |= {"request": json.dumps(request, sort_keys=True), "attempts": 0, "beat": 0}
            connection.execute(insert(JOBS).values(**values))
            made = _one(connection, id)
            assert made is not None
            return made, True

    def check_room(self, cost: int, limit: int, workers: int = 1) -> None:
        """Raises :class:`Busy` when so much work would not fit into the queue."""
        with self._reading() as connection:
            self._check_room(connection, cost, limit, workers)

    def _check_room(self, connection: Connection, cost: int, limit: int, workers: int) -> None:
        waiting = _waiting(connection)
        # One job always fits into an empty queue, however large it is.
        if waiting and waiting + cost > limit:
            seconds = max(1.0, (waiting + cost - limit) / (_rate(connection) * max(1, workers)))
            raise Busy(f"the queue is full: try again in {seconds:.0f} s", seconds)

    def get(self, id: str) -> Job:
        """The job.

        Raises
        ------
        NoSuchJob
            There is none of that id.
        """
        with self._reading() as connection:
            found = _one(connection, id)
        if found is None:
            raise NoSuchJob("there is no such job: it was deleted, its time is over, or it never was")
        return found

    def many(self, ids: Iterable[str]) -> dict[str, Job]:
        """Those of the jobs that there are."""
        with self._reading() as connection:
            rows = connection.execute(select(JOBS).where(JOBS.c.id.in_(list(ids))))
            return {job.id: job for job in map(_job, rows)}

    def folders(self) -> set[str]:
        """The folders that belong to jobs."""
        with self._reading() as connection:
            return set(connection.execute(select(JOBS.c.folder)).scalars())

    def claim(self, worker: str, now: float, most: int | None = None) -> Job | None:
        """Takes the oldest job of the queue, for this worker alone; None where none waits.

        ``most`` bounds its cost.
        """
        oldest = (
            select(JOBS.c.id)
            .where(JOBS.c.state == "queued", true() if most is None else JOBS.c.cost <= most)
            .order_by(JOBS.c.created, JOBS.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
        taken = (
            update(JOBS)
            .where(JOBS.c.id == oldest, JOBS.c.state == "queued")
            .values(state="running", token=secrets.token_hex(16), worker=worker, started=now, progress=None)
            .values(attempts=JOBS.c.attempts + 1, beat=JOBS.c.beat + 1)
            .returning(JOBS)
        )
        with self._writing() as connection:
            row = connection.execute(taken).first()
            return None if row is None else _job(row)

    def beat(self, job: Job, progress: dict[str, Any] | None = None) -> None:
        """Says that the worker lives, and how far it is.

        Raises
        ------
        LostLease
            The job was deleted, or is another worker's.
        """
        change = _held(job).values(beat=JOBS.c.beat + 1)
        self._change(change if progress is None else change.values(progress=json.dumps(progress)))

    def finish(self, job: Job, outcome: dict[str, Any], now: float, seconds: float | None = None) -> None:
        """The job is done. ``seconds``, if it was worked on, goes into the measured rate.

        Raises
        ------
        LostLease
            As for :meth:`beat`.
        """
        with self._writing() as connection:
            serialise(connection)
            _apply(connection, _ended(job, "done", outcome, now))
            if seconds is not None and seconds > 0:
                old = _fact(connection, "rate")
                new = job.cost / seconds
                _set_fact(connection, "rate", new if old is None else old + _WEIGHT * (new - old))
            _set_fact(connection, "jobs_done", (_fact(connection, "jobs_done") or 0) + 1)

    def fail(self, job: Job, outcome: dict[str, Any], now: float) -> None:
        """The job cannot be done. Raises :class:`LostLease` as :meth:`beat` does."""
        with self._writing() as connection:
            serialise(connection)
            _apply(connection, _ended(job, "failed", outcome, now))
            _set_fact(connection, "jobs_failed", (_fact(connection, "jobs_failed") or 0) + 1)

    def release(self, job: Job) -> None:
        """Back into the queue, through no fault of the job. Raises :class:`LostLease` like :meth:`beat`."""
        back = _held(job).values(state="queued", token=None, worker=None, progress=None)
        self._change(back.values(attempts=JOBS.c.attempts - 1))

    def leases(self) -> list[Lease]:
        """All jobs that are being worked on."""
        columns = (JOBS.c.id, JOBS.c.token, JOBS.c.worker, JOBS.c.beat)
        with self._reading() as connection:
            rows = connection.execute(select(*columns).where(JOBS.c.state == "running")).all()
        return [Lease(*row) for row in rows]

    def expire(self, lease: Lease, *, attempts: int, problem: dict[str, Any], now: float) -> bool:
        """Takes a job from a worker that is dead; whether it still was its.

        The job goes back into the queue, or fails with ``problem`` where so many workers have died on it.
        """
        spent = JOBS.c.attempts >= attempts
        change = (
            update(JOBS)
            .where(JOBS.c.id == lease.id, JOBS.c.token == lease.token, JOBS.c.beat == lease.beat)
            .values(token=None, worker=None, progress=None)
            .values(state=case((spent, "failed"), else_="queued"), ended=case((spent, now)))
            .values(outcome=case((spent, json.dumps(problem))))
        )
        with self._writing() as connection:
            return connection.execute(change).rowcount > 0

    def delete(self, id: str) -> Job:
        """Takes the row away, at once and in whatever state; returns what it was.

        Raises
        ------
        NoSuchJob
            There is none of that id.
        """
        with self._writing() as connection:
            row = connection.execute(delete(JOBS).where(JOBS.c.id == id).returning(JOBS)).first()
        if row is None:
            raise NoSuchJob("there is no such job: it was deleted, its time is over, or it never was")
        return _job(row)

    def delete_ended(self, before: float) -> list[str]:
        """Takes away all that ended before a time; returns the folders."""
        old = delete(JOBS).where(JOBS.c.state.in_(("done", "failed")), JOBS.c.ended < before)
        with self._writing() as connection:
            return list(connection.execute(old.returning(JOBS.c.folder)).scalars())

    def counts(self) -> dict[str, int]:
        """How many jobs there are in each state."""
        with self._reading() as connection:
            found = connection.execute(select(JOBS.c.state, func.count()).group_by(JOBS.c.state)).all()
        return {"queued": 0, "running": 0, "done": 0, "failed": 0} | {state: count for state, count in found}

    def waiting(self, before: Job | None = None) -> int:
        """The work that waits or runs, in pixels × evaluations; ``before`` a job, where one is given."""
        with self._reading() as connection:
            return _waiting(connection, before)

    def rate(self) -> float:
        """Pixels × evaluations a second of one worker, as measured on the latest jobs."""
        with self._reading() as connection:
            return _rate(connection)

    def fact(self, name: str) -> float | None:
        """A number that was set by :meth:`set_fact`."""
        with self._reading() as connection:
            return _fact(connection, name)

    def set_fact(self, name: str, value: float) -> None:
        """Keeps a number."""
        with self._writing() as connection:
            serialise(connection)
            _set_fact(connection, name, value)

    def _change(self, change: Update) -> None:
        with self._writing() as connection:
            _apply(connection, change)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with failures(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with failures(), self._reader.begin() as connection:
            yield connection


def _one(connection: Connection, id: str) -> Job | None:
    row = connection.execute(select(JOBS).where(JOBS.c.id == id)).first()
    return None if row is None else _job(row)


def _job(row: Row[Any]) -> Job:
    facts = dict(row._mapping)
    for name in ("request", "progress", "outcome"):
        facts[name] = None if facts[name] is None else json.loads(facts[name])
    return Job(**facts)


def _held(job: Job) -> Update:
    return update(JOBS).where(JOBS.c.id == job.id, JOBS.c.token == job.token)


def _ended(job: Job, state: str, outcome: dict[str, Any], now: float) -> Update:
    change = _held(job).values(state=state, token=None, worker=None, progress=None, ended=now)
    return change.values(outcome=json.dumps(outcome, sort_keys=True))


def _apply(connection: Connection, change: Update) -> None:
    if connection.execute(change).rowcount == 0:
        raise LostLease("the job was deleted, or is another worker's by now")


def _waiting(connection: Connection, before: Job | None = None) -> int:
    query = select(func.coalesce(func.sum(JOBS.c.cost), 0)).where(JOBS.c.state.in_(WAITING))
    if before is not None:
        query = query.where((JOBS.c.state == "running") | (JOBS.c.created < before.created))
    return int(connection.execute(query).scalar_one())


def _rate(connection: Connection) -> float:
    return _fact(connection, "rate") or _FIRST_RATE


def _fact(connection: Connection, name: str) -> float | None:
    return connection.execute(select(FACTS.c.value).where(FACTS.c.name == name)).scalar()


def _set_fact(connection: Connection, name: str, value: float) -> None:
    if connection.execute(update(FACTS).where(FACTS.c.name == name).values(value=value)).rowcount == 0:
        connection.execute(insert(FACTS).values(name=name, value=value))
