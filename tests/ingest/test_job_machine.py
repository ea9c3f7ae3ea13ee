"""The job state machine held against a plain model: any sequence of what workers, senders and clocks do."""

from __future__ import annotations

import itertools
import secrets
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from ingesting import Desk
from sqlalchemy import select

from ingest import jobs, leases
from ingest.jobs import BACKOFF_SECONDS, MAX_ATTEMPTS, WAIT_SECONDS
from ingest.leases import LEASE_SECONDS, Lease, LeaseLost
from ingest.queue import AHEAD, priority_of
from rag.errors import Conflict
from rag.settings import Settings
from rag.store.repositories import DEFAULT_SCOPE, Generations
from rag.store.session import Database
from rag.store.tables import IngestJob

SIZES = (10, 70_000)
"""Bytes of a file of the first class, and of one of the second."""


@dataclass
class Job:
    """What the model says of one job."""

    id: str
    document_id: str
    priority: int
    status: str = "queued"
    attempts: int = 0
    waits: int = 0
    not_before: datetime = jobs.AT_ONCE
    lease_until: datetime | None = None
    token: str | None = None
    old_tokens: list[Lease] = field(default_factory=list)


class JobMachine(RuleBasedStateMachine):
    """`ingest.jobs` and `ingest.leases` on a database, beside the model."""

    make: Callable[[Callable[[], datetime]], Desk]
    numbers = itertools.count(1)

    def __init__(self) -> None:
        super().__init__()
        self.time = datetime(2026, 3, 1, 12, tzinfo=UTC)
        self.desk = type(self).make(lambda: self.time)
        self.db = self.desk.db
        self.model: dict[str, Job] = {}
        self.leases: list[Lease] = []

    def teardown(self) -> None:
        self.db.dispose()

    def _due(self, job: Job) -> bool:
        at = job.lease_until if job.status == "running" else job.not_before
        if job.status not in {"queued", "running"} or at is None:
            return False
        return not self.time <= at <= self.time + AHEAD

    def _next(self) -> Job | None:
        """A suspect, the oldest first; else the smallest class, the oldest of it first."""
        due = [job for job in self.model.values() if self._due(job)]
        suspects = sorted((job for job in due if job.status == "running"), key=lambda job: job.id)
        waiting = sorted(
            (job for job in due if job.status == "queued"), key=lambda job: (job.priority, job.id)
        )
        return next(iter([*suspects, *waiting]), None)

    def _holder(self, lease: Lease) -> Job | None:
        job = self.model[lease.job_id]
        return job if job.status == "running" and job.token == lease.token else None

    def _end(self, job: Job, status: str, **values: Any) -> None:
        job.status, job.token, job.lease_until = status, None, None
        for name, value in values.items():
            setattr(job, name, value)

    @rule(size=st.sampled_from(SIZES))
    def upload(self, size: int) -> None:
        number = next(self.numbers)
        accepted = self.desk.upload(f"{number} ".encode() + b"x" * size)
        self.model[accepted.job_id] = Job(accepted.job_id, accepted.document.id, priority_of(size))

    @rule(seconds=st.sampled_from([0.5, 3, 10, 31, 400, 4000, -1, -20, -700]))
    def time_goes_by(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    @rule(worker=st.sampled_from(["wrk_a", "wrk_b", "wrk_c"]))
    def lease(self, worker: str) -> None:
        while (job := self._next()) is not None and job.attempts >= MAX_ATTEMPTS:
            self._end(job, "failed")  # set aside on the way to the next one
        got = jobs.lease(self.db, worker)
        assert (got.job_id if got else None) == (job.id if job else None)
        if got is None or job is None:
            return
        job.status, job.token, job.attempts = "running", got.token, job.attempts + 1
        job.lease_until = self.time + timedelta(seconds=LEASE_SECONDS)
        assert got.attempt == job.attempts
        self.leases.append(got)

    def _act(self, place: int, act: Callable[[Lease], Any]) -> tuple[Job | None, Any]:
        """Do something with a lease, old or new; one that is not held must be lost."""
        lease = self.leases[place % len(self.leases)]
        job = self._holder(lease)
        if job is None:
            with pytest.raises(LeaseLost):
                act(lease)
            return None, None
        return job, act(lease)

    @precondition(lambda self: self.leases)
    @rule(place=st.integers(0, 99))
    def complete(self, place: int) -> None:
        def publish(lease: Lease) -> None:
            with leases.fenced(self.db, lease) as session:
                jobs.complete(session, lease)
                Generations(session, lease.scope).publish(lease.document_id, lease.generation)

        job, _ = self._act(place, publish)
        if job is not None:
            self._end(job, "done")

    @precondition(lambda self: self.leases)
    @rule(place=st.integers(0, 99))
    def fail(self, place: int) -> None:
        job, _ = self._act(place, lambda lease: jobs.fail(self.db, lease, "corrupt", "broken"))
        if job is not None:
            self._end(job, "failed")

    @precondition(lambda self: self.leases)
    @rule(place=st.integers(0, 99))
    def postpone(self, place: int) -> None:
        job, again = self._act(place, lambda lease: jobs.postpone(self.db, lease, "later"))
        if job is None:
            return
        assert again == (job.attempts < MAX_ATTEMPTS)
        if again:
            pause = BACKOFF_SECONDS[job.attempts - 1]
            self._end(job, "queued", not_before=self.time + timedelta(seconds=pause))
        else:
            self._end(job, "failed")

    @precondition(lambda self: self.leases)
    @rule(place=st.integers(0, 99))
    def wait(self, place: int) -> None:
        job, again = self._act(place, lambda lease: jobs.wait(self.db, lease, "disk full"))
        if job is not None:
            assert again
            pause = WAIT_SECONDS[min(job.waits, len(WAIT_SECONDS) - 1)]
            until = self.time + timedelta(seconds=pause)
            self._end(job, "queued", not_before=until, attempts=max(0, job.attempts - 1), waits=job.waits + 1)

    @precondition(lambda self: self.leases)
    @rule(place=st.integers(0, 99))
    def release(self, place: int) -> None:
        job, _ = self._act(place, lambda lease: jobs.release(self.db, lease))
        if job is not None:
            self._end(job, "queued", attempts=max(0, job.attempts - 1))

    @precondition(lambda self: self.leases)
    @rule(place=st.integers(0, 99))
    def make_progress(self, place: int) -> None:
        def note(lease: Lease) -> None:
            with leases.fenced(self.db, lease) as session:
                leases.checkpoint(session, lease)

        job, _ = self._act(place, note)
        if job is not None:
            job.attempts, job.waits = 1, 0

    @precondition(lambda self: self.leases)
    @rule(place=st.integers(0, 99))
    def renew(self, place: int) -> None:
        lease = self.leases[place % len(self.leases)]
        job = self._holder(lease)
        assert leases.renew(self.db, lease) == (job is not None)
        if job is not None:
            job.lease_until = self.time + timedelta(seconds=LEASE_SECONDS)

    @rule(dead=st.sampled_from(["wrk_a", "wrk_b", "wrk_c"]))
    def a_worker_is_found_dead(self, dead: str) -> None:
        mine = [job for job in self.model.values() if job.token and job.token.startswith(f"{dead}:")]
        assert jobs.reclaim(self.db, lambda owner: owner == dead) == len(mine)
        for job in mine:
            job.lease_until = self.time - timedelta(seconds=1)

    def _by_sender(self, place: int, action: Callable[..., Any], sources: set[str]) -> Job | None:
        job = self.model[sorted(self.model)[place % len(self.model)]]
        if job.status in sources:
            action(self.db, DEFAULT_SCOPE, job.document_id)
            return job
        with pytest.raises(Conflict) as caught:
            action(self.db, DEFAULT_SCOPE, job.document_id)
        assert (caught.value.code, caught.value.extra) == ("invalid_state", {"state": job.status})
        return None

    @precondition(lambda self: self.model)
    @rule(place=st.integers(0, 99))
    def cancel(self, place: int) -> None:
        job = self._by_sender(place, jobs.cancel, {"queued", "running"})
        if job is not None:
            self._end(job, "cancelled")

    @precondition(lambda self: self.model)
    @rule(place=st.integers(0, 99))
    def retry(self, place: int) -> None:
        job = self._by_sender(place, jobs.retry, {"failed", "cancelled"})
        if job is not None:
            self._end(job, "queued", attempts=0, waits=0, not_before=jobs.AT_ONCE)

    @invariant()
    def the_rows_are_what_the_model_says(self) -> None:
        with self.db.read() as session:
            rows = {row.id: row for row in session.scalars(select(IngestJob))}
        assert rows.keys() == self.model.keys()
        for key, job in self.model.items():
            row = rows[key]
            found = (row.status, row.attempts, row.waits, row.not_before, row.lease_owner, row.lease_until)
            assert found == (job.status, job.attempts, job.waits, job.not_before, job.token, job.lease_until)
            shown = {"running": "queued", "done": "ready"}.get(job.status, job.status)
            assert self.desk.get(job.document_id).status == shown


@pytest.fixture(params=["sqlite", "postgres"])
def make(request: pytest.FixtureRequest) -> Iterator[Callable[[Callable[[], datetime]], Desk]]:
    """What makes a fresh store with a clock; the test runs once on each kind of database."""
    with tempfile.TemporaryDirectory() as base:
        if request.param == "sqlite":
            template: Path = request.getfixturevalue("sqlite_template")
        else:
            server = request.getfixturevalue("postgres_server")

        def fresh(clock: Callable[[], datetime]) -> Desk:
            name = f"jobs_{secrets.token_hex(6)}"
            folder = Path(base) / name
            folder.mkdir()
            if request.param == "sqlite":
                url = f"sqlite:///{folder / 'longleaf.db'}"
                (folder / "longleaf.db").write_bytes(template.read_bytes())
            else:
                url = server.create(name)
            return Desk(Database(url, clock=clock), Settings(_env_file=None, data_dir=folder))

        yield fresh


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_any_sequence_agrees_with_the_model(make: Callable[[Callable[[], datetime]], Desk]) -> None:
    machine = type("Machine", (JobMachine,), {"make": staticmethod(make)})
    run_state_machine_as_test(machine, settings=hypothesis_settings(stateful_step_count=40, max_examples=20))


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_any_sequence_agrees_with_the_model_at_length(
    make: Callable[[Callable[[], datetime]], Desk],
) -> None:
    machine = type("Machine", (JobMachine,), {"make": staticmethod(make)})
    run_state_machine_as_test(machine, settings=hypothesis_settings(stateful_step_count=80, max_examples=400))
