"""The state machine: every transition from every state, leases, fencing, attempts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pytest
from ingesting import Desk, at_once
from sqlalchemy import select, update

from ingest import jobs, leases, queue
from ingest.jobs import MAX_ATTEMPTS
from ingest.leases import Lease, LeaseLost
from rag.errors import Conflict, LongleafError, NotFound
from rag.settings import Settings
from rag.store.records import ChunkDraft
from rag.store.repositories import DEFAULT_SCOPE, Changes, Documents, Generations, Jobs, Scope
from rag.store.scope import utc_now
from rag.store.session import Database
from rag.store.tables import IngestJob

STATES = ("queued", "running", "done", "failed", "cancelled")


@pytest.fixture
def desk(database: Database, settings: Settings) -> Desk:
    return Desk(database, settings)


def _state(desk: Desk, document_id: str) -> str:
    with desk.db.read() as session:
        return Jobs(session, DEFAULT_SCOPE).of_document(document_id).status


def _write(desk: Desk, lease: Lease) -> None:
    with leases.fenced(desk.db, lease) as session:
        generations = Generations(session, lease.scope)
        generations.write_text(lease.document_id, lease.generation, "some text")
        generations.write_chunks(
            lease.document_id, lease.generation, [ChunkDraft(0, 0, 9, None, None, (), 2)]
        )


def _publish(desk: Desk, lease: Lease) -> None:
    with leases.fenced(desk.db, lease) as session:
        generations = Generations(session, lease.scope)
        row = generations.pending(lease.document_id, lease.generation)[0]
        generations.write_vectors(lease.document_id, lease.generation, {row.id: np.ones(4, dtype=np.float16)})
        jobs.complete(session, lease)
        generations.publish(lease.document_id, lease.generation)


def _expire(desk: Desk, job_id: str | None = None) -> None:
    with desk.db.session() as session:
        changed = update(IngestJob).values(
            lease_until=utc_now() - timedelta(seconds=5), not_before=utc_now() - timedelta(seconds=5)
        )
        session.execute(changed if job_id is None else changed.where(IngestJob.id == job_id))


def _bring_to(desk: Desk, state: str) -> tuple[str, Lease]:
    """A document whose job is in the state, and the lease that it had (or would have had)."""
    accepted = desk.upload(state.encode())
    if state == "queued":
        return accepted.document.id, Lease(
            accepted.job_id, accepted.document.id, desk.collection_id, DEFAULT_SCOPE, 1, 1, "nobody:x"
        )
    lease = jobs.lease(desk.db, "wrk_a")
    assert lease is not None
    _write(desk, lease)
    if state == "done":
        _publish(desk, lease)
    elif state == "failed":
        jobs.fail(desk.db, lease, "corrupt", "broken")
    elif state == "cancelled":
        jobs.cancel(desk.db, DEFAULT_SCOPE, lease.document_id)
    assert _state(desk, lease.document_id) == state
    return lease.document_id, lease


ACTIONS: dict[str, Callable[[Desk, Lease], object]] = {
    "complete": _publish,
    "fail": lambda desk, lease: jobs.fail(desk.db, lease, "corrupt", "broken"),
    "postpone": lambda desk, lease: jobs.postpone(desk.db, lease, "later"),
    "release": lambda desk, lease: jobs.release(desk.db, lease),
    "cancel": lambda desk, lease: jobs.cancel(desk.db, DEFAULT_SCOPE, lease.document_id),
    "retry": lambda desk, lease: jobs.retry(desk.db, DEFAULT_SCOPE, lease.document_id),
}


@pytest.mark.parametrize("state", STATES)
def test_every_transition_from_every_state(desk: Desk, state: str) -> None:
    assert set(ACTIONS) | {"lease"} == set(jobs.TRANSITIONS)
    for transition, act in ACTIONS.items():
        document_id, lease = _bring_to(desk, state)
        sources, target = jobs.TRANSITIONS[transition]
        if state in sources:
            act(desk, lease)
            assert _state(desk, document_id) == target
        else:
            with pytest.raises((LeaseLost, Conflict)) as caught:
                act(desk, lease)
            assert caught.value.code in {"lease_lost", "invalid_state"}
            assert _state(desk, document_id) == state
        with desk.db.session() as session:
            session.execute(IngestJob.__table__.delete())
            Generations(session, DEFAULT_SCOPE).drop_all(document_id)
            Documents(session, DEFAULT_SCOPE).delete(document_id)


@pytest.mark.parametrize("state", STATES)
def test_only_queued_and_expired_jobs_are_leased(desk: Desk, state: str) -> None:
    _bring_to(desk, state)
    lease = jobs.lease(desk.db, "wrk_b")
    assert (lease is not None) == (state == "queued")
    _expire(desk)
    lease = jobs.lease(desk.db, "wrk_c")
    assert (lease is not None) == (state in {"queued", "running"})


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_what_ends_without_being_ready_leaves_nothing(desk: Desk, end: str) -> None:
    document_id, _ = _bring_to(desk, end)
    document = desk.get(document_id)
    assert (document.status, document.generation) == (end, 0)
    assert (document.chunks_total, document.characters) == (0, 0)
    assert (document.error_code, document.error_detail) == (
        ("corrupt", "broken") if end == "failed" else (None, None)
    )
    assert [desk.rows(table) for table in ("texts", "pages", "chunks", "changes")] == [0, 0, 0, 0]
    again = jobs.retry(desk.db, DEFAULT_SCOPE, document_id)
    assert (again.status, again.error_code) == ("queued", None)
    lease = jobs.lease(desk.db, "wrk_b")
    assert lease is not None
    assert (lease.document_id, lease.attempt) == (document_id, 1)


def test_one_job_goes_to_one_of_many(desk: Desk) -> None:
    expected = {desk.upload(f"note {n}".encode()).job_id for n in range(4)}
    leases = at_once(*[lambda n=n: jobs.lease(desk.db, f"wrk_{n}") for n in range(8)])
    taken = [lease.job_id for lease in leases if isinstance(lease, Lease)]
    # SKIP LOCKED may leave a worker empty-handed for now, but none gets what another has.
    assert len(set(taken)) == len(taken)
    while (lease := jobs.lease(desk.db, "wrk_x")) is not None:
        taken.append(lease.job_id)
    assert set(taken) == expected
    assert len(taken) == len(expected)


def test_the_oldest_comes_first(desk: Desk) -> None:
    order = [desk.upload(f"note {n}".encode()).job_id for n in range(3)]
    taken = [lease.job_id for _ in order if (lease := jobs.lease(desk.db, "wrk_a"))]
    assert taken == sorted(order)


def test_an_overtaken_worker_can_change_nothing(desk: Desk) -> None:
    document_id, stale = _bring_to(desk, "running")
    _expire(desk)
    fresh = jobs.lease(desk.db, "wrk_b")
    assert fresh is not None
    assert (fresh.attempt, fresh.generation) == (2, stale.generation)
    for act in (ACTIONS["complete"], ACTIONS["fail"], ACTIONS["postpone"], ACTIONS["release"]):
        with pytest.raises(LeaseLost):
            act(desk, stale)
    assert not leases.renew(desk.db, stale)
    assert not leases.is_held(desk.db, stale)
    assert leases.renew(desk.db, fresh)
    assert _state(desk, document_id) == "running"
    _publish(desk, fresh)
    assert desk.get(document_id).status == "ready"


def test_a_publication_and_its_cancel_at_once_have_one_winner(desk: Desk) -> None:
    for number in range(6):
        desk.upload(f"note {number}".encode())
        lease = jobs.lease(desk.db, "wrk_a")
        assert lease is not None
        _write(desk, lease)
        results = at_once(
            lambda lease=lease: _publish(desk, lease),
            lambda lease=lease: jobs.cancel(desk.db, DEFAULT_SCOPE, lease.document_id),
        )
        published = not isinstance(results[0], Exception)
        assert isinstance(results[1], Conflict) if published else isinstance(results[0], LeaseLost), results
        document = desk.get(lease.document_id)
        assert document.status == ("ready" if published else "cancelled")
        with desk.db.read() as session:
            done, total = Generations(session, DEFAULT_SCOPE).progress(lease.document_id, 1)
            assert (done, total) == ((1, 1) if published else (0, 0))
            log = Changes(session, DEFAULT_SCOPE).after(desk.collection_id, 0)
            assert [c.document_id for c in log].count(lease.document_id) == int(published)


def test_attempts_are_counted_waited_for_and_end(desk: Desk) -> None:
    document_id = desk.upload(b"note").document.id
    for attempt in range(1, MAX_ATTEMPTS + 1):
        lease = jobs.lease(desk.db, "wrk_a")
        assert lease is not None
        assert lease.attempt == attempt
        again = jobs.postpone(desk.db, lease, "disk trouble")
        assert again == (attempt < MAX_ATTEMPTS)
        assert jobs.lease(desk.db, "wrk_a") is None
        if again:
            assert desk.get(document_id).status == "queued"
            wait = queue.seconds_until_due(desk.db)
            assert wait is not None
            assert 0 < wait <= jobs.BACKOFF_SECONDS[attempt - 1]
            _expire(desk)
    document = desk.get(document_id)
    assert (document.status, document.error_code, document.error_detail) == (
        "failed",
        "internal",
        "disk trouble",
    )
    assert queue.seconds_until_due(desk.db) is None


def test_a_document_that_kills_its_workers_is_set_aside(desk: Desk) -> None:
    poison = desk.upload(b"poison").document.id
    for _ in range(MAX_ATTEMPTS):
        lease = jobs.lease(desk.db, "wrk_dies")
        assert lease is not None
        assert lease.document_id == poison
        _expire(desk)
    healthy = desk.upload(b"healthy").document.id
    lease = jobs.lease(desk.db, "wrk_a")
    assert lease is not None
    assert lease.document_id == healthy
    assert (desk.get(poison).status, desk.get(poison).error_code) == ("failed", "poison_document")


def test_progress_and_releases_forgive_earlier_attempts(desk: Desk) -> None:
    desk.upload(b"long")
    for _ in range(3 * MAX_ATTEMPTS):
        lease = jobs.lease(desk.db, "wrk_a")
        assert lease is not None
        with leases.fenced(desk.db, lease) as session:
            leases.checkpoint(session, lease)
        _expire(desk)
    for _ in range(3 * MAX_ATTEMPTS):
        lease = jobs.lease(desk.db, "wrk_a")
        assert lease is not None
        jobs.release(desk.db, lease)


def test_leases_of_the_dead_are_reclaimed_and_no_others(desk: Desk) -> None:
    for n in range(2):
        desk.upload(f"note {n}".encode())
    dead, alive = jobs.lease(desk.db, "wrk_dead"), jobs.lease(desk.db, "wrk_alive")
    assert dead is not None
    assert alive is not None
    assert jobs.reclaim(desk.db, lambda owner: owner == "wrk_dead") == 1
    taken = jobs.lease(desk.db, "wrk_new")
    assert taken is not None
    assert taken.job_id == dead.job_id
    assert leases.is_held(desk.db, alive)
    assert not leases.is_held(desk.db, dead)


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_clock_that_was_set_back_stops_nothing(desk: Desk, state: str) -> None:
    _bring_to(desk, state)
    with desk.db.session() as session:
        later = utc_now() + timedelta(days=1)
        session.execute(update(IngestJob).values(not_before=later, lease_until=later))
    assert jobs.lease(desk.db, "wrk_b") is not None


def test_cancel_and_retry_of_unknown_documents(desk: Desk) -> None:
    document_id = desk.upload(b"note").document.id
    for action in (jobs.cancel, jobs.retry):
        for scope, wanted in ((DEFAULT_SCOPE, "doc_none"), (Scope("ws_other"), document_id)):
            with pytest.raises(NotFound) as caught:
                action(desk.db, scope, wanted)
            assert caught.value.code == "document_not_found"


def test_a_wrong_state_is_named(desk: Desk) -> None:
    document_id, _ = _bring_to(desk, "done")
    with pytest.raises(LongleafError, match=f"{document_id} can't cancel: its ingest is done") as caught:
        jobs.cancel(desk.db, DEFAULT_SCOPE, document_id)
    assert (caught.value.status, caught.value.code, caught.value.extra) == (
        409,
        "invalid_state",
        {"state": "done"},
    )


def test_a_running_job_names_its_lease_and_a_finished_one_none(desk: Desk) -> None:
    for state in STATES:
        document_id, _ = _bring_to(desk, state)
        with desk.db.session() as session:
            job = session.scalars(select(IngestJob).where(IngestJob.document_id == document_id)).one()
            assert (job.lease_owner is not None) == (state == "running")
            if state == "queued":
                job.status = "cancelled"  # out of the way of the next one
