r"""The job table, and how SQLite and PostgreSQL are opened for it."""

__all__ = ["FACTS", "JOBS", "connect", "failures", "serialise", "sqlite_file", "sqlite_whole"]

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    func,
    make_url,
    select,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from relume.errors import MissingExtra, StoreBroken, StoreFull, UsageError

METADATA = MetaData()

JOBS = Table(
    "relume_jobs",
    METADATA,
    Column("id", String(32), primary_key=True),  # the idempotency key: one request, one row
    Column("folder", String(32), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("cost", BigInteger, nullable=False),
    Column("request", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("started", Float),
    Column("ended", Float),
    Column("attempts", Integer, nullable=False),
    Column("token", String(32)),  # of the lease: whoever holds another one may write nothing
    Column("worker", String(128)),
    Column("beat", BigInteger, nullable=False),
    Column("progress", Text),
    Column("outcome", Text),
    Index("relume_jobs_queue", "state", "created"),
)

FACTS = Table(
    "relume_facts",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("value", Float, nullable=False),
)

_LOCK = 0x72656C75  # any number that is ours: PostgreSQL's advisory lock
_BUSY_MS = 20_000
_NO_ROOM = ("database or disk is full", "no space left", "could not extend file", "disk full")


def connect(url: str) -> Engine:
    """Opens the database and makes the tables if they are missing.

    Raises
    ------
    UsageError
        The URL is none, or of another kind of database.
    MissingExtra
        PostgreSQL's driver is not installed.
    StoreBroken, StoreFull
        It cannot be reached, read or written.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise UsageError("the database is given as sqlite:///FILE or postgresql://USER@HOST/NAME") from error
    kind = parsed.get_backend_name()
    if kind not in ("sqlite", "postgresql"):
        raise UsageError(f"{kind} is not supported: give sqlite:///FILE or postgresql://USER@HOST/NAME")
    if kind == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    try:
        engine = create_engine(parsed, pool_pre_ping=kind == "postgresql")
    except ModuleNotFoundError as error:
        raise MissingExtra("PostgreSQL", "postgres") from error
    except (NoSuchModuleError, SQLAlchemyError) as error:
        raise UsageError("the database URL cannot be used") from error
    if kind == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    with failures(), engine.begin() as connection:
        serialise(connection)
        METADATA.create_all(connection)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say so, not where the driver guesses
    for pragma in (f"busy_timeout={_BUSY_MS}", "synchronous=FULL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")
    _write_ahead(connection)


def _write_ahead(connection: Any) -> None:
    """Changes to the write-ahead log, for which SQLite itself waits for nobody."""
    deadline = time.monotonic() + _BUSY_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _begin_sqlite(connection: Connection) -> None:
    reading = connection.get_execution_options().get("relume_reading", False)
    # A reader that turns into a writer half-way would fail on a busy database: writers say so first.
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def serialise(connection: Connection) -> None:
    """No other writer of ours runs from here until this transaction ends. SQLite's writers always wait."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite URL; None for anything else."""
    parsed = make_url(url)
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


def sqlite_whole(path: Path) -> bool:
    """Whether a SQLite file, where there is one, is sound."""
    if not path.exists():
        return True
    try:
        with closing(sqlite3.connect(path, timeout=_BUSY_MS / 1000)) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
    except sqlite3.OperationalError as error:
        raise StoreBroken(f"the job table cannot be opened ({error})") from error
    except sqlite3.DatabaseError:
        return False


@contextmanager
def failures() -> Iterator[None]:
    """Maps what the drivers raise to :class:`StoreFull` and :class:`StoreBroken`; no statement is shown."""
    try:
        yield
    except DBAPIError as error:
        text = str(error.orig).lower()
        if any(phrase in text for phrase in _NO_ROOM):
            raise StoreFull("no room is left for jobs: free the disk, or try again later") from error
        raise StoreBroken(
            f"the job table cannot be used ({type(error.orig).__name__}): a restart mends a broken file"
        ) from error
