"""What was acknowledged is on the disk, what was not leaves nothing, and the same bytes are there once."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingesting import Desk, at_once

from ingest import jobs, uploads
from ingest.names import FILENAME_LIMIT, choose_title, display_filename, display_text
from ingest.uploads import Accepted, NewDocument, UploadSink, accept_all, blob_path, check_metadata, sweep
from rag.errors import Conflict, InvalidRequest, NotFound, TooLarge, Unavailable
from rag.settings import Settings
from rag.store.repositories import DEFAULT_SCOPE, Collections, Jobs, Scope
from rag.store.session import Database


@pytest.fixture
def desk(database: Database, settings: Settings) -> Desk:
    return Desk(database, settings)


def test_an_upload_is_stored_and_queued(desk: Desk) -> None:
    content = os.urandom(5000)
    accepted = desk.upload(content, "../../reports/Annual report.PDF", year=2021)
    document = desk.get(accepted.document.id)
    assert document == accepted.document
    assert (document.status, document.generation) == ("queued", 0)
    assert (document.filename, document.title) == ("Annual report.PDF", "Annual report")
    assert (document.bytes, document.sha256) == (5000, hashlib.sha256(content).hexdigest())
    assert document.meta == {"year": 2021}
    assert blob_path(desk.settings, document.id).read_bytes() == content
    assert desk.files() == {document.id}
    with desk.db.read() as session:
        assert Jobs(session, DEFAULT_SCOPE).get(accepted.job_id).document_id == document.id


def test_a_large_upload_is_never_whole_in_memory(desk: Desk) -> None:
    piece = os.urandom(1 << 20)
    tracemalloc.start()
    with UploadSink(desk.settings) as sink:
        for _ in range(64):
            sink.write(piece)
        accepted = uploads.accept(
            desk.db, desk.settings, DEFAULT_SCOPE, desk.collection_id, NewDocument(sink, "big.bin")
        )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert accepted.document.bytes == 64 << 20
    assert peak < 8 << 20


def test_an_upload_beyond_the_limit_leaves_nothing(desk: Desk) -> None:
    small = desk.settings.model_copy(update={"max_upload_bytes": 10})
    with UploadSink(small) as sink:
        sink.write(b"12345")
        sink.write(b"67890")
        with pytest.raises(TooLarge, match="larger than 10 bytes") as caught:
            sink.write(b"!")
    assert caught.value.code == "too_large"
    assert desk.files() == set()


def test_an_upload_that_is_broken_off_leaves_nothing(desk: Desk) -> None:
    with desk.sink(b"half of it"):
        assert len(desk.files()) == 1
    assert desk.files() == set()
    assert desk.rows("documents") == 0


def test_an_empty_file_is_taken(desk: Desk) -> None:
    assert desk.upload(b"", "empty.txt").document.bytes == 0


def test_the_same_bytes_conflict_and_name_the_document(desk: Desk) -> None:
    first = desk.upload(b"same", "a.txt").document
    with pytest.raises(Conflict) as caught:
        desk.upload(b"same", "b.txt")
    assert caught.value.code == "duplicate_document"
    assert caught.value.extra["existing_document_id"] == first.id
    assert caught.value.extra["duplicates"] == [{"filename": "b.txt", "existing_document_id": first.id}]
    assert desk.files() == {first.id}
    reused = desk.upload(b"same", "b.txt", reuse=True)
    assert (reused.document.id, reused.reused) == (first.id, True)
    assert desk.files() == {first.id}
    assert desk.rows("ingest_jobs") == 1


def test_the_same_bytes_may_be_in_two_collections(desk: Desk) -> None:
    other = Desk(desk.db, desk.settings, name="other")
    assert desk.upload(b"same").document.id != other.upload(b"same").document.id


@pytest.mark.parametrize("reuse", [False, True])
def test_a_race_for_the_same_bytes_has_one_winner(desk: Desk, reuse: bool) -> None:
    for number in range(3):
        content = f"race {number}".encode()
        results = at_once(*[lambda c=content: desk.upload(c, reuse=reuse)] * 4)
        won = [result for result in results if isinstance(result, Accepted) and not result.reused]
        assert len(won) == 1, results
        winner = won[0].document.id
        for result in results:
            if reuse:
                assert isinstance(result, Accepted)
                assert result.document.id == winner
            elif result is not won[0]:
                assert isinstance(result, Conflict)
                assert result.extra["existing_document_id"] == winner
    assert len(desk.files()) == desk.rows("documents") == desk.rows("ingest_jobs") == 3


def test_several_files_are_taken_all_or_none(desk: Desk) -> None:
    held = desk.upload(b"held").document
    contents = [b"one", b"held", b"two"]

    def send(contents: list[bytes], *, reuse: bool = False) -> list[Accepted]:
        sinks = [desk.sink(content) for content in contents]
        try:
            new = [NewDocument(sink, f"{n}.txt") for n, sink in enumerate(sinks)]
            return accept_all(desk.db, desk.settings, DEFAULT_SCOPE, desk.collection_id, new, reuse=reuse)
        finally:
            for sink in sinks:
                sink.close()

    with pytest.raises(Conflict) as caught:
        send(contents)
    assert caught.value.extra["duplicates"] == [{"filename": "1.txt", "existing_document_id": held.id}]
    assert desk.files() == {held.id}
    with pytest.raises(Conflict, match="twice in this request") as caught:
        send([b"twin", b"twin"])
    assert caught.value.extra["existing_document_id"] is None
    accepted = send(contents, reuse=True)
    assert [entry.reused for entry in accepted] == [False, True, False]
    assert [entry.document.filename for entry in accepted] == ["0.txt", "note.txt", "2.txt"]
    assert desk.files() == {entry.document.id for entry in accepted}


def test_two_requests_with_the_same_files_in_opposite_order(desk: Desk) -> None:
    def send(order: list[bytes]) -> list[Accepted]:
        sinks = [desk.sink(content) for content in order]
        try:
            new = [NewDocument(sink, "x.txt") for sink in sinks]
            return accept_all(desk.db, desk.settings, DEFAULT_SCOPE, desk.collection_id, new)
        finally:
            for sink in sinks:
                sink.close()

    results = at_once(lambda: send([b"x", b"y"]), lambda: send([b"y", b"x"]))
    assert sorted(type(result).__name__ for result in results) == ["Conflict", "list"], results
    assert len(desk.files()) == 2


def test_an_unknown_collection_leaves_nothing(desk: Desk) -> None:
    for scope, collection in ((DEFAULT_SCOPE, "col_none"), (Scope("ws_other"), desk.collection_id)):
        with desk.sink(b"lost") as sink, pytest.raises(NotFound) as caught:
            uploads.accept(desk.db, desk.settings, scope, collection, NewDocument(sink, "x"))
        assert caught.value.code == "collection_not_found"
    assert desk.files() == set()


def test_a_full_disk_is_said_and_leaves_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    for name in ("write", "fsync", "rename"):
        with monkeypatch.context() as patch:
            patch.setattr(uploads.os, name, full)
            with pytest.raises(Unavailable, match="No space left on device") as caught:
                desk.upload(b"much")
            assert caught.value.code == "storage_unavailable"
        assert desk.files() == set()
        assert desk.rows("documents") == 0
    assert desk.upload(b"much").document.status == "queued"


CRASHES = {
    "while the bytes come": "sink.write = lambda piece: os.kill(os.getpid(), 9)",
    "before the file has its name": "os.rename = lambda *_: os.kill(os.getpid(), 9)",
    "before the rows are written": "uploads._enter = lambda *_, **__: os.kill(os.getpid(), 9)",
    "after the rows are written": "uploads.UploadSink.close = lambda *_: os.kill(os.getpid(), 9)",
}


@pytest.mark.parametrize("moment", CRASHES)
def test_a_crash_leaves_at_most_what_the_sweep_removes(
    database_url: str, settings: Settings, moment: str
) -> None:
    desk = Desk(Database(database_url), settings)
    kept = desk.upload(b"kept").document.id
    program = f"""
import os, sys
from pathlib import Path
from ingest import uploads
from rag.settings import Settings
from rag.store.scope import DEFAULT_SCOPE
from rag.store.session import Database
settings = Settings(_env_file=None, data_dir=Path(sys.argv[2]))
sink = uploads.UploadSink(settings)
sink.write(b"first part")
{CRASHES[moment]}
sink.write(b"second part")
new = uploads.NewDocument(sink, "x.txt")
uploads.accept(Database(sys.argv[1]), settings, DEFAULT_SCOPE, sys.argv[3], new)
"""
    finished = subprocess.run(
        [sys.executable, "-c", program, database_url, str(settings.data_dir), desk.collection_id],
        cwd=Path(uploads.__file__).parents[1],
        check=False,
        timeout=60,
    )
    assert finished.returncode == -9
    assert len(desk.files()) == 2
    removed = sweep(desk.db, settings)
    written = moment == "after the rows are written"
    assert len(removed) == (0 if written else 1)
    assert desk.rows("documents") == len(desk.files()) == (2 if written else 1)
    assert kept in desk.files()
    desk.db.dispose()


def test_the_sweep_spares_uploads_that_are_on_their_way(desk: Desk) -> None:
    with desk.sink(b"on its way") as sink:
        assert sweep(desk.db, desk.settings) == []
        accepted = uploads.accept(
            desk.db, desk.settings, DEFAULT_SCOPE, desk.collection_id, NewDocument(sink, "x")
        )
    assert sweep(desk.db, desk.settings) == []
    assert desk.files() == {accepted.document.id}


def test_sweeps_and_uploads_at_once_lose_nothing(desk: Desk) -> None:
    def send(worker: int) -> None:
        for n in range(8):
            desk.upload(f"{worker} {n}".encode())

    results = at_once(
        lambda: send(1), lambda: send(2), *[lambda: [sweep(desk.db, desk.settings) for _ in range(8)]] * 2
    )
    assert results[:2] == [None, None]
    # an upload whose file was taken before it held its lock makes another one; no document may ever be taken
    taken = [name for result in results[2:] for removed in result for name in removed]
    assert [name for name in taken if not name.startswith("upload_")] == []
    assert len(desk.files()) == desk.rows("documents") == 16


def test_the_sweep_spares_the_folder_of_another_database(desk: Desk, tmp_path: Path) -> None:
    from rag.store.migrate import upgrade  # noqa: PLC0415

    document_id = desk.upload(b"precious").document.id
    other = Database(f"sqlite:///{tmp_path / 'other.db'}")
    upgrade(other)
    assert sweep(other, desk.settings) == []
    assert desk.files() == {document_id}
    other.dispose()


@pytest.mark.parametrize(
    ("metadata", "fault"),
    [
        ({"a": "x\0"}, "NUL"),
        ({"a\0": 1}, "NUL"),
        ({"a": ["\ud800"]}, "surrogate"),
        ({"a": float("nan")}, "not finite"),
        ({"a": {"b": float("inf")}}, "not finite"),
        ({1: "a"}, "key that is no text"),
        ({"a": b"bytes"}, "a bytes"),
        ({"a": "x" * 70_000}, "more than 65536 bytes"),
        ({"a": [[[[[[[[[1]]]]]]]]]}, "more than 8 levels"),
    ],
)
def test_metadata_that_a_database_can_not_hold_is_refused(metadata: dict, fault: str) -> None:
    with pytest.raises(InvalidRequest, match=fault) as caught:
        check_metadata(metadata)
    assert caught.value.code == "invalid_metadata"


def test_bad_metadata_leaves_nothing(desk: Desk) -> None:
    with pytest.raises(InvalidRequest):
        desk.upload(b"x", author="\0")
    assert desk.files() == set()


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("report.pdf", "report.pdf"),
        ("/etc/passwd", "passwd"),
        ("C:\\Users\\me\\Plan.docx", "Plan.docx"),
        ("..", "document"),
        ("", "document"),
        ("a/", "document"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("a\x00b\nc.txt", "ab c.txt"),
        ("\u200bx\ufeff.md", "x.md"),
        ("हिन्दी\u200dपाठ.txt", "हिन्दी\u200dपाठ.txt"),
        ("e\u0301.txt", "\u00e9.txt"),
        ("<script>alert(1)</script>", "script>"),
    ],
)
def test_file_names_are_made_fit_to_be_shown(given: str, shown: str) -> None:
    assert display_filename(given) == shown


def test_a_long_name_keeps_its_extension() -> None:
    assert display_filename("x" * 400 + ".docx") == "x" * (FILENAME_LIMIT - 5) + ".docx"


@given(st.text(max_size=400))
def test_any_name_is_one_printable_line(name: str) -> None:
    shown = display_filename(name)
    assert 1 <= len(shown) <= FILENAME_LIMIT
    assert not set(shown) & set("/\\\0\n\r\u202e\u2066")
    assert display_filename(shown) == shown
    shown.encode()
    assert display_text(shown, FILENAME_LIMIT) == shown


def test_titles_prefer_what_the_owner_says() -> None:
    assert choose_title("Mine", "Its own", "file.txt") == "Mine"
    assert choose_title(None, "Its\nown\u202e", "file.txt") == "Its own"
    assert choose_title(" ", "", "file.tar.gz") == "file.tar"
    assert choose_title(7, None, ".env") == ".env"


def test_jobs_of_accepted_documents_can_be_leased(desk: Desk) -> None:
    accepted = desk.upload(b"note")
    lease = jobs.lease(desk.db, "wrk_a")
    assert lease is not None
    assert (lease.job_id, lease.collection_id) == (accepted.job_id, desk.collection_id)
    with desk.db.read() as session:
        assert Collections(session, DEFAULT_SCOPE).counts(desk.collection_id) == {"queued": 1}
