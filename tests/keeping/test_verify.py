"""Whatever is broken is found, named, and put right where it can be derived; nothing else is reported."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ingesting import Desk, WordEmbedder
from sqlalchemy import text
from test_backup import fill, ingest, searched

from ingest.keeping.backup import backup
from ingest.keeping.repair import codes, repair
from ingest.keeping.verify import verify, verify_backup
from rag.index.live import LiveIndexes, snapshot_folder
from rag.store.repositories import DEFAULT_SCOPE, Answers


@pytest.fixture
def ids(desk: Desk) -> list[str]:
    filled = fill(desk)
    with desk.db.session() as session:
        Answers(session, DEFAULT_SCOPE).add(
            "Who?", {"kind": "quotes"}, words={"answer": "the keeper"}, sources={filled[0]: 1}
        )
    return filled


def found(desk: Desk) -> list[str]:
    return codes(verify(desk.db, desk.settings).problems)


def put_right(desk: Desk, embedder: object = None) -> list[str]:
    """What stays wrong after a repair and the reading that it asks for."""
    repair(desk.db, desk.settings, verify(desk.db, desk.settings).problems, lambda: embedder or desk.embedder)
    ingest(desk)
    return found(desk)


def sql(desk: Desk, statement: str, **values: object) -> None:
    with desk.db.session() as session:
        session.execute(text(statement), values)


@pytest.mark.usefixtures("ids")
def test_a_sound_store_has_nothing_wrong(desk: Desk) -> None:
    desk.upload(b"queued and not yet read")
    desk.upload(b"\0\1\2 not a document")
    assert found(desk) == []
    ingest(desk)
    checked = verify(desk.db, desk.settings)
    assert (checked.problems, checked.documents, checked.files) == ([], 5, 5)


BROKEN: dict[str, tuple[str, str]] = {
    "a text row that is gone": ("DELETE FROM texts WHERE document_id = :id", "text_broken"),
    "a text that was cut": (
        "UPDATE texts SET text = substr(text, 1, 40) WHERE document_id = :id",
        "text_broken",
    ),
    "a page that is gone": ("DELETE FROM pages WHERE document_id = :id AND number = 1", "pages_broken"),
    "a page that ends early": (
        'UPDATE pages SET "end" = "end" - 1 WHERE document_id = :id AND number = 1',
        "pages_broken",
    ),
    "no chunk": ("DELETE FROM chunks WHERE document_id = :id", "chunks_broken"),
    "a chunk that begins late": (
        "UPDATE chunks SET start = start + 1 WHERE document_id = :id AND ordinal = 0",
        "chunks_broken",
    ),
    "a chunk on no such page": ("UPDATE chunks SET page_end = 7 WHERE document_id = :id", "chunks_broken"),
    "a chunk of another collection": (
        "UPDATE chunks SET collection_id = 'col_x' WHERE document_id = :id",
        "chunks_elsewhere",
    ),
    "a vector that is missing": ("UPDATE chunks SET vector = NULL WHERE document_id = :id", "vectors_broken"),
    "a count that is off": ("UPDATE documents SET chunks_total = 99 WHERE id = :id", "counters_wrong"),
    "pages that are not counted": ("UPDATE documents SET pages_done = 0 WHERE id = :id", "counters_wrong"),
    "a log without it": ("DELETE FROM changes WHERE document_id = :id", "log_broken"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_in_the_database_is_named_and_repaired(desk: Desk, ids: list[str], what: str) -> None:
    statement, code = BROKEN[what]
    whole = desk.text(ids[1])
    sql(desk, statement, id=ids[1])
    problems = verify(desk.db, desk.settings).problems
    assert code in codes(problems)
    assert {problem.subject for problem in problems} == {ids[1]}
    assert put_right(desk) == []
    assert desk.text(ids[1]) == whole
    [best, *_] = searched(desk.db, desk.settings, desk.collection_id, "Rent is due in May")
    assert best.document_id == ids[1]


@pytest.mark.parametrize("harm", ["short", "long", "scaled", "not a number"])
def test_a_vector_that_is_no_good_is_made_again(desk: Desk, ids: list[str], harm: str) -> None:
    with desk.db.read() as session:
        key, good = session.execute(
            text("SELECT id, vector FROM chunks WHERE document_id = :id ORDER BY id LIMIT 1"), {"id": ids[0]}
        ).one()
    numbers = np.frombuffer(good, dtype=np.float16)
    bad = {
        "short": numbers[:-1],
        "long": np.concatenate([numbers, numbers[:1]]),
        "scaled": numbers * np.float16(1.1),
        "not a number": np.full_like(numbers, np.nan),
    }[harm]
    indexes = LiveIndexes(desk.db, desk.settings)
    sql(desk, "UPDATE chunks SET vector = :bad WHERE id = :key", bad=bad.tobytes(), key=key)
    assert found(desk) == ["vectors_broken"]
    assert put_right(desk) == []
    with desk.db.read() as session:
        assert session.scalar(text("SELECT vector FROM chunks WHERE id = :key"), {"key": key}) == good
    assert len(indexes.follow(desk.collection_id)) > 0


def test_an_index_in_memory_takes_repaired_vectors(desk: Desk, ids: list[str]) -> None:
    indexes = LiveIndexes(desk.db, desk.settings)
    before = indexes.follow(desk.collection_id)
    sql(desk, "UPDATE chunks SET vector = NULL WHERE document_id = :id", id=ids[0])
    assert put_right(desk) == []
    after = indexes.follow(desk.collection_id)
    assert after is not before
    assert sorted(after.generations()) == sorted(ids)


def test_vectors_of_an_embedder_that_is_not_here_are_left(desk: Desk, ids: list[str]) -> None:
    class Other(WordEmbedder):
        fingerprint = "other@1"

    sql(desk, "UPDATE chunks SET vector = NULL WHERE document_id = :id", id=ids[0])
    assert put_right(desk, Other()) == ["vectors_broken"]


@pytest.mark.parametrize("harm", ["gone", "flipped", "cut"])
def test_an_original_that_is_damaged_is_named_and_nothing_is_made_of_it(
    desk: Desk, ids: list[str], harm: str
) -> None:
    path = desk.settings.data_dir / "blobs" / ids[1]
    raw = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(raw[:-1] if harm == "cut" else b"X" + raw[1:])
    sql(desk, "DELETE FROM chunks WHERE document_id = :id AND ordinal = 0", id=ids[1])
    expected = ["chunks_broken", "file_missing" if harm == "gone" else "file_damaged"]
    assert [code for code in found(desk) if code != "counters_wrong"] == expected
    assert [code for code in put_right(desk) if code != "counters_wrong"] == expected
    assert desk.get(ids[1]).generation == 1
    assert "Rent is due" in desk.text(ids[1])


def test_a_document_that_nobody_will_read_gets_a_job(desk: Desk) -> None:
    document_id = desk.upload(b"forgotten by every worker").document.id
    sql(desk, "DELETE FROM ingest_jobs")
    assert found(desk) == ["job_missing"]
    assert put_right(desk) == []
    assert desk.get(document_id).status == "ready"


@pytest.mark.usefixtures("ids")
def test_an_answer_whose_source_is_gone_loses_its_words(desk: Desk) -> None:
    sql(desk, "UPDATE answer_sources SET source_id = 'doc_gone'")
    assert found(desk) == ["answer_outlived"]
    assert put_right(desk) == []
    with desk.db.read() as session:
        assert [row.words for row in Answers(session, DEFAULT_SCOPE).list()] == [None]


def _snapshot(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("rag.index.live.WORTH_SAVING", 1)
    LiveIndexes(desk.db, desk.settings).follow(desk.collection_id)
    folder = snapshot_folder(desk.settings, desk.collection_id)
    assert folder.is_dir()
    return folder


def test_a_stored_index_is_compared_row_by_row(
    desk: Desk, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _snapshot(desk, monkeypatch)
    assert found(desk) == []
    # The document's chunks under other keys: what a restored or exchanged database could leave behind.
    sql(desk, "UPDATE chunks SET id = id + 1000 WHERE document_id = :id", id=ids[0])
    assert found(desk) == ["snapshot_wrong"]
    assert put_right(desk) == []
    assert not folder.exists()


@pytest.mark.usefixtures("ids")
def test_a_damaged_stored_index_is_named_and_removed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _snapshot(desk, monkeypatch)
    victim = max(folder.iterdir(), key=lambda path: path.stat().st_size)
    raw = bytearray(victim.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    victim.write_bytes(raw)
    assert found(desk) == ["snapshot_damaged"]
    assert put_right(desk) == []
    assert len(searched(desk.db, desk.settings, desk.collection_id, "heron")) > 0


@pytest.mark.usefixtures("ids")
def test_a_folder_of_originals_that_lost_its_mark_is_marked(desk: Desk) -> None:
    (desk.settings.data_dir / "blobs" / ".store").unlink()
    assert found(desk) == ["folder_unmarked"]
    assert put_right(desk) == []


@pytest.mark.usefixtures("ids")
def test_damage_to_the_file_of_sqlite_is_named(desk: Desk) -> None:
    if desk.db.dialect != "sqlite":
        pytest.skip("PostgreSQL looks after its own files")
    desk.db.scrub()
    desk.db.dispose()
    path = desk.settings.data_dir / "longleaf.db"
    raw = path.read_bytes()
    at = raw.index(b"The keeper of the mill feeds")
    with path.open("r+b") as stream:
        stream.seek(at - at % 4096 + 3)  # the page's own count of its cells
        stream.write(os.urandom(2))
    assert "database_damaged" in found(desk)


@pytest.mark.usefixtures("ids")
def test_every_damaged_file_of_a_backup_is_named(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    backup(desk.db, desk.settings, folder)
    assert verify_backup(folder).problems == []
    for pattern in ("documents/*", "blobs/*"):
        first, second, *_ = sorted(folder.glob(pattern))
        first.write_bytes(first.read_bytes()[:-1])
        second.unlink()
    problems = verify_backup(folder).problems
    assert codes(problems) == ["backup_damaged"]
    assert len(problems) == 4


def test_several_faults_at_once_are_all_put_right(desk: Desk, ids: list[str]) -> None:
    read: Callable[[str], str] = desk.text
    texts = [read(key) for key in ids]
    sql(desk, "DELETE FROM texts WHERE document_id = :id", id=ids[0])
    sql(desk, "UPDATE chunks SET vector = NULL")
    sql(desk, "DELETE FROM changes")
    sql(desk, "UPDATE chunks SET ordinal = ordinal + 5 WHERE document_id = :id", id=ids[2])
    assert set(found(desk)) >= {"text_broken", "vectors_broken", "log_broken", "chunks_broken"}
    put_right(desk)
    assert put_right(desk) == []
    assert [read(key) for key in ids] == texts
