"""`longleaf doctor`: every trouble brought about, seen by the check of its name, with what to do about it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from sqlalchemy import text, update

from api.app import create_app
from api.doctor import database as databases
from api.doctor import machine, storage
from api.doctor.examining import CHECKS, examine
from api.doctor.finding import Case, Finding
from api.first_key import FILE_NAME, ensure_first_key
from api.loaders import Loaders, hardware_cache
from api.wiring import Service
from ingest import confined, jobs
from ingest.keeping.backup import backup as back_up
from model.hardware import describe
from rag.embedders.base import Embedder
from rag.index import snapshot
from rag.index.collection import CollectionIndex
from rag.index.live import snapshot_folder
from rag.settings import Settings
from rag.store.migrate import move_to, upgrade
from rag.store.repositories import DEFAULT_SCOPE, Changes, Collections
from rag.store.scope import utc_now
from rag.store.session import Database
from rag.store.state import identity_of
from rag.store.tables import Change, Document, IngestJob
from tests.api.conftest import in_process, listening, ready, running
from tests.api.providers import CLIENT, PUBLIC, forging

ROOT = Path(__file__).parents[2]


@contextmanager
def opened(url: str) -> Iterator[Database]:
    """The database of that address, for a while."""
    database = Database(url)
    try:
        yield database
    finally:
        database.dispose()


@dataclass
class Patient:
    """A store with one document that was read, and the settings of its service."""

    settings: Settings
    collection_id: str
    embedder: Embedder

    def db(self) -> AbstractContextManager[Database]:
        return opened(self.settings.resolved_database_url)

    def look(self, name: str, backup: Path | None = None, **changed: Any) -> Finding:
        """What the check of that name finds, with some settings changed."""
        values = {key: getattr(self.settings, key) for key in self.settings.model_fields_set}
        case = Case(Settings(_env_file=None, **{**values, **changed}), backup)
        if not {"embedder", "device", "dtype"} & set(changed):
            case.embedder = self.embedder
        try:
            return CHECKS[name](case)
        finally:
            case.close()


@pytest.fixture
def patient(
    database_url: str, make_settings: Callable[..., Settings], loaders: Loaders, embedder: Embedder
) -> Patient:
    """A healthy store of either kind, which its service has left."""
    settings = make_settings(database_url=database_url)
    for client in running(settings, loaders):
        ready(client)
        collection = client.get("/collections/default").json()["id"]
    return Patient(settings, collection, embedder)


@pytest.fixture
def sqlite_patient(
    sqlite_template: Path, make_settings: Callable[..., Settings], embedder: Embedder
) -> Patient:
    """An empty healthy store on SQLite."""
    settings = make_settings()
    settings.data_dir.mkdir()
    (settings.data_dir / "longleaf.db").write_bytes(sqlite_template.read_bytes())
    made = Patient(settings, "", embedder)
    with made.db() as db, db.session() as session:
        made.collection_id = Collections(session, DEFAULT_SCOPE).ensure("default", embedder.fingerprint).id
    return made


def trouble(found: Finding, verdict: str, *words: str) -> None:
    """It is of that gravity, and finding and remedy together hold these words."""
    assert found.verdict == verdict, found
    assert found.remedy, found
    for word in words:
        assert word in f"{found.found} → {found.remedy}", (word, found)


def test_a_healthy_store_has_nothing(
    patient: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with patient.db() as db:
        back_up(db, patient.settings, tmp_path / "backup")
    case = Case(patient.settings, tmp_path / "backup")
    found = dict(examine(case))
    case.close()
    assert set(found) == set(CHECKS)
    assert len(found) > 20
    assert {name: each for name, each in found.items() if each.verdict != "ok"} == {}
    assert all(each.found for each in found.values())


def test_before_the_first_start_there_is_no_trouble(
    make_settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = make_settings()
    case = Case(settings)
    found = dict(examine(case))
    case.close()
    assert {name: each for name, each in found.items() if each.verdict not in {"ok", "skipped"}} == {}
    assert not settings.data_dir.exists(), "the doctor made something"


def test_every_check_is_documented() -> None:
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    section = page.split("## Trouble")[1].split("\n## ")[0]
    assert set(re.findall(r"(?m)^\| `([\w-]+)` \|", section)) == set(CHECKS)


def test_the_command_ends_with_1_on_a_failure_alone(
    capsys: pytest.CaptureFixture[str], sqlite_patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sqlite_patient.settings.data_dir)
    data = ("--data-dir", str(sqlite_patient.settings.data_dir), "doctor", "--json")
    monkeypatch.setenv("LONGLEAF_PORT", "0")
    longleaf = in_process(capsys)
    well = longleaf(*data)
    assert well.returncode == 0, well.stdout
    assert [each["check"] for each in json.loads(well.stdout)["checks"]] == list(CHECKS)
    monkeypatch.setenv("LONGLEAF_HOST", "0.0.0.0")
    ill = longleaf(*data)
    assert ill.returncode == 1
    wrong = [each for each in json.loads(ill.stdout)["checks"] if each["verdict"] == "failure"]
    assert [each["check"] for each in wrong] == ["address"]
    shown = longleaf(*data[:-1])
    assert shown.returncode == 1
    assert re.search(r"FAILURE +address .*0\.0\.0\.0.*\n +→ set LONGLEAF_AUTH=on", shown.stdout)


def test_a_check_that_breaks_keeps_no_other_from_its_work(
    sqlite_patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_case: Case) -> Finding:
        raise ZeroDivisionError("by chance")

    monkeypatch.setitem(CHECKS, "inodes", broken)
    case = Case(sqlite_patient.settings)
    found = dict(examine(case))
    case.close()
    trouble(found["inodes"], "failure", "ZeroDivisionError", "by chance")
    assert found["schema"].verdict == "ok"


def test_python_and_packages(
    sqlite_patient: Patient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, version in (("fastapi", "0.1.0"), ("typer", "0.1")):
        info = tmp_path / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = sqlite_patient.look("packages")
    trouble(found, "failure", "fastapi is 0.1.0, needed is", "typer is 0.1", "pip install -c constraints.txt")
    monkeypatch.setattr("platform.python_version", lambda: "3.9.1")
    trouble(sqlite_patient.look("python"), "failure", "3.9.1", ">=3.11", "make run")


def test_data_folder(sqlite_patient: Patient, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    trouble(
        sqlite_patient.look("data-folder", data_dir=file / "data"), "failure", str(file), "LONGLEAF_DATA_DIR"
    )
    # where not even root may write
    trouble(
        sqlite_patient.look("data-folder", data_dir="/proc"), "failure", "/proc can't be written", "chown"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_data_folder_of_somebody_else(sqlite_patient: Patient) -> None:
    os.chown(sqlite_patient.settings.data_dir, 12345, -1)
    trouble(sqlite_patient.look("data-folder"), "warning", "belongs to user 12345", "chown -R 0")


def test_room_on_the_disk(sqlite_patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    huge = 10**18
    found = sqlite_patient.look("disk-space", max_upload_bytes=huge)
    trouble(found, "warning", "are free", "LONGLEAF_MAX_UPLOAD_BYTES", "longleaf gc")
    found = sqlite_patient.look("kv-disk", kv_disk_bytes=huge)
    trouble(found, "warning", "may grow to", "set LONGLEAF_KV_DISK_BYTES to at most")
    monkeypatch.setattr(storage, "LEAST_FREE", huge)
    trouble(sqlite_patient.look("disk-space"), "failure", "are free", "longleaf gc")
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_files=1000, f_favail=7))
    trouble(sqlite_patient.look("inodes"), "warning", "7 of 1,000 files", "LONGLEAF_DATA_DIR")


def test_the_shared_place(sqlite_patient: Patient, tmp_path: Path) -> None:
    assert sqlite_patient.look("shared-place").verdict == "ok"
    assert sqlite_patient.look("shared-place", objects=f"file://{tmp_path / 'place'}").verdict == "ok"
    assert [path for path in (tmp_path / "place").rglob("*") if path.is_file()] == []
    gone = {"objects": "s3://bucket", "objects_endpoint": "http://127.0.0.1:9", "objects_access_key": "a"}
    found = sqlite_patient.look("shared-place", **gone)
    trouble(found, "failure", "s3://bucket does not do", "LONGLEAF_OBJECTS")
    found = sqlite_patient.look("shared-place", originals="objects")
    trouble(found, "failure", "names no place", "LONGLEAF_OBJECTS")


def test_disk_of_another_machine(
    sqlite_patient: Patient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        f"/dev/sda1 / ext4 rw 0 0\nnas:/export {sqlite_patient.settings.data_dir} nfs4 rw 0 0\n"
    )
    monkeypatch.setattr(storage, "MOUNTS", mounts)
    trouble(sqlite_patient.look("file-system"), "failure", "nfs4", "write-ahead log", "PostgreSQL")
    found = sqlite_patient.look("file-system", database_url="postgresql://nowhere/x")
    trouble(found, "warning", "nfs4", "local disk")


def test_database_that_does_not_answer(sqlite_patient: Patient) -> None:
    with socket.socket() as taken:  # bound, and never listening
        taken.bind(("127.0.0.1", 0))
        url = f"postgresql://me:secret@127.0.0.1:{taken.getsockname()[1]}/x"
        found = sqlite_patient.look("database", database_url=url)
    trouble(found, "failure", "127.0.0.1", "start PostgreSQL", "LONGLEAF_DATABASE_URL")
    assert "secret" not in found.found
    trouble(sqlite_patient.look("database", database_url="mysql://x/y"), "failure", "mysql")
    file = sqlite_patient.settings.data_dir / "longleaf.db"
    file.write_bytes(b"no database at all " * 1000)
    trouble(sqlite_patient.look("database"), "failure", str(file), "longleaf restore")
    assert sqlite_patient.look("schema").verdict == "skipped"


def test_schema_of_another_version(patient: Patient) -> None:
    with patient.db() as db:
        with db.session() as session:
            move_to(session.connection(), "-1", down=True)
        trouble(patient.look("schema"), "failure", "run: longleaf migrate", "longleaf backup")
        assert patient.look("jobs").verdict == "skipped"
        upgrade(db)
        with db.session() as session:
            session.execute(text("UPDATE alembic_version SET version_num = 'ffff'"))
        trouble(patient.look("schema"), "failure", "ffff", "install the Longleaf that")
        with db.session() as session:
            session.execute(text("DROP TABLE alembic_version"))
        trouble(patient.look("schema"), "failure", "no Longleaf schema", "LONGLEAF_DATABASE_URL")


def test_database_too_old(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "LEAST_SQLITE", (99, 0, 0))
    monkeypatch.setattr(databases, "TESTED_POSTGRES", 99)
    if patient.settings.resolved_database_url.startswith("sqlite"):
        trouble(patient.look("database-version"), "failure", "99.0.0", "Python")
        return
    trouble(patient.look("database-version"), "warning", "PostgreSQL is", "upgrade to 99")
    monkeypatch.setattr(databases, "LEAST_POSTGRES", 98)
    trouble(patient.look("database-version"), "failure", "needed is 98", "upgrade")


def test_data_folder_of_another_store(patient: Patient, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with opened(f"sqlite:///{other}") as db:
        upgrade(db)
    found = patient.look("store", database_url=f"sqlite:///{other}")
    trouble(found, "failure", "documents of another database", "put that database back")
    found = patient.look("store", database_url=f"sqlite:///{tmp_path / 'none.db'}")
    trouble(found, "failure", "none.db is missing", "restore a backup")
    assert not (tmp_path / "none.db").exists()


def test_clocks_that_do_not_agree(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    with patient.db() as db, db.session() as session:
        session.execute(update(Change).values(created_at=utc_now() + timedelta(hours=1)))
    trouble(patient.look("clock"), "warning", "ahead of this clock", "timedatectl")
    if patient.settings.resolved_database_url.startswith("sqlite"):
        return
    for seconds, verdict in ((10, "warning"), (300, "failure")):
        monkeypatch.setattr(databases, "utc_now", lambda off=seconds: utc_now() + timedelta(seconds=off))
        trouble(patient.look("clock"), verdict, f"-{seconds} s from", "timedatectl")


def test_models_that_are_not_here(sqlite_patient: Patient) -> None:
    trouble(sqlite_patient.look("generator", model="/nowhere"), "failure", "/nowhere", "longleaf models pull")
    found = sqlite_patient.look("generator", model="no/such", allow_download=True)
    trouble(found, "warning", "will be fetched", "longleaf models pull no/such")
    trouble(sqlite_patient.look("embedder", embedder="/nowhere"), "failure", "/nowhere", "or to auto")


def test_damaged_model_files(
    sqlite_patient: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    weights = folder / "model.safetensors"
    save_file({"a": np.zeros(1000, dtype=np.float32)}, weights)
    assert sqlite_patient.look("model-files", model=str(folder)).verdict == "ok"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-7])
    trouble(sqlite_patient.look("model-files", model=str(folder)), "failure", str(weights), "models pull")
    weights.write_bytes(b"<html>not found</html>")
    trouble(sqlite_patient.look("model-files", model=str(folder)), "failure", "no header that can be read")

    # a file of the hub's cache, which is called by its digest
    blob = tmp_path / hashlib.sha256(whole).hexdigest()
    blob.write_bytes(whole)
    weights.unlink()
    weights.symlink_to(blob)
    assert sqlite_patient.look("model-files", model=str(folder)).verdict == "ok"
    blob.write_bytes(whole[:-1] + b"x")
    trouble(sqlite_patient.look("model-files", model=str(folder)), "failure", "not as it was installed")

    # what pip noted of the bundled model
    bundled = tmp_path / "bundled.gguf"
    bundled.write_bytes(b"GGUF and then something else")
    monkeypatch.setattr("api.doctor.models._noted", lambda: {bundled: "0" * 64})
    trouble(
        sqlite_patient.look("model-files", model=str(bundled)), "failure", str(bundled), "--force-reinstall"
    )


def test_collections_of_another_embedder(patient: Patient) -> None:
    with patient.db() as db, db.session() as session:
        Collections(session, DEFAULT_SCOPE).create("old", "minilm@0123")
    found = patient.look("collections")
    trouble(found, "failure", "1 of 2 collections (old)", "minilm@0123", "longleaf reembed")


def test_parsers(sqlite_patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    found = sqlite_patient.look("parser", parse_memory_bytes=1_000_000)
    trouble(found, "failure", "1,000,000 bytes", "LONGLEAF_PARSE_MEMORY_BYTES")
    found = sqlite_patient.look("parser", parse_timeout_seconds=0.001)
    trouble(found, "failure", "0.001 s", "LONGLEAF_PARSE_TIMEOUT_SECONDS")
    # a child that gives nothing up
    loose = re.sub(r"(?m)^confine\..*\n", "", confined._TRIAL)
    monkeypatch.setattr(confined, "_TRIAL", loose)
    found = sqlite_patient.look("parser-limits")
    trouble(found, "failure", "open sockets, start processes, write files", "seccomp")
    monkeypatch.setattr("sys.executable", "/bin/false")
    trouble(sqlite_patient.look("parser-limits"), "failure", "did not come to an end", "start Python")


def test_languages_of_pictures(sqlite_patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    found = sqlite_patient.look("ocr", ocr_languages="eng+xyz")
    trouble(found, "warning", "eng+xyz", "tesseract-ocr-xyz")
    monkeypatch.setattr("ingest.ocr._has_library", lambda: False)
    assert sqlite_patient.look("ocr").verdict == "ok"
    trouble(sqlite_patient.look("ocr", ocr="auto"), "warning", "longleaf[ocr]")


def test_address_and_port(sqlite_patient: Patient, loaders: Loaders) -> None:
    trouble(sqlite_patient.look("address", host="0.0.0.0"), "failure", "will not start", "LONGLEAF_AUTH=on")
    trouble(sqlite_patient.look("address", host="::", auth="open"), "warning", "delete everything", "proxy")
    assert sqlite_patient.look("address", host="0.0.0.0", auth="on").verdict == "ok"
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        number = other.getsockname()[1]
        trouble(sqlite_patient.look("port", port=number), "failure", f"port {number} is taken", "ss -ltnp")
    trouble(sqlite_patient.look("port", host="203.0.113.1"), "failure", "no address of this machine", "HOST")
    trouble(sqlite_patient.look("port", host="no.such.invalid"), "failure", "can't be resolved", "127.0.0.1")
    with listening(create_app(sqlite_patient.settings, Service(sqlite_patient.settings, loaders))) as number:
        found = sqlite_patient.look("port", port=number)
        assert (found.verdict, found.found) == ("ok", f"a Longleaf answers on port {number}")


def test_sign_in(sqlite_patient: Patient) -> None:
    assert sqlite_patient.look("sign-in").verdict == "ok"
    with forging() as forger:
        known = {
            "auth": "on",
            "public_url": PUBLIC,
            "oidc_issuer": forger.issuer,
            "oidc_client_id": CLIENT,
            "oidc_grants": "*=default:reader",
        }
        found = sqlite_patient.look("sign-in", **known)
        assert found.verdict == "ok"
        assert f"{PUBLIC}/session/oidc/callback" in found.found
        absent = sqlite_patient.look("sign-in", **{**known, "oidc_grants": "*=nowhere:reader"})
        trouble(absent, "warning", "'nowhere'", "longleaf workspaces create nowhere")
        wrong = sqlite_patient.look("sign-in", **{**known, "auth": "off"})
        trouble(wrong, "failure", "LONGLEAF_AUTH=on", "will not start")
        forger.description = {"issuer": "https://elsewhere.example.org"}
        other = sqlite_patient.look("sign-in", **known)
        trouble(other, "failure", "its issuer is 'https://elsewhere.example.org'", "LONGLEAF_OIDC_ISSUER")
    gone = sqlite_patient.look("sign-in", **known)
    trouble(gone, "failure", forger.issuer, "this machine reaches it")


def test_limits_of_the_process(
    sqlite_patient: Patient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        trouble(sqlite_patient.look("descriptors"), "warning", "512 files", "ulimit -n 1024", "LimitNOFILE")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    found = sqlite_patient.look("memory", parse_memory_bytes=10**15)
    trouble(found, "failure", "may be needed", "LONGLEAF_PARSE_MEMORY_BYTES")
    # one parser of a GiB with its helper and the bundled model fit, and little else
    (tmp_path / "memory.max").write_text("1840000000\n")
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    trouble(sqlite_patient.look("memory"), "warning", "1.8 GB", "smaller model")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        trouble(sqlite_patient.look("threads"), "warning", "2 threads share 0.5 cores", "OMP_NUM_THREADS=1")
    finally:
        torch.set_num_threads(before)


def test_a_slow_number_format(sqlite_patient: Patient) -> None:
    cache = hardware_cache(sqlite_patient.settings)
    describe("cpu", cache)
    measured = json.loads(cache.read_text())
    cache.write_text(json.dumps(measured | {"prefill": 0.01, "decode": 0.02}))
    found = sqlite_patient.look("number-format", device="cpu", dtype="bfloat16")
    trouble(found, "warning", "0.01 times as fast", "LONGLEAF_DTYPE=auto")
    assert sqlite_patient.look("number-format", device="cpu").found.startswith("float32")
    found = sqlite_patient.look("number-format", device="cpu", dtype="float16")
    trouble(found, "warning", "float16", "LONGLEAF_DTYPE=auto")
    found = sqlite_patient.look("number-format", device="cuda:99")
    trouble(found, "failure", "cuda:99", "LONGLEAF_DEVICE=auto")


def test_jobs(patient: Patient) -> None:
    with patient.db() as db:
        with db.session() as session:
            document = session.query(Document).one().id
            job = jobs.enqueue(session, DEFAULT_SCOPE, document, 1)
            past = utc_now() - timedelta(hours=2)
            session.execute(update(IngestJob).where(IngestJob.id == job.id).values(updated_at=past))
        trouble(
            patient.look("jobs"), "warning", "1 jobs are queued", "120 minutes", "LONGLEAF_INGEST_WORKERS"
        )
        dead = jobs.lease(db, "wrk_dead", seconds=-1)
        assert dead is not None
        trouble(patient.look("jobs"), "warning", "not heard of", "start the service")
        again = jobs.lease(db, "wrk_next")
        assert again is not None
        with db.session() as session:
            session.execute(update(Document).values(generation=0))
        jobs.fail(db, again, "encrypted", "it has a password")
        trouble(patient.look("jobs"), "warning", "1 encrypted", "/retry")


def test_stored_indexes(patient: Patient) -> None:
    folder = snapshot_folder(patient.settings, patient.collection_id)
    with patient.db() as db:
        with db.read() as session:
            identity = identity_of(session)
            newest = Changes(session, DEFAULT_SCOPE).newest(patient.collection_id)

        def store(seq: int, name: str = identity, embedder: str = patient.embedder.fingerprint) -> None:
            origin = snapshot.Origin(name, patient.collection_id, embedder)
            snapshot.save(folder, CollectionIndex(), origin, seq)

        store(newest)
        assert patient.look("indexes").found == "1 stored indexes are up to date"
        store(newest - 501)
        trouble(patient.look("indexes"), "warning", "501 changes behind", "SIGTERM")
        store(newest, name="store_other")
        trouble(patient.look("indexes"), "warning", "another store's", "a start makes them anew")
        (folder / snapshot.MANIFEST).write_bytes(b"\x00")
        trouble(patient.look("indexes"), "warning", "can't be read", "longleaf verify --repair")


def test_secrets_that_were_left_lying(
    sqlite_patient: Patient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with sqlite_patient.db() as db:
        ensure_first_key(db, sqlite_patient.settings)
    key = sqlite_patient.settings.data_dir / FILE_NAME
    trouble(sqlite_patient.look("secrets"), "warning", str(key), f"rm {key}")
    key.chmod(0o644)
    trouble(sqlite_patient.look("secrets"), "failure", "other users", f"chmod 600 {key}")
    key.unlink()
    (tmp_path / ".env").write_text("LONGLEAF_DATABASE_URL=postgresql://me:word@db/x\n")
    (tmp_path / ".env").chmod(0o640)
    trouble(sqlite_patient.look("secrets"), "failure", ".env", "chmod 600 .env")
    (tmp_path / ".env").chmod(0o600)
    found = sqlite_patient.look("secrets", metrics_token_file=str(tmp_path / "none"))
    trouble(found, "failure", "LONGLEAF_METRICS_TOKEN_FILE", "openssl rand")


def test_backups(patient: Patient, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    trouble(patient.look("backup", folder), "failure", "no backup", f"longleaf backup {folder}")
    with patient.db() as db:
        back_up(db, patient.settings, folder)
    assert patient.look("backup", folder).verdict == "ok"
    other = f"sqlite:///{tmp_path / 'other.db'}"
    with opened(other) as db:
        upgrade(db)
    found = patient.look("backup", folder, database_url=other)
    trouble(found, "failure", "another store", "name this one's")
    manifest = folder / "manifest.json"
    said = json.loads(manifest.read_text())
    old = (utc_now() - timedelta(days=9)).isoformat(timespec="seconds")
    manifest.write_text(json.dumps(said | {"created_at": old}))
    trouble(patient.look("backup", folder), "warning", "9.0 days ago", f"longleaf backup {folder}")
    manifest.write_text("{")
    trouble(patient.look("backup", folder), "failure", "manifest.json", "longleaf backup")
