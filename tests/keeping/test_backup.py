"""A backup is the store as it was at one moment, and becomes one again on either kind of database."""

from __future__ import annotations

import gzip
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ingesting import Desk, WordEmbedder, at_once, tiny_pdf
from sqlalchemy import select, text

from ingest.deletion import delete_document
from ingest.keeping import backup as backup_room
from ingest.keeping.backup import backup
from ingest.keeping.backup_folder import LEFT_OUT, PACKED, BackupFolder, catalogue_tables
from ingest.keeping.portable import BackupDamaged
from ingest.keeping.restore import restore
from ingest.worker import Worker
from rag.errors import Conflict, InvalidRequest
from rag.index.live import LiveIndexes
from rag.retrieval import Candidate, Retriever, SearchScope
from rag.settings import Settings
from rag.store.repositories import DEFAULT_SCOPE, Answers, AuditLog
from rag.store.repositories.audit import Done
from rag.store.session import Database
from rag.store.tables import Base

EITHER = pytest.mark.parametrize("kind", ["sqlite", "postgres"])


def fill(desk: Desk) -> list[str]:
    """Documents of several kinds, read."""
    ids = [
        desk.upload(
            b"The keeper of the mill feeds the heron at dawn. " * 40, "mill.txt", in_="north"
        ).document.id,
        desk.upload(tiny_pdf(["Rent is due in May", "Notice is three months"]), "lease.pdf").document.id,
        desk.upload("# Ühler\n\nDer Müller füttert den Reiher. 🐦\n".encode() * 30, "ühler.md").document.id,
    ]
    ingest(desk)
    assert [(desk.get(key).status, desk.get(key).error_detail) for key in ids] == [("ready", None)] * 3
    return ids


def ingest(desk: Desk) -> None:
    Worker(desk.db, desk.settings, desk.embedder).run_until_idle()


def everything(db: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table but the identity."""
    with db.read() as session:
        found = {
            table.name: [tuple(row) for row in session.execute(select(table).order_by(*table.primary_key))]
            for table in Base.metadata.sorted_tables
        }
    found["store_state"] = [row[2:] for row in found["store_state"]]
    return found


def searched(db: Database, settings: Settings, collection_id: str, question: str) -> list[Candidate]:
    retriever = Retriever(db, LiveIndexes(db, settings), WordEmbedder())
    return retriever.search(question, SearchScope("ws_default", collection_id))


@EITHER
def test_a_restored_store_is_the_same_on_either_database(
    desk: Desk, new_store: Callable[[str], tuple[Database, Settings]], tmp_path: Path, kind: str
) -> None:
    ids = fill(desk)
    with desk.db.session() as session:
        Answers(session, DEFAULT_SCOPE).add(
            "Who feeds the heron?", {"kind": "quotes"}, words={"answer": "the keeper"}, sources={ids[0]: 1}
        )
        AuditLog(session, DEFAULT_SCOPE).add(Done("key_1", "POST /documents", ids[0], 202))
    report = backup(desk.db, desk.settings, tmp_path / "backup")
    assert (report.documents, report.packs_written, report.blobs_written, report.damaged) == (3, 3, 3, [])
    db, settings = new_store(kind)
    restored = restore(db, settings, tmp_path / "backup")
    assert (restored.documents, restored.files) == (3, 3)
    assert everything(db) == everything(desk.db)
    for name in desk.files():
        assert (settings.data_dir / "blobs" / name).read_bytes() == (
            desk.settings.data_dir / "blobs" / name
        ).read_bytes()
    for question in ("Who feeds the heron?", "When is rent due?", "Müller Reiher"):
        before = searched(desk.db, desk.settings, desk.collection_id, question)
        assert before
        assert searched(db, settings, desk.collection_id, question) == before
    with db.session() as session:
        log = AuditLog(session, DEFAULT_SCOPE)
        log.add(Done("key_1", "DELETE /documents/{id}", ids[0], 204))
        assert log.verify() == 2
    # and it goes on living: no key comes twice, nothing is swept
    other = Desk(db, settings)
    with db.read() as session:
        highest = session.scalar(text("SELECT max(id) FROM chunks"))
    new = other.upload(b"One more document.").document.id
    Worker(db, settings, other.embedder).run_until_idle()
    assert other.get(new).status == "ready"
    with db.read() as session:
        lowest = session.scalar(text("SELECT min(id) FROM chunks WHERE document_id = :id"), {"id": new})
    assert lowest > highest
    assert other.files() == desk.files() | {new}


def test_keys_of_deleted_chunks_are_not_given_out_again_after_a_restore(
    desk: Desk, new_store: Callable[[str], tuple[Database, Settings]], tmp_path: Path
) -> None:
    fill(desk)
    last = desk.upload(b"The last one is deleted. " * 200).document.id
    ingest(desk)
    with desk.db.read() as session:
        highest = session.scalar(text("SELECT max(id) FROM chunks"))
    delete_document(desk.db, desk.settings, DEFAULT_SCOPE, last)
    backup(desk.db, desk.settings, tmp_path / "backup")
    for kind in ("sqlite", "postgres"):
        db, settings = new_store(kind)
        restore(db, settings, tmp_path / "backup")
        other = Desk(db, settings)
        other.upload(b"After the restore.")
        ingest(other)
        with db.read() as session:
            assert session.scalar(text("SELECT max(id) FROM chunks")) > highest


def test_the_next_run_brings_only_what_is_new_and_drops_what_was_deleted(desk: Desk, tmp_path: Path) -> None:
    ids, folder = fill(desk), tmp_path / "backup"
    backup(desk.db, desk.settings, folder)
    again = backup(desk.db, desk.settings, folder)
    assert (again.packs_written, again.blobs_written) == (0, 0)
    canary = b"canary4711 is to be forgotten"
    doomed = desk.upload(canary).document.id
    ingest(desk)
    third = backup(desk.db, desk.settings, folder)
    assert (third.packs_written, third.blobs_written) == (1, 1)
    assert holding(folder, canary)
    delete_document(desk.db, desk.settings, DEFAULT_SCOPE, doomed)
    fourth = backup(desk.db, desk.settings, folder)
    assert (fourth.documents, fourth.packs_written) == (3, 0)
    assert holding(folder, canary) == []
    assert not [path for path in folder.rglob("*") if doomed in path.name]
    assert len(list((folder / "documents").iterdir())) == len(ids)
    assert len(list((folder / "blobs").iterdir())) == len(ids)


def holding(folder: Path, words: bytes) -> list[Path]:
    """Files of the folder that hold the words, packed or not."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            raw = path.read_bytes()
            if words in (gzip.decompress(raw) if path.suffix == ".gz" else raw):
                found.append(path)
    return found


@EITHER
def test_work_in_progress_is_queued_in_the_restored_store(
    desk: Desk, new_store: Callable[[str], tuple[Database, Settings]], tmp_path: Path, kind: str
) -> None:
    from ingest import jobs  # noqa: PLC0415

    document_id = desk.upload(b"being read while the backup runs").document.id
    assert jobs.lease(desk.db, "wrk_elsewhere") is not None
    backup(desk.db, desk.settings, tmp_path / "backup")
    db, settings = new_store(kind)
    restore(db, settings, tmp_path / "backup")
    other = Desk(db, settings)
    assert other.get(document_id).status == "queued"
    ingest(other)
    assert other.get(document_id).status == "ready"
    assert other.text(document_id) == "being read while the backup runs"


def test_a_backup_beside_uploads_and_deletions_is_whole(
    desk: Desk, new_store: Callable[[str], tuple[Database, Settings]], tmp_path: Path
) -> None:
    for number in range(12):
        desk.upload(f"document {number} says {number * 7}. ".encode() * 60)
    ingest(desk)
    done = threading.Event()

    def change() -> None:
        number = 100
        while not done.is_set():
            fresh = desk.upload(f"fresh {number} ".encode() * 60).document.id
            ingest(desk)
            with desk.db.read() as session:
                oldest = session.scalar(text("SELECT min(id) FROM documents WHERE generation > 0"))
            delete_document(desk.db, desk.settings, DEFAULT_SCOPE, oldest)
            assert fresh
            number += 1

    def keep() -> list[Any]:
        try:
            return [backup(desk.db, desk.settings, tmp_path / f"backup_{n % 2}") for n in range(4)]
        finally:
            done.set()

    changed, reports = at_once(change, keep)
    assert changed is None, changed
    assert [report.damaged for report in reports] == [[]] * 4
    for number in range(2):
        db, settings = new_store("sqlite")
        restore(db, settings, tmp_path / f"backup_{number}")
        other = Desk(db, settings)
        with db.read() as session:
            found = session.execute(text("SELECT id, generation, chunks_total FROM documents")).all()
            assert found
            for document_id, generation, chunks in found:
                count = session.scalar(
                    text("SELECT count(vector) FROM chunks WHERE document_id = :id"), {"id": document_id}
                )
                assert count == (chunks if generation else 0)
        assert other.files() == {row.id for row in found}


def test_a_run_that_breaks_off_leaves_the_backup_before_it(
    desk: Desk,
    new_store: Callable[[str], tuple[Database, Settings]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(desk)
    folder = tmp_path / "backup"
    backup(desk.db, desk.settings, folder)
    before = everything(desk.db)
    desk.upload(b"came after the backup")
    ingest(desk)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(backup_room._Run, "_catalogue", full)
        with pytest.raises(OSError, match="No space"):
            backup(desk.db, desk.settings, folder)
    db, settings = new_store("sqlite")
    restore(db, settings, folder)
    assert everything(db) == before
    assert backup(desk.db, desk.settings, folder).documents == 4


def test_a_damaged_original_is_named_and_a_good_copy_of_it_kept(desk: Desk, tmp_path: Path) -> None:
    ids = fill(desk)
    backup(desk.db, desk.settings, tmp_path / "old")
    path = desk.settings.data_dir / "blobs" / ids[0]
    path.write_bytes(b"X" + path.read_bytes()[1:])
    assert backup(desk.db, desk.settings, tmp_path / "old").damaged == []  # what it has is what was sent
    assert backup(desk.db, desk.settings, tmp_path / "new").damaged == [ids[0]]
    path.unlink()
    assert backup(desk.db, desk.settings, tmp_path / "newer").damaged == [ids[0]]


def test_links_take_no_room_and_outlive_the_original(desk: Desk, tmp_path: Path) -> None:
    ids = fill(desk)
    backup(desk.db, desk.settings, tmp_path / "linked", link=True)
    original = desk.settings.data_dir / "blobs" / ids[0]
    [twin] = [
        p for p in (tmp_path / "linked" / "blobs").iterdir() if p.stat().st_ino == original.stat().st_ino
    ]
    content = original.read_bytes()
    original.unlink()
    assert twin.read_bytes() == content


def test_whatever_is_damaged_in_a_backup_is_found_and_nothing_is_restored(
    desk: Desk, new_store: Callable[[str], tuple[Database, Settings]], tmp_path: Path
) -> None:
    fill(desk)
    good = tmp_path / "good"
    backup(desk.db, desk.settings, good)
    for number, pattern in enumerate(("catalogue.*", "documents/*", "blobs/*", "manifest.json")):
        for harm in ("cut", "flip", "gone"):
            bad = tmp_path / f"bad_{number}_{harm}"
            shutil.copytree(good, bad)
            victim = sorted(bad.glob(pattern))[0]
            raw = bytearray(victim.read_bytes())
            raw[len(raw) // 2] ^= 0x55
            if harm == "gone":
                victim.unlink()
            else:
                victim.write_bytes(raw if harm == "flip" else raw[:-20])
            db, settings = new_store("sqlite")
            with pytest.raises(BackupDamaged):
                restore(db, settings, bad)
            assert not list((settings.data_dir / "blobs").glob("*"))
            with db.read() as session:
                assert session.scalar(text("SELECT count(*) FROM sqlite_master")) == 0
            restore(db, settings, good)


def test_a_store_that_holds_something_is_not_overwritten(desk: Desk, tmp_path: Path) -> None:
    fill(desk)
    backup(desk.db, desk.settings, tmp_path / "backup")
    with pytest.raises(Conflict) as refused:
        restore(desk.db, desk.settings, tmp_path / "backup")
    assert refused.value.code == "store_not_empty"


def test_a_folder_of_other_things_and_a_backup_of_another_store_are_left_alone(
    desk: Desk, new_store: Callable[[str], tuple[Database, Settings]], tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(InvalidRequest, match=r"cat\.jpg"):
        backup(desk.db, desk.settings, tmp_path / "photos")
    fill(desk)
    backup(desk.db, desk.settings, tmp_path / "backup")
    db, settings = new_store("sqlite")
    restore(db, settings, tmp_path / "backup")
    with pytest.raises(Conflict) as refused:
        backup(db, settings, tmp_path / "backup")
    assert refused.value.code == "foreign_backup"


def test_a_backup_can_not_write_outside_the_store(
    desk: Desk, new_store: Callable[[str], tuple[Database, Settings]], tmp_path: Path
) -> None:
    fill(desk)
    folder = tmp_path / "backup"
    backup(desk.db, desk.settings, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    path = folder / manifest["catalogue"]
    raw = gzip.decompress(path.read_bytes()).decode()
    name = min(desk.files())
    assert f'["{name}",' in raw
    head, tail = raw.split('{"table":"_blobs"')
    path.write_bytes(
        gzip.compress((head + '{"table":"_blobs"' + tail.replace(name, "../../stolen")).encode())
    )
    from ingest.keeping.portable import digest  # noqa: PLC0415

    manifest["catalogue_sha256"] = digest(path).sha256
    (folder / "manifest.json").write_text(json.dumps(manifest))
    db, settings = new_store("sqlite")
    with pytest.raises(BackupDamaged, match="stolen"):
        restore(db, settings, folder)
    assert not list(tmp_path.rglob("stolen"))


def test_every_table_is_kept_or_left_out_on_purpose() -> None:
    kept = {table.name for table in catalogue_tables()} | set(PACKED) | LEFT_OUT
    assert kept == set(Base.metadata.tables) | LEFT_OUT
    assert BackupFolder(Path("nowhere")).manifest(missing_ok=True) is None
