"""Which job is next: small files before large ones, the oldest now and then, suspects apart.

A suspect is a job whose last lease ended without a word: its worker died, perhaps of this very document.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from sqlalchemy import ColumnElement, Select, and_, func, select
from sqlalchemy.orm import Session

from ingest.leases import Lease, at_once, now
from rag.store.session import Database
from rag.store.tables import IngestJob

Turn = Literal["smallest", "oldest", "suspect"]

SIZE_CLASSES: Final = (64 * 1024, 1024**2, 16 * 1024**2)
"""Files up to the first are of priority 0, up to the second of 1, and so on."""
OLDEST_EVERY = 4
"""One turn in so many goes to the oldest job whatever its size, so that none waits for ever."""
AHEAD = timedelta(minutes=10)
"""No wait and no lease is this long: a time further ahead was written before the clock was set back."""


def priority_of(size: int) -> int:
    """The class of a file of `size` bytes; smaller goes first."""
    return sum(size > limit for limit in SIZE_CLASSES)


def due(at: datetime | ColumnElement[datetime], turn: Turn) -> Select[IngestJob]:
    """The job whose turn it is at that time, of those that can be leased; of two alike the older one."""
    condition = _run_out(at) if turn == "suspect" else _waiting(at)
    order = (IngestJob.priority, IngestJob.id) if turn == "smallest" else (IngestJob.id,)
    return select(IngestJob).where(condition).order_by(*order).limit(1)


def has_suspect(db: Database) -> bool:
    """Whether a job waits whose worker died."""
    with db.glance() as session:
        return session.scalar(select(IngestJob.id).where(_run_out(at_once(session))).limit(1)) is not None


def is_outranked(db: Database, held: Lease) -> bool:
    """Whether a job of a smaller class waits."""
    if held.priority == 0:
        return False
    with db.glance() as session:
        smaller = _waiting(at_once(session)) & (IngestJob.priority < held.priority)
        return session.scalar(select(IngestJob.id).where(smaller).limit(1)) is not None


def length(db: Database, most: int) -> int:
    """How many jobs of the whole store wait for a worker; counts up to `most`."""
    with db.read() as session:
        found = select(IngestJob.id).where(IngestJob.status == "queued").limit(most).subquery()
        return session.scalar(select(func.count()).select_from(found)) or 0


def seconds_until_due(db: Database) -> float | None:
    """Seconds until a queued job is due (0 for one that is already); None when nothing is queued.

    A running job counts only once its lease ran out.
    """
    with db.read() as session:
        at = now(session)
        if any(session.scalar(due(at, turn)) is not None for turn in ("suspect", "smallest")):
            return 0.0
        earliest = session.scalar(
            select(IngestJob.not_before)
            .where(IngestJob.status == "queued")
            .order_by(IngestJob.not_before)
            .limit(1)
        )
        return None if earliest is None else max(0.0, (earliest - at).total_seconds())


@dataclass(frozen=True)
class QueueFigures:
    """The queue of the whole store, whichever processes work on it.

    `jobs` by status; `oldest_seconds` is how long the oldest job waits that could be taken, 0 without one;
    `lost` are running jobs whose worker has not been heard of until its lease ran out.
    """

    jobs: dict[str, int]
    oldest_seconds: float
    lost: int


def queue_figures(session: Session) -> QueueFigures:
    """Count the jobs; takes no lock."""
    at = now(session)
    counted = session.execute(select(IngestJob.status, func.count()).group_by(IngestJob.status))
    jobs = {str(status): int(count) for status, count in counted}
    oldest = session.scalar(select(func.min(IngestJob.updated_at)).where(_waiting(at)))
    lost = session.scalar(select(func.count()).select_from(IngestJob).where(_run_out(at))) or 0
    waited = 0.0 if oldest is None else max(0.0, (at - oldest).total_seconds())
    return QueueFigures(jobs, waited, lost)


def _waiting(at: datetime | ColumnElement[datetime]) -> ColumnElement[bool]:
    return and_(IngestJob.status == "queued", ~IngestJob.not_before.between(at, at + AHEAD))


def _run_out(at: datetime | ColumnElement[datetime]) -> ColumnElement[bool]:
    return and_(IngestJob.status == "running", ~IngestJob.lease_until.between(at, at + AHEAD))
