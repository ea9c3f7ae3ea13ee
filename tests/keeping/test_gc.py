"""Clearing up takes what nothing leads to, says so before, and touches nothing that could be asked for."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from ingesting import Desk
from sqlalchemy import text
from test_backup import fill, ingest, searched

from ingest import jobs
from ingest.keeping.gc import collect
from ingest.keeping.verify import verify
from ingest.updates import replace_file
from ingest.uploads import NewDocument
from rag.index.live import LiveIndexes
from rag.store.repositories import DEFAULT_SCOPE, Answers


def kinds(desk: Desk, *, dry_run: bool, age: timedelta | None = None) -> list[tuple[str, str]]:
    found = collect(desk.db, desk.settings, dry_run=dry_run, answers_older_than=age)
    return sorted((each.kind, Path(each.name).name) for each in found)


@pytest.fixture
def ids(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A store in work: documents that are read, one that waits, one with a version on its way, an index."""
    monkeypatch.setattr("rag.index.live.WORTH_SAVING", 1)
    filled = fill(desk)
    LiveIndexes(desk.db, desk.settings).follow(desk.collection_id)
    with desk.sink(b"The next version of the mill.") as sink:
        replace_file(desk.db, desk.settings, DEFAULT_SCOPE, filled[0], NewDocument(sink, "mill.txt"))
    return [*filled, desk.upload(b"It waits to be read.").document.id]


def test_nothing_of_a_store_in_work_is_garbage(desk: Desk, ids: list[str]) -> None:
    with desk.sink(b"on its way"):
        assert kinds(desk, dry_run=True) == []
        assert kinds(desk, dry_run=False) == []
    assert desk.files() == {ids[0], f"{ids[0]}.2", *ids[1:]}
    ingest(desk)
    assert [desk.get(key).status for key in ids] == ["ready"] * 4
    assert desk.text(ids[0]) == "The next version of the mill."
    assert verify(desk.db, desk.settings).problems == []


def test_what_is_nobodys_is_named_first_and_then_goes(desk: Desk, ids: list[str]) -> None:
    data = desk.settings.data_dir
    (data / "blobs" / "doc_nobody").write_bytes(b"left by a crash")
    (data / "blobs" / f"{ids[1]}.7").write_bytes(b"a version that never was")
    (data / "tmp" / "upload_dead").write_bytes(b"of a dead process")
    (data / "workers" / "wrk_dead").write_bytes(b"")
    (data / "index" / "col_gone").mkdir()
    (data / "index" / "col_gone" / "manifest.json").write_text("{}")
    with desk.db.session() as session:
        for table in ("texts", "pages", "chunks"):
            columns = {
                "texts": "start, text",
                "pages": 'number, start, "end"',
                "chunks": 'collection_id, ordinal, start, "end", headings, tokens',
            }[table]
            session.execute(
                text(
                    f"INSERT INTO {table} (document_id, generation, {columns}) "
                    f"SELECT document_id, 9, {columns} FROM {table} WHERE document_id = :id"
                ),
                {"id": ids[1]},
            )
    before = searched(desk.db, desk.settings, desk.collection_id, "When is rent due?")
    expected = [
        ("index", "col_gone"),
        ("original", f"{ids[1]}.7"),
        ("original", "doc_nobody"),
        ("rows", "chunks"),
        ("rows", "pages"),
        ("rows", "texts"),
        ("upload", "upload_dead"),
        ("worker", "wrk_dead"),
    ]
    assert kinds(desk, dry_run=True) == sorted(expected)
    assert (data / "blobs" / "doc_nobody").exists()
    assert kinds(desk, dry_run=False) == sorted(expected)
    assert kinds(desk, dry_run=True) == []
    assert not (data / "index" / "col_gone").exists()
    assert desk.files() == {ids[0], f"{ids[0]}.2", *ids[1:]}
    assert searched(desk.db, desk.settings, desk.collection_id, "When is rent due?") == before
    assert verify(desk.db, desk.settings).problems == []


def test_what_is_being_written_is_spared(desk: Desk, ids: list[str]) -> None:
    lease = jobs.lease(desk.db, "wrk_elsewhere")
    assert lease is not None
    with desk.db.session() as session:
        session.execute(
            text("INSERT INTO texts (document_id, generation, start, text) VALUES (:id, :number, 0, 'half')"),
            {"id": lease.document_id, "number": lease.generation},
        )
    assert lease.document_id in ids
    assert kinds(desk, dry_run=False) == []


@pytest.mark.usefixtures("ids")
def test_answers_go_by_age_and_only_where_one_is_given(desk: Desk) -> None:
    with desk.db.session() as session:
        answers = Answers(session, DEFAULT_SCOPE)
        answers.add("Old?", {"kind": "quotes"}, words={"answer": "old"}, sources={})
        new = answers.add("New?", {"kind": "quotes"}, words={"answer": "new"}, sources={})
    with desk.db.session() as session:
        statement = text("UPDATE answers SET created_at = '2020-01-01 00:00:00+00' WHERE id != :id")
        session.execute(statement, {"id": new.id})
    assert kinds(desk, dry_run=False) == []
    assert kinds(desk, dry_run=False, age=timedelta(days=30)) == [("answers", "answers")]
    with desk.db.read() as session:
        assert [row.question for row in Answers(session, DEFAULT_SCOPE).list()] == ["New?"]
