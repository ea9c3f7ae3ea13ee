"""Originals in a shared place: any machine reads them, and no crash or race leaves a row without its file."""

from __future__ import annotations

import base64
import os
import random
import secrets
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import obstore
import pytest
from ingesting import Desk, where_found

from ingest.deletion import delete_document
from ingest.keeping.backup import backup
from ingest.keeping.gc import collect
from ingest.keeping.restore import restore
from ingest.keeping.verify import verify
from ingest.originals.choice import originals_of
from ingest.originals.shared import SharedOriginals
from ingest.updates import read_again, replace_file
from ingest.uploads import NewDocument
from ingest.worker import Worker, recover
from rag.errors import InvalidRequest, LongleafError, NotFound, Unavailable
from rag.objects.place import objects_of
from rag.objects.sealed import FRAME
from rag.objects.store import ObjectStore
from rag.settings import Settings
from rag.store.repositories import DEFAULT_SCOPE
from rag.store.session import Database
from tests.rag.s3_server import S3Server, serving

LARGE = random.Random(1).randbytes(9 * FRAME + 17)
"""More than goes in one request; nothing that can be read."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with serving(tmp_path_factory.mktemp("s3")) as started:
        yield started


@pytest.fixture(params=["folder", "encrypted bucket"])
def shared(request: pytest.FixtureRequest, settings: Settings, server: S3Server, tmp_path: Path) -> Settings:
    """The settings of one machine, which keeps originals in the shared place."""
    if request.param == "folder":
        return settings.model_copy(update={"objects": f"file://{tmp_path / 'place'}", "originals": "objects"})
    keys = tmp_path / "keys"
    keys.write_text(base64.b64encode(os.urandom(32)).decode())
    bucket = server.settings(settings.data_dir, objects_keys_file=str(keys), originals="objects")
    return settings.model_copy(
        update={
            name: value
            for name, value in bucket
            if name.startswith("objects") or name in {"objects", "originals"}
        }
    )


@pytest.fixture
def desk(database: Database, shared: Settings) -> Iterator[Desk]:
    yield Desk(database, shared)
    objects_of(shared).purge("originals")  # by the server, which remembers what its folders hold


@pytest.fixture
def elsewhere(desk: Desk, tmp_path: Path) -> Desk:
    """Another machine with the same database and place, and a data folder of its own."""
    return Desk(desk.db, desk.settings.model_copy(update={"data_dir": tmp_path / "elsewhere"}))


def files(desk: Desk, server: S3Server, tmp_path: Path) -> list[Path]:
    """The originals in the place, as files."""
    root = server.folder if desk.settings.objects.startswith("s3") else tmp_path / "place"
    return sorted(path for path in (root / "originals").rglob("*") if path.is_file())


def work(desk: Desk) -> None:
    Worker(desk.db, desk.settings, desk.embedder).run_until_idle()


def original(desk: Desk, document_id: str, generation: int = 1) -> bytes:
    return b"".join(originals_of(desk.db, desk.settings).read(document_id, generation, 0, 1 << 40))


def replace(desk: Desk, document_id: str, content: bytes) -> int:
    with desk.sink(content) as sink:
        new = NewDocument(sink, "next.txt")
        return replace_file(desk.db, desk.settings, DEFAULT_SCOPE, document_id, new).generation


def test_another_machine_reads_what_one_took_in(desk: Desk, elsewhere: Desk) -> None:
    document_id = desk.upload(b"The heron stands in the pond.").document.id
    large = desk.upload(LARGE, "large.bin").document.id
    assert desk.files() == set()
    work(elsewhere)
    assert elsewhere.get(document_id).status == "ready"
    assert elsewhere.text(document_id) == "The heron stands in the pond."
    assert elsewhere.files() == set()
    assert original(elsewhere, large) == LARGE
    originals = originals_of(elsewhere.db, elsewhere.settings)
    size = len(LARGE)
    for start, end in ((0, 1), (5, 9), (FRAME - 3, FRAME + 3), (3 * FRAME, 4 * FRAME), (size - 2, size + 9)):
        assert b"".join(originals.read(large, 1, start, end)) == LARGE[start:end]
    assert verify(elsewhere.db, elsewhere.settings).problems == []
    assert elsewhere.upload(b"").document.bytes == 0


def test_versions_of_the_same_bytes_share_an_object_and_old_ones_go(
    desk: Desk, elsewhere: Desk, server: S3Server, tmp_path: Path
) -> None:
    document_id = desk.upload(b"The first of the heron.").document.id
    work(desk)
    read_again(elsewhere.db, elsewhere.settings, DEFAULT_SCOPE, document_id, "note.md")
    assert len(files(desk, server, tmp_path)) == 1
    work(desk)
    assert replace(elsewhere, document_id, b"The second, of the mill.") == 3
    assert len(files(desk, server, tmp_path)) == 2
    work(desk)
    assert len(files(desk, server, tmp_path)) == 1
    assert original(desk, document_id, 3) == b"The second, of the mill."
    assert collect(desk.db, desk.settings, dry_run=False) == []
    assert len(files(desk, server, tmp_path)) == 1


def test_a_clearing_up_between_sending_and_committing_loses_nothing(
    desk: Desk, elsewhere: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    document_id = desk.upload(b"The first of the heron.").document.id
    work(desk)
    send = SharedOriginals.send
    cleared: list[str] = []

    def sent_and_cleared(self: SharedOriginals, *arguments: object) -> None:
        send(self, *arguments)  # type: ignore[arg-type]
        cleared.extend(originals_of(elsewhere.db, elsewhere.settings).sweep())

    monkeypatch.setattr(SharedOriginals, "send", sent_and_cleared)
    assert replace(desk, document_id, b"The second, of the mill.") == 2
    assert len(cleared) == 1
    work(elsewhere)
    assert elsewhere.text(document_id) == "The second, of the mill."


def test_a_refused_upload_leaves_nothing(desk: Desk, server: S3Server, tmp_path: Path) -> None:
    held = desk.upload(b"The heron.").document.id
    other = desk.upload(b"The mill.").document.id
    with pytest.raises(LongleafError, match="already in the collection"):
        desk.upload(b"The heron.")
    assert desk.upload(b"The heron.", reuse=True).document.id == held
    with pytest.raises(LongleafError, match="already in the collection"):
        replace(desk, other, b"The heron.")
    with pytest.raises(NotFound):
        replace(desk, "doc_01m8m3dbfg6jb4mer62ts9z6x4", b"The lease.")
    assert len(files(desk, server, tmp_path)) == 2


@pytest.mark.parametrize("moment", ["_enter", "UploadSink.close"])
def test_a_crash_leaves_an_object_without_a_row_at_most(  # noqa: PLR0917
    database_url: str,
    desk: Desk,
    server: S3Server,
    tmp_path: Path,
    moment: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = f"""
import os, sys
from ingest import uploads
from rag.settings import Settings
from rag.store.scope import DEFAULT_SCOPE
from rag.store.session import Database
settings = Settings(_env_file=None)
sink = uploads.UploadSink(settings)
sink.write(b"The heron.")
uploads.{moment} = lambda *_, **__: os.kill(os.getpid(), 9)
new = uploads.NewDocument(sink, "x.txt")
uploads.accept(Database(sys.argv[1]), settings, DEFAULT_SCOPE, sys.argv[2], new)
"""
    told = {
        f"LONGLEAF_{name.upper()}": getattr(value, "get_secret_value", lambda value=value: str(value))()
        for name, value in desk.settings
        if name.startswith("objects") or name in {"originals", "data_dir"}
    }
    finished = subprocess.run(
        [sys.executable, "-c", program, database_url, desk.collection_id],
        env={**os.environ, **told},
        check=False,
        timeout=60,
    )
    assert finished.returncode == -9
    (file,) = files(desk, server, tmp_path)
    if moment != "_enter":
        work(desk)
        assert desk.rows("documents") == 1
        assert desk.rows("texts") == 1
        return
    recover(desk.db, desk.settings)
    assert collect(desk.db, desk.settings, dry_run=False) == []  # it might be on its way
    monkeypatch.setattr("ingest.originals.shared.GRACE", timedelta(seconds=-60))
    [found] = collect(desk.db, desk.settings, dry_run=True)
    assert (found.kind, found.bytes) == ("original", file.stat().st_size)
    assert found.name.startswith("originals/")
    assert file.exists()
    collect(desk.db, desk.settings, dry_run=False)
    assert not file.exists()


def test_a_deletion_takes_every_version_out_before_it_returns(
    desk: Desk, elsewhere: Desk, server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = f"canary{secrets.token_hex(6)}"
    document_id = desk.upload(f"The first {canary}.".encode()).document.id
    kept = desk.upload(b"The mill.").document.id
    work(desk)
    replace(desk, document_id, f"The second {canary}.".encode())
    delete_document(elsewhere.db, elsewhere.settings, DEFAULT_SCOPE, document_id)
    assert [file.parent.name for file in files(desk, server, tmp_path)] == [kept]
    assert where_found(desk.db, tmp_path, canary) == []

    def nothing(_: ObjectStore, under: str) -> int:
        raise Unavailable(f"{under} can't be reached")

    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "purge", nothing)
        with pytest.raises(Unavailable, match="longleaf gc"):
            delete_document(desk.db, desk.settings, DEFAULT_SCOPE, kept)
    assert len(files(desk, server, tmp_path)) == 1
    recover(elsewhere.db, elsewhere.settings)  # as a start does; the log says that it was deleted
    assert files(desk, server, tmp_path) == []


def test_a_next_version_of_a_document_that_is_deleted_meanwhile_goes_too(
    desk: Desk, elsewhere: Desk, server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document_id = desk.upload(b"The heron.").document.id
    send = SharedOriginals.send

    def deleted_first(self: SharedOriginals, *arguments: object) -> None:
        delete_document(elsewhere.db, elsewhere.settings, DEFAULT_SCOPE, document_id)
        send(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(SharedOriginals, "send", deleted_first)
    with pytest.raises(NotFound):
        replace(desk, document_id, b"The mill.")
    assert files(desk, server, tmp_path) == []


def test_what_became_other_bytes_is_found_and_never_read(
    desk: Desk, server: S3Server, tmp_path: Path
) -> None:
    broken, lost = (desk.upload(content).document.id for content in (b"The heron.", b"The mill."))
    objects = objects_of(desk.settings)
    names = {found.name.split("/")[2]: found.name for found in objects.list("originals")}
    [file] = (file for file in files(desk, server, tmp_path) if file.parent.name == broken)
    stored = file.read_bytes()
    obstore.put(objects._place, names[broken], stored[:-1] + bytes([stored[-1] ^ 1]))
    objects.delete([names[lost]])
    problems = {problem.subject: problem.code for problem in verify(desk.db, desk.settings).problems}
    assert problems == {broken: "file_damaged", lost: "file_missing"}
    report = backup(desk.db, desk.settings, tmp_path / "backup")
    assert set(report.damaged) == {broken, lost}
    work(desk)
    assert desk.get(broken).error_code == "file_damaged"
    assert desk.get(lost).error_code == "file_missing"


def test_a_backup_becomes_a_store_with_either_place(desk: Desk, server: S3Server, tmp_path: Path) -> None:
    document_id = desk.upload(LARGE).document.id
    backup(desk.db, desk.settings, tmp_path / "backup")
    before = len(files(desk, server, tmp_path))
    for number, place in enumerate(("objects", "folder")):
        folder = tmp_path / f"restored{number}"
        folder.mkdir()
        restored = Database(f"sqlite:///{folder / 'longleaf.db'}")
        settings = desk.settings.model_copy(update={"data_dir": folder, "originals": place})
        assert restore(restored, settings, tmp_path / "backup").files == 1
        originals = originals_of(restored, settings)
        assert b"".join(originals.read(document_id, 1, 0, 1 << 40)) == LARGE
        assert verify(restored, settings).problems == []
        restored.dispose()
    assert len(files(desk, server, tmp_path)) == before + 1


def test_what_lay_in_the_data_folder_moves_when_a_process_starts(
    desk: Desk, elsewhere: Desk, server: S3Server, tmp_path: Path
) -> None:
    before = Desk(desk.db, desk.settings.model_copy(update={"originals": "folder"}))
    document_id = before.upload(b"The heron.").document.id
    assert original(desk, document_id) == b"The heron."
    assert files(desk, server, tmp_path) == []
    recover(desk.db, desk.settings)
    assert desk.files() == set()
    assert original(elsewhere, document_id) == b"The heron."


def test_a_place_has_to_be_named(database: Database, settings: Settings) -> None:
    with pytest.raises(InvalidRequest, match="LONGLEAF_OBJECTS names no place"):
        originals_of(database, settings.model_copy(update={"originals": "objects"}))
