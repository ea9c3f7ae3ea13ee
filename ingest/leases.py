"""The right to work on a job: who holds it, how long, and the fence that every write of the work passes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, DateTime, and_, func, select, update
from sqlalchemy.orm import Session

from rag.errors import LongleafError
from rag.store.scope import Scope, utc_now
from rag.store.session import CLOCK, Database
from rag.store.tables import Document, IngestJob, Utc

LEASE_SECONDS = 30.0


class LeaseLost(LongleafError):
    """The job is not this worker's any more; what it holds in memory is to be dropped."""

    status = 409
    default_code = "lease_lost"


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on one job, as long as `token` stands in its row."""

    job_id: str
    document_id: str
    collection_id: str
    scope: Scope
    generation: int
    attempt: int
    token: str
    priority: int = 0


def now(session: Session) -> datetime:
    """The time that leases and waits go by. Several hosts share a PostgreSQL, so its clock decides there."""
    clock: Callable[[], datetime] | None = session.info.get(CLOCK)
    if clock is not None:
        return clock()
    if session.get_bind().dialect.name == "postgresql":
        return session.scalars(select(func.clock_timestamp(type_=Utc()))).one()
    return utc_now()


def at_once(session: Session) -> datetime | ColumnElement[datetime]:
    """The same time for a statement that the database runs: it need not be asked for it first."""
    if session.info.get(CLOCK) is None and session.get_bind().dialect.name == "postgresql":
        return func.clock_timestamp(type_=DateTime(timezone=True))
    return now(session)


def renew(db: Database, held: Lease, *, seconds: float = LEASE_SECONDS) -> bool:
    """Prolong the lease; False when it is lost."""
    with db.session() as session:
        until = now(session) + timedelta(seconds=seconds)
        changed = session.execute(update(IngestJob).where(_held(held)).values(lease_until=until))
        return cast("CursorResult[Any]", changed).rowcount == 1


def renew_all(db: Database, held: Iterable[Lease], *, seconds: float = LEASE_SECONDS) -> list[Lease]:
    """Prolong many leases in one transaction; returns those that are lost."""
    lost = []
    with db.session() as session:
        until = now(session) + timedelta(seconds=seconds)
        for lease in sorted(
            held, key=lambda each: each.job_id
        ):  # in one order: two of these never wait in a ring
            changed = session.execute(update(IngestJob).where(_held(lease)).values(lease_until=until))
            if cast("CursorResult[Any]", changed).rowcount != 1:
                lost.append(lease)
    return lost


def is_held(db: Database, held: Lease) -> bool:
    """Whether the lease still stands; takes no lock."""
    with db.glance() as session:
        return session.scalar(select(IngestJob.id).where(_held(held))) is not None


@contextmanager
def fenced(db: Database, held: Lease) -> Iterator[Session]:
    """A write transaction for the holder of a lease; the document stays locked to its end.

    Raises LeaseLost when the lease went to another, the job was cancelled or the document deleted.
    """
    with db.session() as session:
        # Both by one statement, the document first: it is the first in FROM, in which order rows are locked.
        # Whoever changed either meanwhile is waited for, and what is then in the rows is compared again.
        both = (
            select(IngestJob.id)
            .select_from(Document)
            .join(IngestJob, IngestJob.document_id == Document.id)
            .where(
                Document.id == held.document_id,
                Document.workspace_id == held.scope.workspace_id,
                _held(held),
            )
            .with_for_update()
        )
        if session.scalar(both) is None:
            raise LeaseLost(
                f"job {held.job_id} was cancelled or went to another worker, or its document "
                f"{held.document_id} was deleted"
            )
        yield session


def checkpoint(session: Session, held: Lease) -> None:
    """Note progress that survives a crash, so that the attempts before it don't count. Inside `fenced`."""
    session.execute(
        update(IngestJob).where(_held(held)).values(attempts=1, waits=0, updated_at=at_once(session))
    )


def _held(held: Lease) -> ColumnElement[bool]:
    return and_(
        IngestJob.id == held.job_id, IngestJob.lease_owner == held.token, IngestJob.status == "running"
    )
