"""After a deletion nothing of a document is in the shared place: original, index, what the model has read."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.loaders import Loaders, load_engine
from ingest.keeping.gc import collect
from ingest.keeping.kv import shared_blocks
from ingest.keeping.verify import verify
from rag.objects.place import objects_of
from rag.objects.sealed import Damaged
from rag.objects.store import ObjectStore
from rag.settings import Settings
from tests.api.conftest import ready, until
from tests.api.test_forgetting import read, served, text
from tests.ingest.ingesting import where_found
from tests.rag.s3_server import S3Server, serving

PLACES = ("indexes", "originals", "kv", "kv-tags")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with serving(tmp_path_factory.mktemp("s3")) as started:
        yield started


@pytest.fixture(params=["folder", "encrypted folder", "bucket", "encrypted bucket"])
def place(request: pytest.FixtureRequest, server: S3Server, tmp_path: Path) -> Iterator[Settings]:
    """Settings of a machine that keeps all it can in the shared place."""
    shared = {"originals": "objects", "kv_shared_bytes": 1 << 30, "kv_disk_bytes": 0, "kv_tokens": 4096}
    if request.param.startswith("encrypted"):
        (tmp_path / "keys").write_text(base64.b64encode(os.urandom(32)).decode())
        shared["objects_keys_file"] = str(tmp_path / "keys")
    if request.param.endswith("folder"):
        shared["objects"] = f"file://{tmp_path / 'place'}"
        yield Settings(_env_file=None, data_dir=tmp_path / "data", allowed_hosts="testserver", **shared)
    else:
        yield server.settings(tmp_path / "data", allowed_hosts="testserver", **shared)
        for under in PLACES:  # by the server, which remembers what its folders hold
            objects_of(server.settings(tmp_path)).purge(under)


def named_or_said(objects: ObjectStore, *words: str) -> set[str]:
    """The first part of the name of each object that has one of the words in its name or content."""
    found = set()
    for under in PLACES:
        for each in objects.list(under):
            try:
                content = objects.get(each.name) or b""
            except Damaged:  # pragma: no cover
                content = b""
            if any(word in each.name or word.encode() in content for word in words):
                found.add(under)
    return found


@pytest.mark.slow
def test_a_deletion_reaches_the_shared_place(
    place: Settings, loaders: Loaders, server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.index.live.WORTH_SAVING", 1)
    place.data_dir.mkdir(exist_ok=True)
    canary, tower = (f"{word}{secrets.token_hex(6)}" for word in ("canary", "tower"))
    own = Loaders(embedder=loaders.embedder, engine=load_engine)
    with served(place, own) as (client, service):
        engine = service.engine.wait()
        other, gone = (ready(client, f"{word}.md", text(word)) for word in (tower, canary))
        content = client.get(f"/documents/{gone['id']}/content", headers={"Range": "bytes=2-9"})
        assert (content.status_code, content.text) == (206, text(canary)[2:10])
        assert client.get(f"/documents/{gone['id']}/content").text == text(canary)
        for document in (other, gone):
            read(engine, document["id"], client.get(f"/documents/{document['id']}/text").text)
        service.indexes.wait().save()
        objects = objects_of(place)
        until(lambda: named_or_said(objects, canary, gone["id"]) == {"indexes", "originals", "kv-tags"})
        blocks = shared_blocks(service.db, place)
        assert blocks is not None
        before = len(blocks.kept().blocks)
        assert before >= 4
        if not place.objects_keys_file:
            assert where_found(service.db, tmp_path, canary)

        assert client.delete(f"/documents/{gone['id']}").status_code == 204
        assert named_or_said(objects, canary, gone["id"]) == set()
        assert where_found(service.db, tmp_path, canary) == []
        assert where_found(service.db, server.folder, canary) == []
        kept = blocks.kept()
        assert 0 < len(kept.blocks) < before
        assert {tag for tags in kept.tags.values() for tag in tags} == {other["id"]}
        assert named_or_said(objects, tower, other["id"]) >= {"originals", "kv-tags"}
        assert client.get(f"/documents/{other['id']}/content").text == text(tower)
        assert verify(service.db, place).problems == []
        assert collect(service.db, place, dry_run=True) == []
    engine.close()
