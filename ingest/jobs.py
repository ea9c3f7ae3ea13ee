"""The life of an ingest job: one state machine, each transition a function of this file.

    queued ──lease──▶ running ──complete──▶ done
      ▲  ▲               │ ├────fail──────▶ failed ─────┐
      │  └─postpone──────┤ └────cancel────▶ cancelled ──┤ retry
      │    release       │                      ▲       │
      ├──────cancel──────┼──────────────────────┘       │
      └──────────────────┼──────────────────────────────┘
                         └─lease (another worker, once the lease ran out)

Whoever works on a job holds a lease, named by a token that no other lease ever has. Every write of the work
goes through `fenced`, which checks the token inside the same transaction: a worker that was overtaken,
cancelled or whose document was deleted can change nothing. Locks are taken in one order: document, job, log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from sqlalchemy import ColumnElement, CursorResult, and_, func, or_, select, update
from sqlalchemy.orm import Session

from rag.errors import Conflict, LongleafError, NotFound
from rag.ids import new_id
from rag.store.records import DocumentRow, JobRow
from rag.store.repositories import Documents, Generations, Jobs
from rag.store.repositories.jobs import job_record
from rag.store.scope import Scope, utc_now
from rag.store.session import Database
from rag.store.tables import Document, IngestJob, Utc

LEASE_SECONDS = 30.0
MAX_ATTEMPTS = 3
"""Attempts without progress; a worker that died counts as one."""
BACKOFF_SECONDS = (1.0, 5.0)
"""Wait before the second and the third attempt."""

TRANSITIONS: Final[dict[str, tuple[frozenset[str], str]]] = {
    "lease": (frozenset({"queued", "running"}), "running"),
    "complete": (frozenset({"running"}), "done"),
    "fail": (frozenset({"running"}), "failed"),
    "postpone": (frozenset({"running"}), "queued"),
    "release": (frozenset({"running"}), "queued"),
    "cancel": (frozenset({"queued", "running"}), "cancelled"),
    "retry": (frozenset({"failed", "cancelled"}), "queued"),
}


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


_AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)
_CLOCK_JUMP = timedelta(hours=1)
"""No wait and no lease is this long: a time further ahead was written before the clock was set back."""


def enqueue(session: Session, scope: Scope, document_id: str, generation: int) -> JobRow:
    """Write a queued job for a generation of a document. Raises NotFound."""
    Documents(session, scope).get(document_id)
    now = _now(session)
    row = IngestJob(
        id=new_id("job"),
        document_id=document_id,
        generation=generation,
        status="queued",
        attempts=0,
        lease_owner=None,
        lease_until=None,
        not_before=_AT_ONCE,
        created_at=now,
        updated_at=now,
    )
    session.add(row)
    session.flush()
    return Jobs(session, scope).get(row.id)


def lease(db: Database, owner: str, *, seconds: float = LEASE_SECONDS) -> Lease | None:
    """Take the oldest job that is due, or None.

    A job that was broken off `MAX_ATTEMPTS` times without progress fails instead.
    """
    while True:
        with db.read() as session:  # an idle worker must not hold up writers every second
            if session.scalar(select(IngestJob.id).where(_due(_now(session))).limit(1)) is None:
                return None
        with db.session() as session:
            now = _now(session)
            # Both rows are locked without waiting: no deadlock with those who lock the document first.
            found = session.execute(
                select(IngestJob, Document)
                .join(Document, Document.id == IngestJob.document_id)
                .where(_due(now))
                .order_by(IngestJob.id)
                .limit(1)
                .with_for_update(skip_locked=True)
            ).one_or_none()
            if found is None:
                return None
            job, document = found
            scope = Scope(document.workspace_id)
            if job.attempts >= MAX_ATTEMPTS:
                detail = f"reading was broken off {job.attempts} times without progress; retry or split it"
                _end(session, scope, job_record(job), ("internal", detail))
                continue
            attempt = job.attempts + 1
            token = f"{owner}:{new_id('lease')}"
            _move(
                session,
                "lease",
                job.id,
                job.status,
                attempts=attempt,
                lease_owner=token,
                lease_until=now + timedelta(seconds=seconds),
            )
            return Lease(job.id, document.id, document.collection_id, scope, job.generation, attempt, token)


def renew(db: Database, held: Lease, *, seconds: float = LEASE_SECONDS) -> bool:
    """Prolong the lease; False when it is lost."""
    with db.session() as session:
        until = _now(session) + timedelta(seconds=seconds)
        changed = session.execute(update(IngestJob).where(_held(held)).values(lease_until=until))
        return cast("CursorResult[Any]", changed).rowcount == 1


def is_held(db: Database, held: Lease) -> bool:
    """Whether the lease still stands; takes no lock."""
    with db.read() as session:
        return session.scalar(select(IngestJob.id).where(_held(held))) is not None


@contextmanager
def fenced(db: Database, held: Lease) -> Iterator[Session]:
    """A write transaction for the holder of a lease; the document stays locked to its end.

    Raises LeaseLost when the lease went to another, the job was cancelled or the document deleted.
    """
    with db.session() as session:
        _fence(session, held)
        yield session


def checkpoint(session: Session, held: Lease) -> None:
    """Note progress that survives a crash, so that the attempts before it don't count. Inside `fenced`."""
    session.execute(update(IngestJob).where(_held(held)).values(attempts=1, updated_at=_now(session)))


def complete(session: Session, held: Lease) -> None:
    """End the job as done. Inside `fenced`, in the transaction that publishes."""
    _move(session, "complete", held.job_id, "running", lease_owner=None, lease_until=None)


def fail(db: Database, held: Lease, code: str, detail: str) -> None:
    """End job and document as failed and drop what was written. Raises LeaseLost."""
    with fenced(db, held) as session:
        _end(session, held.scope, Jobs(session, held.scope).get(held.job_id), (code, detail))


def postpone(db: Database, held: Lease, detail: str) -> bool:
    """Try again later, or fail (`internal`) after the last attempt; True when it will be tried again.

    Raises LeaseLost.
    """
    with fenced(db, held) as session:
        job = Jobs(session, held.scope).get(held.job_id)
        if job.attempts >= MAX_ATTEMPTS:
            _end(session, held.scope, job, ("internal", detail))
            return False
        wait = BACKOFF_SECONDS[min(job.attempts, len(BACKOFF_SECONDS)) - 1]
        not_before = _now(session) + timedelta(seconds=wait)
        _move(
            session,
            "postpone",
            held.job_id,
            "running",
            lease_owner=None,
            lease_until=None,
            not_before=not_before,
        )
        Documents(session, held.scope).set(held.document_id, status="queued")
        return True


def release(db: Database, held: Lease) -> None:
    """Give the job back unharmed, as a worker that stops does: the attempt does not count.

    Raises LeaseLost.
    """
    with fenced(db, held) as session:
        attempts = Jobs(session, held.scope).get(held.job_id).attempts
        _move(
            session,
            "release",
            held.job_id,
            "running",
            lease_owner=None,
            lease_until=None,
            attempts=max(0, attempts - 1),
        )
        Documents(session, held.scope).set(held.document_id, status="queued")


def cancel(db: Database, scope: Scope, document_id: str) -> DocumentRow:
    """Stop a document that is queued or being read; nothing of it is kept but its row and its file.

    Raises NotFound; Conflict (`invalid_state`) when it is ready, failed or cancelled already.
    """
    with db.session() as session:
        Documents(session, scope).lock(document_id)
        job = Jobs(session, scope).of_document(document_id)
        if job.status not in TRANSITIONS["cancel"][0]:
            raise _wrong_state("cancel", document_id, job)
        _end(session, scope, job, None)
        return Documents(session, scope).get(document_id)


def retry(db: Database, scope: Scope, document_id: str) -> DocumentRow:
    """Queue a failed or cancelled document again, with all its attempts.

    Raises NotFound; Conflict (`invalid_state`) in any other state.
    """
    with db.session() as session:
        documents = Documents(session, scope)
        documents.lock(document_id)
        job = Jobs(session, scope).of_document(document_id)
        if job.status not in TRANSITIONS["retry"][0]:
            raise _wrong_state("retry", document_id, job)
        _move(session, "retry", job.id, job.status, attempts=0, not_before=_AT_ONCE)
        documents.set(document_id, status="queued", error_code=None, error_detail=None)
        return documents.get(document_id)


def reclaim(db: Database, is_dead: Callable[[str], bool]) -> int:
    """End at once the leases of owners that are known to be dead; returns how many."""
    with db.read() as session:
        running = session.execute(
            select(IngestJob.id, IngestJob.lease_owner).where(IngestJob.status == "running")
        ).all()
    ended = 0
    for job_id, token in running:
        if token is not None and is_dead(token.partition(":")[0]):
            with db.session() as session:
                past = _now(session) - timedelta(seconds=1)
                changed = session.execute(
                    update(IngestJob)
                    .where(
                        IngestJob.id == job_id, IngestJob.lease_owner == token, IngestJob.status == "running"
                    )
                    .values(lease_until=past)
                )
                ended += cast("CursorResult[Any]", changed).rowcount
    return ended


def seconds_until_due(db: Database) -> float | None:
    """Seconds until a queued job is due (0 for one that is already); None when nothing is queued.

    A running job counts only once its lease ran out.
    """
    with db.read() as session:
        now = _now(session)
        if session.scalar(select(IngestJob.id).where(_due(now)).limit(1)) is not None:
            return 0.0
        earliest = session.scalar(
            select(IngestJob.not_before)
            .where(IngestJob.status == "queued")
            .order_by(IngestJob.not_before)
            .limit(1)
        )
        return None if earliest is None else max(0.0, (earliest - now).total_seconds())


def _now(session: Session) -> datetime:
    # Several hosts share a PostgreSQL, so its clock decides; SQLite is one host's.
    if session.get_bind().dialect.name == "postgresql":
        return session.scalars(select(func.clock_timestamp(type_=Utc()))).one()
    return utc_now()


def _due(now: datetime) -> ColumnElement[bool]:
    return or_(
        and_(IngestJob.status == "queued", ~IngestJob.not_before.between(now, now + _CLOCK_JUMP)),
        and_(IngestJob.status == "running", ~IngestJob.lease_until.between(now, now + _CLOCK_JUMP)),
    )


def _held(held: Lease) -> ColumnElement[bool]:
    return and_(
        IngestJob.id == held.job_id, IngestJob.lease_owner == held.token, IngestJob.status == "running"
    )


def _fence(session: Session, held: Lease) -> None:
    try:
        Documents(session, held.scope).lock(held.document_id)
    except NotFound as error:
        raise LeaseLost(f"document {held.document_id} was deleted") from error
    if session.scalar(select(IngestJob.id).where(_held(held)).with_for_update()) is None:
        raise LeaseLost(f"job {held.job_id} was cancelled or went to another worker")


def _move(session: Session, transition: str, job_id: str, status: str, **values: object) -> None:
    """Change the row as the named transition allows; the caller holds the document's lock."""
    sources, target = TRANSITIONS[transition]
    if status not in sources:
        raise RuntimeError(f"a job that is {status} can't {transition}")
    changed = session.execute(
        update(IngestJob)
        .where(IngestJob.id == job_id, IngestJob.status == status)
        .values(status=target, updated_at=_now(session), **values)
    )
    if cast("CursorResult[Any]", changed).rowcount != 1:
        raise LeaseLost(f"job {job_id} is not {status} any more")


def _end(session: Session, scope: Scope, job: JobRow, failure: tuple[str, str] | None) -> None:
    """Fail with (code, detail), or cancel without."""
    code, detail = failure or (None, None)
    transition = "fail" if failure else "cancel"
    _move(session, transition, job.id, job.status, lease_owner=None, lease_until=None)
    Generations(session, scope).discard_unpublished(job.document_id)
    Documents(session, scope).set(
        job.document_id,
        status="failed" if failure else "cancelled",
        error_code=code,
        error_detail=detail,
        pages_done=0,
        pages_total=0,
        chunks_done=0,
        chunks_total=0,
        characters=0,
    )


def _wrong_state(transition: str, document_id: str, job: JobRow) -> Conflict:
    allowed = " or ".join(sorted(TRANSITIONS[transition][0]))
    return Conflict(
        f"document {document_id} can't {transition}: its ingest is {job.status}, not {allowed}",
        code="invalid_state",
        extra={"state": job.status},
    )
