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

An attempt is a lease that ended without progress, its worker's death included. Waiting for the machine (a
full disk, a database that is gone), giving a job back and the death of a desk are none. A document that uses
up its attempts is set aside as failed until somebody retries it. A generation that ends so leaves an older,
live one in place.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from sqlalchemy import CursorResult, case, select, update
from sqlalchemy.orm import Session

from ingest.bell import ring_after_commit
from ingest.leases import LEASE_SECONDS, Lease, LeaseLost, at_once, fenced, now
from ingest.queue import Turn, due, priority_of
from rag.errors import Conflict, Unavailable
from rag.ids import new_id
from rag.store.records import DocumentRow, JobRow
from rag.store.repositories import Documents, Generations, Jobs, Versions, Webhooks
from rag.store.repositories.jobs import job_record
from rag.store.scope import Scope
from rag.store.session import Database
from rag.store.tables import Document, IngestJob

MAX_ATTEMPTS = 3
"""Attempts without progress; a worker that died counts as one."""
BACKOFF_SECONDS = (1.0, 5.0)
"""Wait before the second and the third attempt."""
WAIT_SECONDS = (1.0, 5.0, 15.0, 60.0, 300.0)
"""Waits for the machine's sake; the last one again and again."""
MAX_WAITS = 300
"""About a day: trouble that outlasts it ends the job."""

TRANSITIONS: Final[dict[str, tuple[frozenset[str], str]]] = {
    "lease": (frozenset({"queued", "running"}), "running"),
    "complete": (frozenset({"running"}), "done"),
    "fail": (frozenset({"running"}), "failed"),
    "postpone": (frozenset({"running"}), "queued"),
    "release": (frozenset({"running"}), "queued"),
    "cancel": (frozenset({"queued", "running"}), "cancelled"),
    "retry": (frozenset({"failed", "cancelled"}), "queued"),
}

DESK = "wrk_desk"
"""How the name of an owner begins that has documents read on other machines (`api.cluster`). It reads none
itself: that it died says nothing about those that were under way."""

AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)
"""`not_before` of a job that waits for nothing."""
_TURNS: tuple[Turn, ...] = ("suspect", "smallest")


def enqueue(
    session: Session, scope: Scope, document_id: str, generation: int, *, size: int | None = None
) -> JobRow:
    """Write a queued job for a generation of a document; `size` is its file's, by default the document's.

    Raises NotFound.
    """
    document = Documents(session, scope).get(document_id)
    at = now(session)
    row = IngestJob(
        id=new_id("job"),
        document_id=document_id,
        generation=generation,
        status="queued",
        priority=priority_of(document.bytes if size is None else size),
        attempts=0,
        waits=0,
        lease_owner=None,
        lease_until=None,
        not_before=AT_ONCE,
        created_at=at,
        updated_at=at,
    )
    session.add(row)
    session.flush()
    ring_after_commit(session)
    return job_record(row)


def lease(
    db: Database, owner: str, *, seconds: float = LEASE_SECONDS, turn: Turn | None = None
) -> Lease | None:
    """Take the job whose turn it is, without one a suspect before the smallest; None when there is none.

    A suspect that used up its attempts without progress is set aside instead (`poison_document`).
    """
    for kind in (turn,) if turn is not None else _TURNS:
        while True:
            with db.glance() as session:  # an idle worker must not hold up writers every second
                if session.scalar(due(at_once(session), kind).with_only_columns(IngestJob.id)) is None:
                    break
            with db.session() as session:
                at = now(session)
                # Both rows are locked without waiting: no deadlock with those who lock the document first.
                found = session.execute(
                    due(at, kind)
                    .add_columns(Document)
                    .join(Document, Document.id == IngestJob.document_id)
                    .with_for_update(skip_locked=True)
                ).one_or_none()
                if found is None:
                    break
                taken = _take(session, owner, at + timedelta(seconds=seconds), *found)
            if taken is not None:
                return taken
    return None


def _take(session: Session, owner: str, until: datetime, job: IngestJob, document: Document) -> Lease | None:
    scope = Scope(document.workspace_id)
    if job.attempts >= MAX_ATTEMPTS:
        detail = (
            f"reading it ended its worker {job.attempts} times without progress, so it is set aside; "
            "retry it, or split it or export it again"
        )
        _end(session, scope, job_record(job), ("poison_document", detail))
        return None
    token = f"{owner}:{new_id('lease')}"
    attempt = job.attempts + 1
    _move(session, "lease", job.id, job.status, attempts=attempt, lease_owner=token, lease_until=until)
    return Lease(
        job.id, document.id, document.collection_id, scope, job.generation, attempt, token, job.priority
    )


def complete(session: Session, held: Lease) -> None:
    """End the job as done. Inside `fenced`, in the transaction that publishes."""
    _move(session, "complete", held.job_id, "running", lease_owner=None, lease_until=None)


def fail(db: Database, held: Lease, code: str, detail: str) -> None:
    """End job and document as failed and drop what was written. Raises LeaseLost."""
    with fenced(db, held) as session:
        _end(session, held.scope, Jobs(session, held.scope).get(held.job_id), (code, detail))


def postpone(db: Database, held: Lease, detail: str, *, code: str = "internal") -> bool:
    """Try again later, or fail with `code` after the last attempt; True when it will be tried again.

    Raises LeaseLost.
    """
    with fenced(db, held) as session:
        job = Jobs(session, held.scope).get(held.job_id)
        if job.attempts >= MAX_ATTEMPTS:
            _end(session, held.scope, job, (code, detail))
            return False
        _put_off(session, held, BACKOFF_SECONDS[min(job.attempts, len(BACKOFF_SECONDS)) - 1])
        return True


def wait(db: Database, held: Lease, detail: str) -> bool:
    """Put the job off until the machine may do again: no attempt, but not for ever (`storage_unavailable`).

    True when it will be tried again. Raises LeaseLost.
    """
    with fenced(db, held) as session:
        job = Jobs(session, held.scope).get(held.job_id)
        if job.waits >= MAX_WAITS:
            _end(session, held.scope, job, ("storage_unavailable", detail))
            return False
        pause = WAIT_SECONDS[min(job.waits, len(WAIT_SECONDS) - 1)]
        _put_off(session, held, pause, attempts=max(0, job.attempts - 1), waits=job.waits + 1)
        return True


def _put_off(session: Session, held: Lease, pause: float, **counts: int) -> None:
    not_before = now(session) + timedelta(seconds=pause)
    _move(
        session,
        "postpone",
        held.job_id,
        "running",
        lease_owner=None,
        lease_until=None,
        not_before=not_before,
        **counts,
    )
    Versions(session, held.scope).advance(held.document_id, held.generation, status="queued")


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
        Versions(session, held.scope).advance(held.document_id, held.generation, status="queued")


def release_all(db: Database, held: list[Lease]) -> None:
    """Give back, and take out of the list, what could not be while the store was gone: nobody is to blame for
    that.

    Raises Unavailable while it still is.
    """
    while held:
        lease = held.pop()
        try:
            release(db, lease)
        except LeaseLost:
            continue
        except Unavailable:
            held.append(lease)
            raise


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


def supersede(session: Session, scope: Scope, document_id: str) -> None:
    """End what is queued or being read of a document, for a newer file takes its place; its lock is held."""
    job = Jobs(session, scope).of_document(document_id)
    if job.status in TRANSITIONS["cancel"][0]:
        _end(session, scope, job, None)


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
        _move(session, "retry", job.id, job.status, attempts=0, waits=0, not_before=AT_ONCE)
        Versions(session, scope).advance(
            document_id, job.generation, status="queued", error_code=None, error_detail=None
        )
        ring_after_commit(session)
        return documents.get(document_id)


def reclaim(db: Database, is_dead: Callable[[str], bool]) -> int:
    """End at once the leases of owners that are known to be dead; returns how many.

    Those of a desk were no attempts.
    """
    with db.read() as session:
        running = session.execute(
            select(IngestJob.id, IngestJob.lease_owner).where(IngestJob.status == "running")
        ).all()
    ended = 0
    for job_id, token in running:
        if token is not None and is_dead(token.partition(":")[0]):
            with db.session() as session:
                past: dict[str, Any] = {"lease_until": now(session) - timedelta(seconds=1)}
                if token.startswith(f"{DESK}_"):
                    past["attempts"] = case((IngestJob.attempts > 0, IngestJob.attempts - 1), else_=0)
                changed = session.execute(
                    update(IngestJob)
                    .where(
                        IngestJob.id == job_id, IngestJob.lease_owner == token, IngestJob.status == "running"
                    )
                    .values(**past)
                )
                ended += cast("CursorResult[Any]", changed).rowcount
    return ended


def _move(session: Session, transition: str, job_id: str, status: str, **values: object) -> None:
    """Change the row as the named transition allows; the caller holds the document's lock."""
    sources, target = TRANSITIONS[transition]
    if status not in sources:
        raise RuntimeError(f"a job that is {status} can't {transition}")
    changed = session.execute(
        update(IngestJob)
        .where(IngestJob.id == job_id, IngestJob.status == status)
        .values(status=target, updated_at=at_once(session), **values)
    )
    if cast("CursorResult[Any]", changed).rowcount != 1:
        raise LeaseLost(f"job {job_id} is not {status} any more")


def _end(session: Session, scope: Scope, job: JobRow, failure: tuple[str, str] | None) -> None:
    """Fail with (code, detail), or cancel without."""
    code, detail = failure or (None, None)
    transition = "fail" if failure else "cancel"
    _move(session, transition, job.id, job.status, lease_owner=None, lease_until=None)
    Generations(session, scope).discard_unpublished(job.document_id)
    Versions(session, scope).advance(
        job.document_id,
        job.generation,
        status="failed" if failure else "cancelled",
        error_code=code,
        error_detail=detail,
        pages_done=0,
        pages_total=0,
        chunks_done=0,
        chunks_total=0,
        characters=0,
    )
    if code is not None:
        collection_id = Documents(session, scope).get(job.document_id).collection_id
        Webhooks(session, scope).announce(
            "document.failed", job.document_id, collection_id, generation=job.generation, code=code
        )


def _wrong_state(transition: str, document_id: str, job: JobRow) -> Conflict:
    allowed = " or ".join(sorted(TRANSITIONS[transition][0]))
    return Conflict(
        f"document {document_id} can't {transition}: its ingest is {job.status}, not {allowed}",
        code="invalid_state",
        extra={"state": job.status},
    )
