"""Read replicas: standbys of the database, and reading from one exactly where it has all that is needed.

What is published or deleted has a number, and commits happen in the order of their numbers. So a snapshot of
a standby that holds number n holds all of 1 to n, and whoever has read n from the primary may go on there.
That is compared inside the very snapshot that is then read. Nothing else decides: no clock, no measured lag.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar

from sqlalchemy import URL, Engine, column, create_engine, event, func, select, table
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

log = logging.getLogger(__name__)
T = TypeVar("T")

CONNECT_SECONDS = 2
QUEUE_SECONDS = 0.5
"""How long a connection is waited for while all are in use: the primary has some, too."""
STATEMENT_SECONDS = 5.0
"""So long one statement of a replica is waited for, also of one that stands still and says nothing."""
REST_SECONDS = (1.0, 2.0, 5.0, 15.0)
"""How long a replica that failed is left alone, the last again and again. Then one reader tries it."""
LOOK_SECONDS = 0.005
"""Between two looks at one that is behind, by who has patience."""

_STATE = table("store_state", column("identity"), column("change_seq"))
_STANDING = select(_STATE.c.identity, _STATE.c.change_seq)


@dataclass(frozen=True)
class Read(Generic[T]):
    """What was read from a replica."""

    value: T


@dataclass(frozen=True)
class Standing:
    """Whose a replica is, and the number of the last change that it has."""

    identity: str
    seq: int


class Replica:
    """One standby, and what is known of it."""

    def __init__(self, url: URL, options: dict[str, Any]) -> None:
        self.url = url
        self.engine: Engine = create_engine(url, **{**options, "pool_timeout": QUEUE_SECONDS})
        event.listen(self.engine, "do_connect", _connect)
        reading = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._snapshot = sessionmaker(reading, expire_on_commit=False)
        self._failures = 0
        self._until = 0.0
        self._trying = threading.Lock()

    @property
    def name(self) -> str:
        """Its address without a password, for logs and people."""
        return self.url.render_as_string(hide_password=True)

    def standing(self) -> Standing:
        """Raises sqlalchemy.exc.DBAPIError where it can't be asked."""
        with self._snapshot.begin() as session:
            return Standing(*session.connection().execute(_STANDING).one())

    def is_standby(self) -> bool:
        """Whether it replays what a primary sends. Raises as `standing`."""
        with self._snapshot.begin() as session:
            return bool(session.scalar(select(func.pg_is_in_recovery())))

    def attempt(
        self, identity: str, seq: int, work: Callable[[Session], T], patience: float
    ) -> Read[T] | None:
        """What `work` reads, or None where it has to be read elsewhere."""
        suspect = self._failures > 0
        if suspect and (time.monotonic() < self._until or not self._trying.acquire(blocking=False)):
            return None
        try:
            found = self._attempt(identity, seq, work, patience)
        except PoolTimeout:  # so many read it already
            return None
        except (DBAPIError, ForeignReplica) as error:
            self._rest(error)
            return None
        except (
            Exception
        ) as error:  # such as a collection that is not there yet; the primary has the last word
            log.debug("%s could not say: %s", self.name, error)
            return None
        finally:
            if suspect:
                self._trying.release()
        if self._failures:
            log.info("the replica %s answers again", self.name)
        self._failures = 0
        return found

    def _attempt(
        self, identity: str, seq: int, work: Callable[[Session], T], patience: float
    ) -> Read[T] | None:
        deadline = time.monotonic() + patience
        while True:
            with self._snapshot.begin() as session:
                row = session.connection().execute(_STANDING).one()
                if row.identity != identity:
                    raise ForeignReplica(f"{self.name} is a copy of another store")
                if row.change_seq >= seq:
                    return Read(work(session))
            if time.monotonic() >= deadline:
                return None
            time.sleep(LOOK_SECONDS)

    def _rest(self, error: Exception) -> None:
        pause = REST_SECONDS[min(self._failures, len(REST_SECONDS) - 1)]
        if not self._failures:
            log.warning("the replica %s fails, the primary is read instead: %s", self.name, error)
        self._failures += 1
        self._until = time.monotonic() + pause


class ForeignReplica(Exception):
    """A database that is no copy of the primary."""


class Replicas:
    """All standbys; they are asked in turn."""

    def __init__(self, urls: Sequence[URL], options: dict[str, Any]) -> None:
        """Connects to none yet."""
        self.all = [Replica(url, options) for url in urls]
        self._turn = 0

    def attempt(
        self, identity: str, seq: int, work: Callable[[Session], T], patience: float
    ) -> Read[T] | None:
        """What `work` reads from one snapshot of a replica of the store `identity` that has all changes up to
        number `seq`; None where none has them after `patience` seconds, or `work` failed there."""
        self._turn += 1  # that two threads may take the same one does no harm
        first = self._turn % len(self.all)
        for replica in self.all[first:] + self.all[:first]:
            found = replica.attempt(identity, seq, work, patience)
            if found is not None:
                return found
        return None

    def dispose(self) -> None:
        """Close every pooled connection."""
        for replica in self.all:
            replica.engine.dispose()


def _connect(_dialect: object, _record: object, arguments: Any, named: dict[str, Any]) -> object:
    return _impatient().connect(*arguments, **{**named, "connect_timeout": CONNECT_SECONDS})


@cache
def _impatient() -> Any:
    """psycopg's connection, with an end to each wait: no keepalive notices a server that stands still."""
    import psycopg  # noqa: PLC0415 (an extra)

    class Impatient(psycopg.Connection[Any]):
        def wait(self, gen: Any, *arguments: Any, **named: Any) -> Any:
            try:
                return super().wait(_ending(gen), *arguments, **named)
            except _Silent:
                self.pgconn.finish()  # what it may still say belongs to nobody
                raise psycopg.OperationalError(f"no answer within {STATEMENT_SECONDS:.0f} s") from None

    return Impatient


class _Silent(Exception):
    pass


def _ending(waiting: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """The same steps; it fails where nothing came until the time is over."""
    ends = time.monotonic() + STATEMENT_SECONDS
    try:
        wanted = next(waiting)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > ends:
                raise _Silent
            wanted = waiting.send(ready)
    except StopIteration as done:
        return done.value
