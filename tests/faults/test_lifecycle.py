"""Any sequence of uploads, updates, deletions, crashes and restarts, held against a plain model of what was
acknowledged."""

from __future__ import annotations

import hashlib
import itertools
import secrets
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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

from ingest.jobs import MAX_ATTEMPTS
from ingest.leases import Lease, is_held
from rag.errors import Conflict
from rag.store.repositories import DEFAULT_SCOPE, Changes, Chunks
from tests.faults.inside import (
    DELETE_STEPS,
    READING_STEPS,
    UPDATE_STEPS,
    UPLOAD_STEPS,
    Crash,
    Inside,
    full_disk,
    prepared,
    striking,
)

OPEN = {"queued", "parsing", "chunking", "embedding"}


@dataclass
class Doc:
    """What was acknowledged of one document."""

    live: bytes | None
    coming: bytes | None
    state: str = "open"
    """Of the newest file: open, done, failed or cancelled."""
    crashes: int = 0


class Lifecycle(RuleBasedStateMachine):
    """The installation beside its model."""

    make: Callable[[], Inside]
    contents = itertools.count(1)

    def __init__(self) -> None:
        super().__init__()
        self.inside = type(self).make()
        self.model: dict[str, Doc] = {}
        self.held: list[Lease] = []
        self.workers = itertools.count(1)

    def _content(self, paragraphs: int) -> bytes:
        number = next(self.contents)
        words = " ".join(f"word{number}x{place}" for place in range(20))
        return "\n\n".join(f"Part {place} of note {number}: {words}." for place in range(paragraphs)).encode()

    def _pick(self, place: int) -> str:
        return sorted(self.model)[place % len(self.model)]

    @rule(paragraphs=st.integers(1, 5), step=st.sampled_from([None, None, None, *UPLOAD_STEPS]))
    def upload(self, paragraphs: int, step: str | None) -> None:
        content = self._content(paragraphs)
        try:
            with striking(step):
                accepted = self.inside.upload(content)
        except Crash:
            digest = hashlib.sha256(content).hexdigest()
            there = [key for key, row in self.inside.documents().items() if row.sha256 == digest]
            self.model.update({key: Doc(None, content) for key in there})
        else:
            self.model[accepted.document.id] = Doc(None, content)

    @precondition(lambda self: self.model)
    @rule(place=st.integers(0, 99))
    def upload_again(self, place: int) -> None:
        document = self.model[self._pick(place)]
        for content in {document.live, document.coming} - {None}:
            with pytest.raises(Conflict) as caught:
                self.inside.upload(content)
            assert caught.value.extra["existing_document_id"] == self._pick(place)

    @precondition(lambda self: self.model)
    @rule(
        place=st.integers(0, 99),
        paragraphs=st.integers(1, 5),
        step=st.sampled_from([None, None, *UPDATE_STEPS]),
    )
    def update(self, place: int, paragraphs: int, step: str | None) -> None:
        key, content = self._pick(place), self._content(paragraphs)
        try:
            with striking(step):
                self.inside.replace(key, content)
        except Crash:
            row = self.inside.documents()[key]
            newest = row.updating.sha256 if row.updating else row.sha256
            if newest != hashlib.sha256(content).hexdigest():
                return
        document = self.model[key]
        document.coming, document.state, document.crashes = content, "open", 0

    @precondition(lambda self: self.model)
    @rule(place=st.integers(0, 99), step=st.sampled_from([None, None, *DELETE_STEPS]))
    def delete(self, place: int, step: str | None) -> None:
        key = self._pick(place)
        try:
            with striking(step):
                self.inside.delete(key)
        except Crash:
            if key in self.inside.documents():
                return
        del self.model[key]

    @precondition(lambda self: self.model)
    @rule(place=st.integers(0, 99))
    def cancel(self, place: int) -> None:
        key = self._pick(place)
        document = self.model[key]
        if document.state == "open":
            self.inside.cancel(key)
            document.state = "cancelled"
        else:
            with pytest.raises(Conflict):
                self.inside.cancel(key)

    @precondition(lambda self: self.model)
    @rule(place=st.integers(0, 99))
    def retry(self, place: int) -> None:
        key = self._pick(place)
        document = self.model[key]
        if document.state in {"failed", "cancelled"}:
            self.inside.retry(key)
            document.state, document.crashes = "open", 0
        else:
            with pytest.raises(Conflict):
                self.inside.retry(key)

    @rule(crash=st.sampled_from([None, None, "lease.taken"]))
    def take(self, crash: str | None) -> None:
        """A worker takes a job, and may be slow to begin."""
        before = self._tokens()
        try:
            with striking(crash):
                lease = self.inside.take(f"wrk_{next(self.workers)}")
        except Crash:
            assert self._tokens() == before  # its transaction was not committed
            lease = None
        if lease is not None:
            self.held.append(lease)
        self._see_what_was_set_aside()

    @precondition(lambda self: self.held)
    @rule(
        place=st.integers(0, 99),
        step=st.sampled_from([None, None, None, *READING_STEPS]),
        full=st.booleans(),
    )
    def run(self, place: int, step: str | None, full: bool) -> None:
        """A worker does what it took, unless it was overtaken; it may crash or find the disk full."""
        lease = self.held.pop(place % len(self.held))
        document = self.model.get(lease.document_id)
        current = is_held(self.inside.db, lease)
        try:
            outcome = self.inside.run(lease, step, full_disk if full else Crash)
        except Crash:
            self.inside.bury(lease.token.partition(":")[0])
            outcome = None
        if not current:
            assert outcome in {"lost", None}
            return
        assert document is not None
        if outcome is None:
            document.crashes += 1
            row = self.inside.documents()[lease.document_id]
            if row.generation < lease.generation:
                return
        elif outcome == "postponed":
            assert full
            return
        elif outcome == "lost":  # it was done when the disk refused
            assert full
        else:
            assert outcome == "done"
        document.live, document.coming, document.state = document.coming, None, "done"

    @rule(seconds=st.sampled_from([1, 20, 40, 400, 86_400, -5, -400, -86_400]))
    def time_goes_by(self, seconds: int) -> None:
        self.inside.wait(seconds)

    @rule(step=st.sampled_from([None, None, "recover.reclaimed", "recover.swept"]))
    def restart(self, step: str | None) -> None:
        try:
            with striking(step):
                self.inside.restart()
        except Crash:
            self.inside.restart()

    @rule()
    def save_snapshots(self) -> None:
        self.inside.indexes.save()

    def _tokens(self) -> list[Any]:
        from sqlalchemy import select  # noqa: PLC0415

        from rag.store.tables import IngestJob  # noqa: PLC0415

        with self.inside.db.read() as session:
            return sorted(map(str, session.scalars(select(IngestJob.lease_owner))))

    def _see_what_was_set_aside(self) -> None:
        for key, row in self.inside.documents().items():
            newest = row.updating or row
            if newest.error_code == "poison_document" and self.model[key].state == "open":
                assert self.model[key].crashes + len(self.held) >= MAX_ATTEMPTS - 1
                self.model[key].state = "failed"

    @invariant()
    def nothing_is_lost_and_nothing_returns(self) -> None:
        rows = self.inside.documents()
        assert rows.keys() == self.model.keys()
        for key, document in self.model.items():
            row = rows[key]
            assert (row.generation > 0) == (document.live is not None)
            shown = document.live if document.live is not None else document.coming
            assert row.sha256 == hashlib.sha256(shown or b"").hexdigest()
            newest = row.updating.status if row.updating else row.status
            assert newest in {"open": OPEN, "done": {"ready"}}.get(document.state, {document.state})
            if document.live is not None:
                text = document.live.decode()
                assert self.inside.text(key) == text
                with self.inside.db.read() as session:
                    chunks = Chunks(session, DEFAULT_SCOPE).of_generation(key, row.generation)
                assert "".join(text[chunk.start : chunk.end] for chunk in chunks) == text

    @invariant()
    def every_answer_of_a_search_exists(self) -> None:
        live = {key: row.generation for key, row in self.inside.documents().items() if row.generation}
        assert self.inside.indexed() == live

    def teardown(self) -> None:
        """Nothing is stuck: without faults all becomes ready, and nothing is left of what is not there."""
        try:
            for _ in range(4):
                self.inside.wait(700)
                self.inside.restart()
                for key, document in self.model.items():
                    if document.state in {"failed", "cancelled"}:
                        self.inside.retry(key)
                        document.state = "open"
                while (lease := self.inside.take("wrk_last")) is not None:
                    assert self.inside.run(lease) == "done"
                self._see_what_was_set_aside()
            for document in self.model.values():
                document.live, document.coming, document.state = (
                    document.coming or document.live,
                    None,
                    "done",
                )
            self.inside.restart()
            self.nothing_is_lost_and_nothing_returns()
            self.every_answer_of_a_search_exists()
            assert self.inside.garbage() == []
            with self.inside.db.read() as session:
                log = Changes(session, DEFAULT_SCOPE).after(self.inside.collection_id, 0)
            published = [(c.document_id, c.generation) for c in log if c.kind == "publish"]
            assert len(set(published)) == len(published)
        finally:
            self.inside.close()


@pytest.fixture(params=["sqlite", "postgres"])
def make(request: pytest.FixtureRequest) -> Iterator[Callable[[], Inside]]:
    """What makes a fresh installation; the test runs once on each kind of database."""
    with tempfile.TemporaryDirectory() as base, prepared():
        if request.param == "sqlite":
            template: Path = request.getfixturevalue("sqlite_template")
        else:
            server = request.getfixturevalue("postgres_server")

        def fresh() -> Inside:
            name = f"life_{secrets.token_hex(6)}"
            folder = Path(base) / name
            folder.mkdir()
            if request.param == "sqlite":
                (folder / "longleaf.db").write_bytes(template.read_bytes())
                return Inside(f"sqlite:///{folder / 'longleaf.db'}", folder)
            return Inside(server.create(name), folder)

        yield fresh


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_any_sequence_agrees_with_the_model(make: Callable[[], Inside]) -> None:
    machine = type("Machine", (Lifecycle,), {"make": staticmethod(make)})
    run_state_machine_as_test(machine, settings=hypothesis_settings(stateful_step_count=25, max_examples=15))


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_any_sequence_agrees_with_the_model_at_length(make: Callable[[], Inside]) -> None:
    machine = type("Machine", (Lifecycle,), {"make": staticmethod(make)})
    run_state_machine_as_test(machine, settings=hypothesis_settings(stateful_step_count=60, max_examples=400))
