"""A document that changes: the old version answers until the new one is ready, and the newest file wins."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from ingesting import Desk, WordEmbedder, at_once
from sqlalchemy import update

from ingest import jobs, updates
from ingest.blobs import blob_path, sweep
from ingest.chunking import embedding_text
from ingest.deletion import delete_document
from ingest.pipeline import Pipeline, Step
from ingest.updates import Replaced, change_metadata, merge_patch, replace_file
from ingest.uploads import NewDocument
from ingest.worker import Worker
from rag.errors import Conflict, InvalidRequest, NotFound, TooLarge
from rag.settings import Settings
from rag.store.records import Half
from rag.store.repositories import (
    DEFAULT_SCOPE,
    Chunks,
    Collections,
    Generations,
    Jobs,
    Scope,
    Versions,
)
from rag.store.scope import utc_now
from rag.store.session import Database
from rag.store.tables import IngestJob


class Counting(WordEmbedder):
    """Says what it was given to embed."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def embed_passages(self, texts: Sequence[str]) -> Half:
        self.asked += texts
        return super().embed_passages(texts)


@pytest.fixture
def desk(database: Database, settings: Settings) -> Desk:
    return Desk(database, settings, Counting())


def replace(desk: Desk, document_id: str, content: bytes, filename: str = "note.txt") -> Replaced:
    with desk.sink(content) as sink:
        return replace_file(desk.db, desk.settings, DEFAULT_SCOPE, document_id, NewDocument(sink, filename))


def read(desk: Desk, on_step: Callable[[Step], None] = lambda _step: None) -> str:
    lease = jobs.lease(desk.db, "wrk_a")
    assert lease is not None
    return Pipeline(desk.db, desk.settings, desk.embedder, on_step).run(lease)


def ready(desk: Desk, content: bytes, **metadata: Any) -> str:
    document_id = desk.upload(content, **metadata).document.id
    assert read(desk) == "done"
    return document_id


def statuses(desk: Desk, document_id: str) -> list[tuple[int, str]]:
    with desk.db.read() as session:
        rows = Versions(session, DEFAULT_SCOPE).list(document_id)
    return [(row.generation, row.status) for row in rows]


def paragraphs(seed: int, count: int = 60) -> list[str]:
    words = ("mill", "wheel", "rent", "pond", "lease", "tenant", "owner", "harvest", "bridge", "flour")
    pick = random.Random(seed)
    return [" ".join(pick.choices(words, k=50)).capitalize() + "." for _ in range(count)]


def test_the_old_version_answers_until_the_new_one_is_ready(desk: Desk) -> None:
    document_id = ready(desk, b"The old text of it.")
    taken = replace(desk, document_id, b"The new text, longer.", "renamed.txt")
    assert (taken.generation, taken.status, taken.unchanged) == (2, "queued", False)
    seen: list[str] = []

    def old_one_answers(step: Step) -> None:
        row = desk.get(document_id)
        if step == "published":
            return
        assert (row.status, row.generation, row.title) == ("ready", 1, "note")
        assert desk.text(document_id) == "The old text of it."
        assert row.updating is not None
        seen.append(row.updating.status)

    assert read(desk, old_one_answers) == "done"
    assert seen == ["queued", "parsing", "embedding", "embedding", "embedding"]
    row = desk.get(document_id)
    assert (row.status, row.generation, row.updating) == ("ready", 2, None)
    assert (row.filename, row.title, row.bytes) == ("renamed.txt", "renamed", 21)
    assert desk.text(document_id) == "The new text, longer."
    assert statuses(desk, document_id) == [(2, "ready"), (1, "superseded")]
    assert desk.files() == {f"{document_id}.2"}
    with desk.db.read() as session:
        assert Generations(session, DEFAULT_SCOPE).progress(document_id, 1) == (0, 0)


def test_unchanged_chunks_keep_their_vectors(desk: Desk) -> None:
    before = paragraphs(1)
    document_id = ready(desk, "\n\n".join(before).encode())
    first = len(desk.embedder.asked)
    desk.embedder.asked.clear()
    after = list(before)
    after[30] = "Something else stands here about salt and the sea, in one single short sentence."
    replace(desk, document_id, "\n\n".join(after).encode())
    assert read(desk) == "done"
    assert first >= 10
    assert 1 <= len(desk.embedder.asked) <= 3
    assert any("salt" in text for text in desk.embedder.asked)
    with desk.db.read() as session:
        stored = Chunks(session, DEFAULT_SCOPE).of_generation(document_id, 2)
    text = desk.text(document_id)
    expected = WordEmbedder().embed_passages([embedding_text(chunk, text, "note") for chunk in stored])
    for chunk, vector in zip(stored, expected, strict=True):
        assert chunk.vector is not None
        np.testing.assert_array_equal(chunk.vector, vector.astype(np.float16))


def test_the_live_bytes_again_change_nothing_and_end_what_is_on_its_way(desk: Desk) -> None:
    document_id = ready(desk, b"The text.")
    again = replace(desk, document_id, b"The text.")
    assert (again.unchanged, again.generation) == (True, 1)
    other = replace(desk, document_id, b"Another text.")
    back = replace(desk, document_id, b"The text.")
    assert (other.unchanged, back.unchanged) == (False, True)
    assert desk.get(document_id).updating is None
    assert jobs.lease(desk.db, "wrk_a") is None
    assert desk.files() == {document_id}
    assert statuses(desk, document_id) == [(2, "superseded"), (1, "ready")]


def test_the_newest_of_several_files_wins(desk: Desk) -> None:
    document_id = ready(desk, b"First.")
    second = replace(desk, document_id, b"Second.")
    held = jobs.lease(desk.db, "wrk_a")
    third = replace(desk, document_id, b"Third.")
    same = replace(desk, document_id, b"Third.")
    assert (same.generation, same.job_id) == (third.generation, third.job_id)
    assert held is not None
    assert Pipeline(desk.db, desk.settings, desk.embedder).run(held) == "lost"
    assert read(desk) == "done"
    assert desk.text(document_id) == "Third."
    assert jobs.lease(desk.db, "wrk_a") is None
    assert statuses(desk, document_id) == [(3, "ready"), (2, "superseded"), (1, "superseded")]
    assert desk.files() == {f"{document_id}.3"}
    with desk.db.read() as session:
        assert Jobs(session, DEFAULT_SCOPE).get(second.job_id).status == "cancelled"


def test_files_that_come_at_once_leave_one_of_them(desk: Desk) -> None:
    document_id = ready(desk, b"Zero.")
    results = at_once(*(lambda n=n: replace(desk, document_id, b"Text number %d." % n) for n in range(4)))
    generations = sorted(result.generation for result in results)
    assert generations == [2, 3, 4, 5]
    last = next(n for n, result in enumerate(results) if result.generation == 5)
    while jobs.lease(desk.db, "wrk_probe", seconds=-1) is not None:
        assert read(desk) == "done"
    assert desk.text(document_id) == f"Text number {last}."
    assert desk.files() == {f"{document_id}.5"}


@pytest.mark.parametrize("state", ["queued", "failed", "cancelled", "running"])
def test_a_document_that_was_never_live_becomes_the_new_file(desk: Desk, state: str) -> None:
    document_id = desk.upload(b"First.", "old.txt").document.id
    held = jobs.lease(desk.db, "wrk_a") if state in {"failed", "running"} else None
    if state == "failed":
        assert held is not None
        jobs.fail(desk.db, held, "corrupt", "broken")
    elif state == "cancelled":
        jobs.cancel(desk.db, DEFAULT_SCOPE, document_id)
    replace(desk, document_id, b"Second one.", "new.txt")
    row = desk.get(document_id)
    assert (row.status, row.generation, row.error_code, row.updating) == ("queued", 0, None, None)
    assert (row.filename, row.title, row.bytes) == ("new.txt", "new", 11)
    if state == "running":
        assert held is not None
        assert Pipeline(desk.db, desk.settings, desk.embedder).run(held) == "lost"
    assert read(desk) == "done"
    assert desk.text(document_id) == "Second one."
    assert desk.files() == {f"{document_id}.2"}
    assert statuses(desk, document_id) == [(2, "ready"), (1, "superseded")]


def test_a_version_that_fails_or_is_cancelled_leaves_the_old_one_live(desk: Desk) -> None:
    document_id = ready(desk, b"Good text.")
    replace(desk, document_id, b"%PDF-1.7 garbage", "bad.pdf")
    assert read(desk) == "failed"
    row = desk.get(document_id)
    assert (row.status, row.generation, row.error_code) == ("ready", 1, None)
    assert row.updating is not None
    assert (row.updating.status, row.updating.error_code) == ("failed", "corrupt")
    assert desk.text(document_id) == "Good text."
    jobs.retry(desk.db, DEFAULT_SCOPE, document_id)
    jobs.cancel(desk.db, DEFAULT_SCOPE, document_id)
    updating = desk.get(document_id).updating
    assert updating is not None
    assert (updating.status, updating.error_code) == ("cancelled", None)
    assert desk.files() == {document_id, f"{document_id}.2"}  # it may be retried
    replace(desk, document_id, b"Better text.")
    assert read(desk) == "done"
    assert desk.text(document_id) == "Better text."
    assert desk.files() == {f"{document_id}.3"}


def test_bytes_of_another_document_are_refused(desk: Desk) -> None:
    mine, other = ready(desk, b"Mine."), ready(desk, b"Other.")
    with pytest.raises(Conflict) as caught:
        replace(desk, mine, b"Other.")
    assert (caught.value.code, caught.value.extra["existing_document_id"]) == ("duplicate_document", other)
    replace(desk, other, b"Coming.")
    for document in (lambda: replace(desk, mine, b"Coming."), lambda: desk.upload(b"Coming.")):
        with pytest.raises(Conflict) as caught:
            document()
        assert caught.value.extra["existing_document_id"] == other
    assert desk.files() == {mine, other, f"{other}.2"}


def test_a_race_for_the_same_bytes_is_decided_by_the_database(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = ready(desk, b"Mine."), ready(desk, b"Other.")
    monkeypatch.setattr(updates, "_refuse_duplicate", lambda *_: None)
    replace(desk, mine, b"Same.")
    replace(desk, other, b"Same.")
    assert sorted([read(desk), read(desk)]) == ["done", "failed"]
    rows = [desk.get(mine), desk.get(other)]
    loser = next(row for row in rows if row.updating is not None)
    assert loser.updating is not None
    assert (loser.status, loser.generation) == ("ready", 1)
    assert loser.updating.error_code == "duplicate_document"


def test_deletion_takes_every_version(desk: Desk) -> None:
    document_id = ready(desk, b"First.")
    replace(desk, document_id, b"Second.")
    held = jobs.lease(desk.db, "wrk_a")
    delete_document(desk.db, desk.settings, DEFAULT_SCOPE, document_id)
    assert held is not None
    assert Pipeline(desk.db, desk.settings, desk.embedder).run(held) == "lost"
    assert desk.files() == set()
    assert desk.rows("versions") == desk.rows("chunks") == desk.rows("texts") == 0
    with pytest.raises(NotFound):
        replace(desk, document_id, b"Third.")
    assert desk.files() == set()


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize(
    "where", ["leased", "parsed", "written", "embedded", "ready_to_publish", "published"]
)
def test_a_crash_at_any_step_loses_nothing_and_the_sweep_tidies(desk: Desk, where: str) -> None:
    document_id = ready(desk, b"Old text.")
    replace(desk, document_id, b"New text.")

    def die(step: Step) -> None:
        if step == where:
            raise Killed

    with pytest.raises(Killed):
        read(desk, die)
    assert desk.text(document_id) == ("New text." if where == "published" else "Old text.")
    with desk.db.session() as session:
        session.execute(update(IngestJob).values(lease_until=utc_now() - timedelta(seconds=5)))
    Worker(desk.db, desk.settings, desk.embedder).run_until_idle()
    assert desk.text(document_id) == "New text."
    sweep(desk.db, desk.settings)
    assert desk.files() == {f"{document_id}.2"}


def test_the_sweep_keeps_what_is_live_or_may_be_read(desk: Desk) -> None:
    live, coming = ready(desk, b"Live."), ready(desk, b"Coming.")
    replace(desk, coming, b"Next.")
    fresh = desk.upload(b"Fresh.").document.id
    replace(desk, fresh, b"Fresher.")
    for stray in (f"{live}.7", f"{live}.x", f"{coming}.3", fresh, "doc_none"):
        blob_path(desk.settings, stray).write_bytes(b"left over")
    sweep(desk.db, desk.settings)
    assert desk.files() == {live, coming, f"{coming}.2", f"{fresh}.2"}


def test_limits_of_a_collection(desk: Desk) -> None:
    first = ready(desk, b"12345")
    with desk.db.session() as session:
        collections = Collections(session, DEFAULT_SCOPE)
        collections.set_limit(desk.collection_id, "max_documents", 2)
        collections.set_limit(desk.collection_id, "max_bytes", 20)
    desk.upload(b"abcdef")
    with pytest.raises(Conflict) as full:
        desk.upload(b"third")
    assert (full.value.code, full.value.extra["limit"]) == ("too_many_documents", 2)
    with pytest.raises(TooLarge) as large:
        replace(desk, first, b"x" * 15)
    assert large.value.code == "collection_too_large"
    assert desk.get(first).updating is None
    replace(desk, first, b"x" * 14)
    assert len(desk.files()) == 3


def test_metadata_is_merged_and_seen_at_once(desk: Desk) -> None:
    document_id = ready(desk, b"Some text.", year=2020, nested={"a": 1, "b": 2})
    asked = len(desk.embedder.asked)
    row = change_metadata(
        desk.db, DEFAULT_SCOPE, document_id, {"year": 2024, "nested": {"b": None, "c": 3}, "title": "Named"}
    )
    assert row.meta == {"year": 2024, "nested": {"a": 1, "c": 3}, "title": "Named"}
    assert row.title == "Named"
    assert len(desk.embedder.asked) == asked
    row = change_metadata(desk.db, DEFAULT_SCOPE, document_id, {"title": None})
    assert (row.title, "title" in row.meta) == ("note", False)
    for bad in ({"x": float("nan")}, {"x": "\0"}):
        with pytest.raises(InvalidRequest):
            change_metadata(desk.db, DEFAULT_SCOPE, document_id, bad)
    with pytest.raises(NotFound):
        change_metadata(desk.db, Scope("ws_other"), document_id, {"a": 1})
    # a name that was given stays with the document when its file changes
    change_metadata(desk.db, DEFAULT_SCOPE, document_id, {"title": "Given"})
    replace(desk, document_id, b"Other text.")
    assert read(desk) == "done"
    assert desk.get(document_id).title == "Given"


def test_merge_patch_as_in_its_standard() -> None:
    # RFC 7396, appendix A, as far as the target is an object
    for target, patch, result in (
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ):
        assert merge_patch(target, patch) == result
