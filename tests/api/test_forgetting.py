"""After a deletion nothing of a document is in any file or table: not in the indexes, not in what the model
has read, not in an upload's rest, not in another process, and in a backup until its next run at most."""

from __future__ import annotations

import gzip
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.loaders import Loaders, load_engine
from api.wiring import Service
from ingest.deletion import delete_document
from ingest.keeping.backup import backup
from ingest.keeping.kv import blocks_of, kv_folder
from model import Engine
from rag.settings import Settings
from rag.store.scope import DEFAULT_SCOPE
from tests.api.conftest import ready, until, wait_for
from tests.api.test_resumable import begin, send
from tests.ingest.ingesting import where_found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the engine of these tests, which is loaded once; each test has one beside it."""
    return tmp_path_factory.mktemp("forgetting") / "data"


@pytest.fixture(scope="module")
def keeping_engine(folder: Path) -> Iterator[Engine]:
    """The bundled generator as the service loads it, with its disk tier."""
    engine = load_engine(Settings(_env_file=None, data_dir=folder, kv_tokens=4096))
    yield engine
    engine.close()


@pytest.fixture
def settings(folder: Path, tmp_path: Path, database_url: str) -> Settings:
    data = tmp_path / "data"
    data.mkdir(exist_ok=True)
    (data / "kv").symlink_to(folder / "kv")
    return Settings(
        _env_file=None, data_dir=data, database_url=database_url, allowed_hosts="testserver", port=0
    )


@contextmanager
def served(settings: Settings, loaders: Loaders) -> Iterator[tuple[TestClient, Service]]:
    service = Service(settings, loaders)
    with TestClient(create_app(settings, service), raise_server_exceptions=False) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        yield client, service


def tagged(settings: Settings, document_id: str) -> list[Path]:
    """Files of blocks that the model computed from the document."""
    return list(blocks_of(kv_folder(settings), lambda tags: document_id in tags))


def read(engine: Engine, document_id: str, content: str) -> None:
    """Let the model read a document as the writing of an answer does."""
    engine.score(
        engine.tokenizer.encode(content)[:600], 590, salt=DEFAULT_SCOPE.workspace_id, tags={document_id}
    )
    assert engine.flush(30)


def ask(client: TestClient, document_id: str) -> dict[str, Any]:
    asked = {"question": "What does the keeper write down on day 7?", "document_ids": [document_id]}
    answer: dict[str, Any] = client.post("/query", json=asked).json()
    assert answer["answer_status"] == "answered", answer
    return answer


def text(canary: str) -> str:
    lines = [
        f"On day {day} the keeper of the {canary} writes down the height of tide {day}." for day in range(60)
    ]
    return f"# The log of the {canary}\n\n" + "\n\n".join(lines)


@pytest.mark.slow
def test_a_deletion_reaches_everything(
    settings: Settings,
    loaders: Loaders,
    keeping_engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rag.index.live.WORTH_SAVING", 1)
    canary = f"canary{secrets.token_hex(6)}"
    tower = f"tower{secrets.token_hex(6)}"  # no text that the engine has read before
    own = Loaders(embedder=loaders.embedder, engine=lambda _: keeping_engine)
    with served(settings, own) as (client, service):
        other = ready(client, "tower.md", text(tower))
        gone = ready(client, f"{canary}.md", text(canary), metadata=f'{{"note": "{canary}"}}')
        parts = text(canary).replace("height", "colour").encode()
        where = begin(client, len(parts), filename=f"{canary}.txt", metadata=f'{{"note": "{canary}"}}')
        assert send(client, where, 0, parts[:1000]).status_code == 204
        sent = send(client, where, 1000, parts[1000:])
        in_parts = wait_for(client, sent.headers["longleaf-document"])
        answers = [ask(client, document["id"]) for document in (gone, in_parts)]
        kept_answer = ask(client, other["id"])
        for document in (other, gone, in_parts):
            read(keeping_engine, document["id"], client.get(f"/documents/{document['id']}/text").text)
        service.indexes.wait().save()
        backup(service.db, settings, tmp_path / "backup")

        found = set(where_found(service.db, settings.data_dir, canary))
        assert {"texts.text", "documents.metadata", "answers.words", f"blobs/{gone['id']}"} <= found
        assert tagged(settings, gone["id"])
        assert tagged(settings, in_parts["id"])
        assert any(canary.encode() in content for content in contents(tmp_path / "backup"))

        for document in (gone, in_parts):
            assert client.delete(f"/documents/{document['id']}").status_code == 204
            assert tagged(settings, document["id"]) == []
        assert where_found(service.db, settings.data_dir, canary) == []
        for answer in answers:
            stored = client.get(f"/answers/{answer['answer_id']}").json()
            assert stored["withdrawn"] is True
            assert stored["citations"] == []
            assert canary not in str(stored)
        assert tagged(settings, other["id"])
        assert client.get(f"/answers/{kept_answer['answer_id']}").json()["withdrawn"] is False
        assert client.get(f"/documents/{other['id']}/text").text == text(tower)

        backup(service.db, settings, tmp_path / "backup")
        assert not any(canary.encode() in content for content in contents(tmp_path / "backup"))


def contents(folder: Path) -> Iterator[bytes]:
    """The content of every file, unpacked."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            yield gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


@pytest.mark.slow
def test_what_another_process_deletes_is_forgotten_as_well(
    settings: Settings, loaders: Loaders, keeping_engine: Engine
) -> None:
    canary = f"canary{secrets.token_hex(6)}"
    own = Loaders(embedder=loaders.embedder, engine=lambda _: keeping_engine)
    with served(settings, own) as (client, service):
        keeping_engine.forget()
        document = ready(client, f"{canary}.md", text(canary))
        read(keeping_engine, document["id"], text(canary))
        assert keeping_engine.stats().blocks_cached > 0
        assert tagged(settings, document["id"])
        # as a command does that has no engine: it can't reach into this process, but onto the disk
        delete_document(service.db, settings, DEFAULT_SCOPE, document["id"])
        assert tagged(settings, document["id"]) == []
        until(lambda: keeping_engine.stats().blocks_cached == 0)
        assert keeping_engine.flush(30)
        assert tagged(settings, document["id"]) == []


def test_no_disk_tier_where_none_is_wanted(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(Engine, "load", lambda *_, options, **__: seen.append(options))
    load_engine(make_settings(kv_disk_bytes=0, kv_memory_bytes=5))
    load_engine(make_settings(kv_disk_bytes=7))
    assert [(o.kv_folder is None, o.kv_memory_bytes, o.kv_disk_bytes) for o in seen] == [
        (True, 5, 0),
        (False, 0, 7),
    ]
