"""What a crash or a disk that refused left of deleted documents goes at the next start; nothing else does."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

import pytest
import torch
from holders import CANARY, HOLDING, Holder
from ingesting import Desk, where_found

from ingest.blobs import STORE_MARK, refuse_foreign_folder
from ingest.deletion import delete_document
from ingest.keeping.kv import kv_folder
from ingest.keeping.leftovers import UNPACKED, clear_leftovers
from ingest.resumable import ResumableUploads
from ingest.worker import Worker
from model.kv.block_file import head_bytes, tag_record, write_block
from rag.errors import Unavailable
from rag.index.live import LiveIndexes
from rag.settings import Settings
from rag.store.migrate import prepare_for_serving
from rag.store.repositories import DEFAULT_SCOPE
from rag.store.session import Database


def put_block(desk: Desk, *tags: str) -> Path:
    """A KV block in the store's folder, as an engine writes it."""
    folder = kv_folder(desk.settings)
    folder.mkdir(parents=True, exist_ok=True)
    key, tensor = secrets.token_bytes(32), torch.zeros(4)
    path = folder / f"{key.hex()}.kv"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    write_block(handle, head_bytes(key, b"f" * 32, tensor), tensor, tag_record(key, set(tags)), lambda: False)
    os.close(handle)
    return path


def test_indexes_blocks_and_uploads_of_what_is_gone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag.index.live.WORTH_SAVING", 1)
    canary = f"canary{secrets.token_hex(8)}"
    kept = desk.upload(b"The keeper stays. " * 50).document.id
    gone = desk.upload(f"{canary} goes. ".encode() * 50, f"{canary}.txt").document.id
    Worker(desk.db, desk.settings, desk.embedder).run_until_idle()
    indexes = LiveIndexes(desk.db, desk.settings)
    indexes.follow(desk.collection_id)
    indexes.save()
    blocks = [put_block(desk, kept), put_block(desk, kept, gone), put_block(desk, gone)]
    (desk.settings.data_dir / "index" / "col_of_nobody").mkdir()
    snapshot = desk.settings.data_dir / "index" / desk.collection_id
    assert canary in str(where_found(desk.db, desk.settings.data_dir, canary)) or snapshot.is_dir()
    assert clear_leftovers(desk.db, desk.settings) == ["col_of_nobody"]
    assert snapshot.is_dir()

    # as after a crash between the deletion's commit and what follows it
    with monkeypatch.context() as patch:
        patch.setattr("ingest.deletion._finish", lambda *_: None)
        delete_document(desk.db, desk.settings, DEFAULT_SCOPE, gone)
    removed = clear_leftovers(desk.db, desk.settings)
    assert sorted(removed) == sorted([desk.collection_id, blocks[1].name, blocks[2].name])
    assert not snapshot.exists()
    assert [path.exists() for path in blocks] == [True, False, False]
    assert set(LiveIndexes(desk.db, desk.settings).follow(desk.collection_id).documents) == {kept}
    assert clear_leftovers(desk.db, desk.settings) == []


def test_a_deletion_purges_blocks_though_no_engine_is_there(desk: Desk) -> None:
    ids = [desk.upload(f"note {n}".encode()).document.id for n in range(2)]
    Worker(desk.db, desk.settings, desk.embedder).run_until_idle()
    blocks = [put_block(desk, ids[0]), put_block(desk, *ids), put_block(desk, ids[1])]
    damaged = blocks[0].with_name(f"{'0' * 64}.kv")
    damaged.write_bytes(b"whose it is can't be read")
    delete_document(desk.db, desk.settings, DEFAULT_SCOPE, ids[0])
    assert [path.exists() for path in (*blocks, damaged)] == [False, False, True, False]


def test_an_archive_whose_import_was_killed_is_removed(desk: Desk) -> None:
    importing = Holder(HOLDING, str(desk.settings.data_dir / "tmp"), UNPACKED)
    part = importing.path / "part"
    assert clear_leftovers(desk.db, desk.settings) == []
    assert part.read_bytes() == CANARY
    importing.kill()
    assert part.read_bytes() == CANARY
    assert clear_leftovers(desk.db, desk.settings) == [importing.path.name]
    assert not part.exists()


def test_an_upload_that_nobody_goes_on_with_is_removed(desk: Desk) -> None:
    uploads = ResumableUploads(desk.settings, DEFAULT_SCOPE.workspace_id)
    old, new = (uploads.create(100, f"{name}.txt", "test") for name in ("old", "new"))
    past = time.time() - desk.settings.upload_hours * 3600 - 10
    os.utime(desk.settings.data_dir / "uploads" / old.id / "data", (past, past))
    assert clear_leftovers(desk.db, desk.settings) == [old.id]
    assert uploads.get(new.id) == new


def test_what_an_upload_became_is_noted_without_its_words(desk: Desk) -> None:
    uploads = ResumableUploads(desk.settings, DEFAULT_SCOPE.workspace_id)
    upload = uploads.create(0, "canary.txt", "test", metadata={"note": "canary"})
    done = uploads.finished(upload, "doc_1", "job_1")
    assert (uploads.get(upload.id), done.document_id, done.job_id) == (done, "doc_1", "job_1")
    assert where_found(desk.db, desk.settings.data_dir / "uploads", "canary") == []


def test_a_start_on_another_database_than_the_documents_is_refused(desk: Desk, tmp_path: Path) -> None:
    refuse_foreign_folder(desk.db, desk.settings)
    desk.upload(b"somebody's document")
    refuse_foreign_folder(desk.db, desk.settings)
    missing = tmp_path / "other.db"
    other = Database(f"sqlite:///{missing}")
    with pytest.raises(Unavailable, match="another database") as caught:
        refuse_foreign_folder(other, desk.settings)
    assert caught.value.code == "foreign_folder"
    assert not missing.exists(), "asking must not make what is missing"
    prepare_for_serving(other)
    with pytest.raises(Unavailable, match="another database"):
        refuse_foreign_folder(other, desk.settings)
    for path in (desk.settings.data_dir / "blobs").glob("doc_*"):
        path.unlink()
    refuse_foreign_folder(other, desk.settings)
    fresh = Desk(other, desk.settings)
    fresh.upload(b"the folder was empty and is this one's now")
    assert (desk.settings.data_dir / "blobs" / STORE_MARK).read_text() != ""
    with pytest.raises(Unavailable, match="another database"):
        refuse_foreign_folder(desk.db, desk.settings)
    other.dispose()


def test_a_file_that_was_moved_away_is_not_made_anew(tmp_path: Path, settings: Settings) -> None:
    path = tmp_path / "moved.db"
    database = Database(f"sqlite:///{path}")
    prepare_for_serving(database)
    desk = Desk(database, settings)
    database.dispose()
    path.rename(tmp_path / "away.db")
    with pytest.raises(Unavailable, match="is gone"):
        desk.rows("documents")
    assert not path.exists()
    (tmp_path / "away.db").rename(path)
    assert desk.rows("collections") == 1
    database.dispose()
