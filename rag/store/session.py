"""One database: its engine, its write sessions and its read snapshots, alike on SQLite and PostgreSQL."""

from __future__ import annotations

import select
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import (
    ArgumentError,
    InterfaceError,
    InvalidatePoolError,
    NoSuchModuleError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

from rag.errors import LongleafError, Unavailable
from rag.store.replicas import Replicas

T = TypeVar("T")

BUSY_SECONDS = 30.0
IDLE_SECONDS = 1.0
"""A connection to PostgreSQL that lay unused for longer is tried before it is used."""
_READ = "longleaf_read"
_QUERY_ONLY = "longleaf_query_only"
_USED = "longleaf_used"
# libpq has no code for what a server says before a session begins
_FULL = (
    "too many clients already",
    "remaining connection slots are reserved",
    "too many connections for",
    "no more connections allowed",
)
CLOCK = "longleaf_clock"
"""Key of a session's `info` under which a database of its own time keeps its clock."""


@dataclass(frozen=True)
class Pool:
    """Connections of one process to one PostgreSQL, and how long it waits for them, in seconds.

    Up to `kept` stay open; `extra` ones are opened while so many are needed. With `pooler` one in transaction
    mode stands before the server, so that nothing may be left behind in a session.
    """

    kept: int = 10
    extra: int = 20
    wait: float = 10.0
    connect: float = 10.0
    pooler: bool = False


class BadDatabaseUrl(LongleafError):
    """The database URL can't be used; the message says what would do."""

    default_code = "bad_database_url"


def normalise_url(url: str) -> URL:
    """Parse `url` and name the driver: `postgresql://` and `postgres://` become `postgresql+psycopg://`.

    Raises BadDatabaseUrl for another database, an in-memory SQLite or text that is no URL.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise BadDatabaseUrl(
            "the database URL can't be parsed; use sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"
        ) from error
    if parsed.drivername in {"postgresql", "postgres"}:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername in {"sqlite", "sqlite+pysqlite"}:
        if parsed.database in {None, "", ":memory:"}:
            raise BadDatabaseUrl(
                "SQLite in memory loses every document at the end; name a file: sqlite:////absolute/path.db"
            )
        return parsed
    if parsed.drivername == "postgresql+psycopg":
        return parsed
    raise BadDatabaseUrl(
        f"database kind {parsed.drivername!r} is not supported; use sqlite:///FILE or postgresql://…"
    )


class Database:
    """A pool of connections to one store; safe to share between threads.

    SQLite runs in WAL mode with synchronous=FULL: what was acknowledged survives a loss of power. Deleted
    bytes are overwritten (secure_delete). Writers begin with BEGIN IMMEDIATE: none fails half-way for a lock.
    On PostgreSQL writers are READ COMMITTED and readers a REPEATABLE READ, READ ONLY snapshot.
    """

    def __init__(
        self,
        url: str,
        *,
        pool: Pool | None = None,
        replicas: Sequence[str] = (),
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        """Make the pool without connecting. `replicas` are URLs of standbys, each with a pool of its own;
        `clock` is the time that leases run by, in simulations.

        Raises BadDatabaseUrl, also when psycopg is not installed, and for replicas of SQLite.
        """
        pool = pool or Pool()
        self.url = normalise_url(url)
        self.dialect: Literal["sqlite", "postgresql"] = (
            "sqlite" if self.url.get_backend_name() == "sqlite" else "postgresql"
        )
        self.pool = pool
        options: dict[str, Any] = {
            "pool_size": pool.kept,
            "max_overflow": pool.extra,
            "pool_timeout": pool.wait,
            "connect_args": {"connect_timeout": max(1, round(pool.connect))},
        }
        if pool.pooler:
            options["connect_args"]["prepare_threshold"] = None
        if self.dialect == "sqlite":
            options["connect_args"] = {"timeout": BUSY_SECONDS}
            Path(str(self.url.database)).parent.mkdir(parents=True, exist_ok=True)
        try:
            self.engine: Engine = create_engine(self.url, **options)
            self.replicas = _replicas(self.url, replicas, options)
        except (ModuleNotFoundError, NoSuchModuleError) as error:
            raise BadDatabaseUrl(
                "PostgreSQL needs psycopg, which is not installed: pip install 'longleaf[postgres]'"
            ) from error
        self._identity: str | None = None
        self._was_there = False
        # Threads of one process wait for each other here, in turn: SQLite's own wait can starve one.
        self._writer = threading.Lock()
        if self.dialect == "sqlite":
            event.listen(self.engine, "do_connect", self._refuse_missing)
            event.listen(self.engine, "connect", _configure_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
            readers = self.engine.execution_options(**{_READ: "BEGIN"})
            glances = self.engine.execution_options(**{_READ: ""})
        else:
            event.listen(self.engine, "checkin", _note_use)
            event.listen(self.engine, "checkout", self._try_unused)
            readers = self.engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
            glances = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        info = {} if clock is None else {CLOCK: clock}
        self._write = sessionmaker(self.engine, expire_on_commit=False, info=info)
        self._read = sessionmaker(readers, expire_on_commit=False, info=info)
        self._glance = sessionmaker(glances, expire_on_commit=False, info=info)

    def _refuse_missing(self, *_: object) -> None:
        """A file that was there and is gone is not made anew: it may come back, with all that is in it."""
        if self._was_there and not Path(str(self.url.database)).exists():
            raise sqlite3.OperationalError(f"the file {self.url.database} is gone")
        self._was_there = True

    def _try_unused(self, connection: Any, record: Any, _proxy: object) -> None:
        """Make sure that a server is at the other end, asking it only where that is in doubt.

        A server that went away has closed the connection, which is seen without a message: something can be
        read from it.
        """
        unused = time.monotonic() - record.info.get(_USED, time.monotonic())
        waiting = select.poll()
        try:
            waiting.register(connection.fileno(), select.POLLIN)
            if unused >= IDLE_SECONDS or waiting.poll(0):
                self.engine.dialect.do_ping(connection)
        except self.engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A write transaction: committed at the end of the block, rolled back if it raises.

        Keep it short and don't nest it: on SQLite there is one writer at a time.
        Raises Unavailable (`database_unavailable`) when the server is gone, the disk is full or the
        lock is held too long.
        """
        if self.dialect == "sqlite" and not self._writer.acquire(timeout=BUSY_SECONDS):
            raise Unavailable(
                f"the database stayed locked for {BUSY_SECONDS:.0f} s; try again", code="database_unavailable"
            )
        try:
            with _translated(), self._write.begin() as session:
                yield session
        finally:
            if self.dialect == "sqlite":
                self._writer.release()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One consistent snapshot; never waits for writers, and can't write."""
        with _translated(), self._read.begin() as session:
            yield session

    @contextmanager
    def glance(self) -> Iterator[Session]:
        """For a single statement that reads: it sees one state by itself, so no transaction is begun for it.

        On PostgreSQL that saves two messages of three.
        """
        with _translated(), self._glance.begin() as session:
            yield session

    def reading(
        self, seq: int, work: Callable[[Session], T], *, patience: float = 0.0, alone: bool = False
    ) -> T:
        """What `work` reads from one snapshot in which all changes up to number `seq` are: a replica's, where
        one has them within `patience` seconds, else the primary's.

        Only what changes with a number may be read so: live documents, their texts, pages, chunks and names.
        `alone`: each statement of `work` may see a moment of its own, which spares a transaction. `work` may
        be called again, on the primary, after it failed on a replica. Raises what `work` raises.
        """
        if self.replicas is not None and seq > 0:
            if self._identity is None:
                with self.glance() as session:
                    self._identity = session.scalar(text("SELECT identity FROM store_state"))
            found = self.replicas.attempt(str(self._identity), seq, work, patience)
            if found is not None:
                return found.value
        with self.glance() if alone else self.read() as session:
            return work(session)

    def scrub(self, patience: float = 5.0) -> bool:
        """Take what was deleted out of SQLite's write-ahead log; True when nothing of it is left there.

        A reader on an older snapshot holds the log back; then False after `patience` seconds, and the next
        call finishes the work. PostgreSQL recycles its own log: always True. Raises Unavailable.
        """
        if self.dialect != "sqlite":
            return True
        deadline = time.monotonic() + patience
        while True:
            with _translated(), self._writer:
                raw = self.engine.raw_connection()
                try:
                    cursor = raw.cursor()
                    cursor.execute("PRAGMA busy_timeout = 100")
                    busy = bool(cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])
                    cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
                finally:
                    raw.close()
            if not busy or time.monotonic() > deadline:
                return not busy
            time.sleep(0.05)

    def dispose(self) -> None:
        """Close every pooled connection; the object can be used again afterwards."""
        self.engine.dispose()
        if self.replicas is not None:
            self.replicas.dispose()


def _replicas(primary: URL, urls: Sequence[str], options: dict[str, Any]) -> Replicas | None:
    if not urls:
        return None
    parsed = [normalise_url(url) for url in urls]
    if any(url.get_backend_name() != "postgresql" for url in (primary, *parsed)):
        raise BadDatabaseUrl("replicas are standbys of a PostgreSQL; SQLite has none")
    return Replicas(parsed, options)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise Unavailable(
            "all of this process's connections to the database are in use, and none became free in time; try "
            "again, or raise LONGLEAF_DATABASE_POOL_EXTRA",
            code="database_unavailable",
        ) from error
    except (OperationalError, InterfaceError, sqlite3.OperationalError) as error:
        cause = error if isinstance(error, sqlite3.Error) else error.orig
        if any(words in str(cause) for words in _FULL):
            raise Unavailable(
                "the database takes no more connections; try again, raise its max_connections, or lower "
                "LONGLEAF_DATABASE_POOL and LONGLEAF_DATABASE_POOL_EXTRA",
                code="database_unavailable",
            ) from error
        raise Unavailable(
            f"the database did not do its part ({cause}); try again", code="database_unavailable"
        ) from error


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # The driver's own BEGIN comes too late and is always deferred: `_begin_sqlite` sends ours.
    connection.isolation_level = None
    cursor = connection.cursor()
    _enter_wal(cursor)
    for pragma in ("foreign_keys = ON", "synchronous = FULL", "secure_delete = ON", "temp_store = MEMORY"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _enter_wal(cursor: sqlite3.Cursor) -> None:
    # Two processes that start at once: the switch needs the file alone and does not wait by itself.
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            if cursor.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
                return
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _begin_sqlite(connection: Connection) -> None:
    # By the driver itself, and only what changes: three of these stand before each search.
    raw = cast(sqlite3.Connection, connection.connection.driver_connection)
    begin = connection.get_execution_options().get(_READ)
    mode = "OFF" if begin is None else "ON"
    if connection.info.get(_QUERY_ONLY) != mode:
        raw.execute(f"PRAGMA query_only = {mode}")
        connection.info[_QUERY_ONLY] = mode
    statement = "BEGIN IMMEDIATE" if begin is None else begin
    if statement:
        raw.execute(statement)


def _note_use(_connection: object, record: Any) -> None:
    record.info[_USED] = time.monotonic()
