"""After a deletion nothing is found anywhere: not in a table, not in a file, not by a worker that comes
late."""

from __future__ import annotations

import errno
import secrets
from pathlib import Path

import pytest
from ingesting import Desk, at_once, tiny_pdf, where_found

from ingest import jobs, uploads
from ingest.deletion import DeletionUnfinished, delete_collection, delete_document
from ingest.worker import Worker, recover
from rag.errors import NotFound
from rag.settings import Settings
from rag.store.records import ChangeRow
from rag.store.repositories import DEFAULT_SCOPE, Changes, Chunks, Collections, Scope
from rag.store.session import Database


@pytest.fixture
def desk(database: Database, settings: Settings) -> Desk:
    return Desk(database, settings)


def _ingest(desk: Desk) -> None:
    Worker(desk.db, desk.settings, desk.embedder).run_until_idle()


def _log(desk: Desk) -> list[ChangeRow]:
    with desk.db.read() as session:
        return Changes(session, DEFAULT_SCOPE).after(desk.collection_id, 0)


def test_no_table_and_no_file_holds_a_canary(desk: Desk) -> None:
    canary = f"canary{secrets.token_hex(8)}"
    folder = desk.settings.data_dir
    others = [desk.upload(f"Another document {n}. ".encode() * 500).document.id for n in range(3)]
    doomed = [
        desk.upload(f"# {canary}\n\n{canary} ".encode() * 3000, f"{canary}.md", title=canary, note=[canary]),
        desk.upload(tiny_pdf([canary, "second page"]), f"{canary}.pdf", key={canary: 1}),
        desk.upload(f"{canary} fails".encode() + b"\0\1\2" * 50, f"{canary}.bin"),
    ]
    _ingest(desk)
    before = set(where_found(desk.db, folder, canary))
    assert {"texts.text", "documents.title", "documents.metadata", "chunks.headings"} <= before
    assert f"blobs/{doomed[0].document.id}" in before
    if desk.db.dialect == "sqlite":
        assert before & {"longleaf.db", "longleaf.db-wal"}
    for accepted in doomed:
        delete_document(desk.db, desk.settings, DEFAULT_SCOPE, accepted.document.id)
    assert where_found(desk.db, folder, canary) == []
    assert desk.files() == set(others)
    for document_id in others:
        assert desk.get(document_id).status == "ready"
        assert desk.text(document_id).startswith("Another document")


def test_the_log_and_the_listener_hear_of_it_after_the_commit(desk: Desk) -> None:
    document_id = desk.upload(b"some text").document.id
    _ingest(desk)
    with desk.db.read() as session:
        keys = [row.id for row in Chunks(session, DEFAULT_SCOPE).of_document(document_id)]
    heard: list[tuple[str, str]] = []

    def on_deleted(collection_id: str, document_id: str) -> None:
        with desk.db.read() as session:
            assert Chunks(session, DEFAULT_SCOPE).live(keys) == {}
        assert [change.kind for change in _log(desk)] == ["publish", "delete"]
        heard.append((collection_id, document_id))

    delete_document(desk.db, desk.settings, DEFAULT_SCOPE, document_id, on_deleted)
    assert heard == [(desk.collection_id, document_id)]


@pytest.mark.parametrize("state", ["queued", "running", "failed", "cancelled"])
def test_a_document_can_be_deleted_in_any_state(desk: Desk, state: str) -> None:
    document_id = desk.upload(b"\0\1\2\3" if state == "failed" else b"text").document.id
    if state == "running":
        assert jobs.lease(desk.db, "wrk_a") is not None
    elif state == "failed":
        _ingest(desk)
    elif state == "cancelled":
        jobs.cancel(desk.db, DEFAULT_SCOPE, document_id)
    delete_document(desk.db, desk.settings, DEFAULT_SCOPE, document_id)
    assert (desk.rows("documents"), desk.rows("ingest_jobs"), desk.files()) == (0, 0, set())
    with pytest.raises(NotFound):
        desk.get(document_id)


def test_a_disk_that_refuses_is_told_of_and_made_up_for_at_the_next_start(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    document_id = desk.upload(b"deleted all the same").document.id
    _ingest(desk)
    heard: list[tuple[str, str]] = []

    def refuse(path: Path, **_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        with pytest.raises(DeletionUnfinished, match="Read-only file system") as caught:
            delete_document(
                desk.db, desk.settings, DEFAULT_SCOPE, document_id, lambda *pair: heard.append(pair)
            )
    assert (caught.value.status, caught.value.code) == (503, "deletion_unfinished")
    assert heard == [(desk.collection_id, document_id)]
    with pytest.raises(NotFound):
        desk.get(document_id)
    assert desk.files() == {document_id}
    recover(desk.db, desk.settings)
    assert desk.files() == set()


def test_the_same_bytes_can_come_again(desk: Desk) -> None:
    first = desk.upload(b"again").document.id
    _ingest(desk)
    delete_document(desk.db, desk.settings, DEFAULT_SCOPE, first)
    second = desk.upload(b"again").document.id
    _ingest(desk)
    assert first != second
    assert desk.get(second).status == "ready"


def test_a_collection_goes_with_all_its_documents(desk: Desk) -> None:
    other = Desk(desk.db, desk.settings, name="other")
    kept = other.upload(b"kept").document.id
    canary = f"canary{secrets.token_hex(8)}"
    gone = [desk.upload(f"{canary} {n}".encode()).document.id for n in range(4)]
    _ingest(desk)
    heard: list[tuple[str, str]] = []
    delete_collection(
        desk.db, desk.settings, DEFAULT_SCOPE, desk.collection_id, lambda *pair: heard.append(pair)
    )
    assert sorted(heard) == [(desk.collection_id, document_id) for document_id in sorted(gone)]
    assert where_found(desk.db, desk.settings.data_dir, canary) == []
    assert desk.files() == {kept}
    with desk.db.read() as session:
        with pytest.raises(NotFound):
            Collections(session, DEFAULT_SCOPE).get(desk.collection_id)
        with pytest.raises(NotFound):
            Changes(session, DEFAULT_SCOPE).after(desk.collection_id, 0)
    assert other.get(kept).status == "ready"


def test_uploads_into_a_collection_that_is_being_deleted(desk: Desk) -> None:
    for _ in range(4):
        target = Desk(desk.db, desk.settings, name="target")
        target.upload(b"first")
        uploaded, deleted = at_once(
            lambda target=target: target.upload(b"second"),
            lambda target=target: delete_collection(
                desk.db, desk.settings, DEFAULT_SCOPE, target.collection_id
            ),
        )
        assert deleted is None, deleted
        assert not isinstance(uploaded, Exception) or isinstance(uploaded, NotFound), uploaded
        assert (desk.rows("documents"), desk.files()) == (0, set())


def test_another_workspace_can_not_delete(desk: Desk) -> None:
    document_id = desk.upload(b"mine").document.id
    stranger = Scope("ws_stranger")
    with pytest.raises(NotFound):
        delete_document(desk.db, desk.settings, stranger, document_id)
    with pytest.raises(NotFound):
        delete_collection(desk.db, desk.settings, stranger, desk.collection_id)
    assert desk.files() == {document_id}


def test_two_deletions_at_once_have_one_winner(desk: Desk) -> None:
    for number in range(4):
        document_id = desk.upload(f"note {number}".encode()).document.id
        results = at_once(
            *[lambda i=document_id: delete_document(desk.db, desk.settings, DEFAULT_SCOPE, i)] * 3
        )
        assert sorted(type(result).__name__ for result in results) == ["NoneType", "NotFound", "NotFound"]
    assert [change.kind for change in _log(desk)] == ["delete"] * 4


def test_deletions_beside_a_working_worker(desk: Desk) -> None:
    ids = [desk.upload(f"note {n}".encode()).document.id for n in range(6)]

    def delete() -> None:
        for document_id in reversed(ids):
            delete_document(desk.db, desk.settings, DEFAULT_SCOPE, document_id)

    results = at_once(delete, lambda: _ingest(desk))
    assert results == [None, None]
    assert [desk.rows(table) for table in ("documents", "ingest_jobs", "texts", "chunks")] == [0] * 4
    last = {change.document_id: change.kind for change in _log(desk)}
    assert last == dict.fromkeys(ids, "delete")


def test_a_file_that_a_crash_left_is_swept(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    document_id = desk.upload(b"left behind").document.id
    with monkeypatch.context() as patch:
        patch.setattr("ingest.deletion._finish", lambda *_: None)
        delete_document(desk.db, desk.settings, DEFAULT_SCOPE, document_id)
    assert desk.files() == {document_id}
    assert uploads.sweep(desk.db, desk.settings) == [document_id]
    assert desk.files() == set()
