"""Objects are what was stored under their name, in a folder and in a bucket of a real server, or none."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from s3_server import S3Server, serving

from rag.errors import InvalidRequest, Unavailable
from rag.objects.keys import SealKeys
from rag.objects.place import open_objects
from rag.objects.sealed import FRAME, Damaged, opened, sealed
from rag.objects.store import ObjectStore
from rag.settings import Settings

SECRET = b"the quarterly figures nobody may read"
KEYS = SealKeys((bytes(range(32)),))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with serving(tmp_path_factory.mktemp("s3")) as started:
        yield started


def keys_file(folder: Path, *keys: bytes) -> str:
    path = folder / "keys"
    path.write_text("# newest first\n" + "\n".join(base64.b64encode(key).decode() for key in keys))
    return str(path)


@pytest.fixture(params=["folder", "bucket"])
def settings(request: pytest.FixtureRequest, server: S3Server, tmp_path: Path) -> Settings:
    keys = keys_file(tmp_path, os.urandom(32))
    if request.param == "folder":
        where = f"file://{tmp_path / 'objects'}"
        return Settings(_env_file=None, data_dir=tmp_path, objects=where, objects_keys_file=keys)
    return server.settings(tmp_path, objects_keys_file=keys)


@pytest.fixture
def objects(settings: Settings, server: S3Server, tmp_path: Path) -> Iterator[ObjectStore]:
    store = open_objects(settings)
    assert store is not None
    yield store
    for folder in (server.folder, tmp_path / "objects"):
        shutil.rmtree(folder, ignore_errors=True)


def stored_files(server: S3Server, tmp_path: Path) -> list[Path]:
    roots = [root for root in (server.folder, tmp_path / "objects") if root.is_dir()]
    return [path for root in roots for path in root.rglob("*") if path.is_file()]


def test_what_is_stored_is_what_is_read(objects: ObjectStore, tmp_path: Path) -> None:
    large = os.urandom(9 * FRAME + 17)
    (tmp_path / "large").write_bytes(large)
    objects.put("a/b", b"one")
    objects.put("a/c", [b"t", b"", b"wo"])
    objects.put("a/b", b"three")  # in place of the first
    objects.put_file("ab/large", tmp_path / "large")
    assert (objects.get("a/b"), objects.get("a/c"), objects.get("a/none")) == (b"three", b"two", None)
    assert objects.get_file("ab/large", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == large
    assert not objects.get_file("ab/none", tmp_path / "none")
    assert sorted(found.name for found in objects.list("a")) == ["a/b", "a/c"]


def test_purge_takes_all_that_is_under_a_name(objects: ObjectStore, server: S3Server, tmp_path: Path) -> None:
    for number in range(5):
        objects.put(f"tags/one/{number}", SECRET)
    objects.put("tags/one-more", b"stays")
    assert objects.purge("tags/one") == 5
    assert objects.delete(["tags/one/0", "never"]) == 2
    assert [found.name for found in objects.list("tags")] == ["tags/one-more"]
    assert len(stored_files(server, tmp_path)) == 1


def test_nothing_that_lies_there_can_be_read_without_the_key(
    objects: ObjectStore, server: S3Server, tmp_path: Path
) -> None:
    objects.put("note", SECRET)
    (file,) = stored_files(server, tmp_path)
    assert SECRET not in file.read_bytes()
    assert SECRET[:8] not in file.read_bytes()


def test_a_damaged_moved_or_cut_object_is_none(
    objects: ObjectStore, server: S3Server, tmp_path: Path
) -> None:
    objects.put("note", SECRET)
    objects.put("other", b"something else")
    place = {path.name: path for path in stored_files(server, tmp_path)}
    good = place["note"].read_bytes()
    for wrong in (good[:-1], good + b"x", b"", good[:40], place["other"].read_bytes()):
        obstore.put(objects._place, "note", wrong)
        with pytest.raises(Damaged):
            objects.get("note")
        with pytest.raises(Damaged):
            objects.get_file("note", tmp_path / "kept")
        assert not (tmp_path / "kept").exists()
        assert not list(tmp_path.glob("got_*"))


@given(st.lists(st.binary(max_size=40), max_size=6), st.sampled_from([KEYS, SealKeys()]), st.data())
def test_no_bit_can_be_changed(pieces: list[bytes], keys: SealKeys, data: st.DataObject) -> None:
    stored = bytearray(b"".join(sealed("name", pieces, keys)))
    assert b"".join(opened("name", [bytes(stored)], keys)) == b"".join(pieces)
    at = data.draw(st.integers(0, 8 * len(stored) - 1))
    stored[at // 8] ^= 1 << at % 8
    with pytest.raises(Damaged):
        list(opened("name", [bytes(stored)], keys))


@pytest.mark.parametrize("size", [0, 1, FRAME - 1, FRAME, FRAME + 1, 2 * FRAME])
def test_frames_end_where_they_should(size: int) -> None:
    content = os.urandom(size)
    stored = b"".join(sealed("name", [content], KEYS))
    assert b"".join(opened("name", [stored[:100], stored[100:]], KEYS)) == content
    with pytest.raises(Damaged):
        list(opened("another name", [stored], KEYS))


def test_keys_are_exchanged_by_putting_a_new_one_first() -> None:
    old, new = os.urandom(32), os.urandom(32)
    before = b"".join(sealed("name", [b"text"], SealKeys((old,))))
    assert b"".join(opened("name", [before], SealKeys((new, old)))) == b"text"
    after = b"".join(sealed("name", [b"text"], SealKeys((new, old))))
    assert b"".join(opened("name", [after], SealKeys((new,)))) == b"text"
    with pytest.raises(Damaged, match="not among the keys"):
        list(opened("name", [before], SealKeys((new,))))


def test_what_is_not_encrypted_is_refused_where_everything_is_to_be() -> None:
    plain = b"".join(sealed("name", [b"text"], SealKeys()))
    with pytest.raises(Damaged, match="not encrypted"):
        list(opened("name", [plain], KEYS))


def test_a_server_that_is_gone_is_said_with_its_address(server: S3Server, tmp_path: Path) -> None:
    gone = server.settings(tmp_path).model_copy(update={"objects_endpoint": "http://127.0.0.1:9"})
    store = open_objects(gone)
    assert store is not None
    for attempt in (lambda: store.put("a", b"1"), lambda: store.get("a"), lambda: list(store.list("a"))):
        with pytest.raises(Unavailable, match="s3://documents/team") as caught:
            attempt()
        assert caught.value.code == "objects_unavailable"


def test_a_wrong_secret_is_said(server: S3Server, tmp_path: Path) -> None:
    store = open_objects(server.settings(tmp_path).model_copy(update={"objects_access_key": "nobody"}))
    assert store is not None
    with pytest.raises(Unavailable) as caught:
        store.put("a", b"1")
    assert "a-secret-of-the-tests" not in caught.value.detail


def test_the_secret_may_come_from_a_file(server: S3Server, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a-secret-of-the-tests\n")
    plain = server.settings(tmp_path)
    of_file = {"objects_secret_key": SecretStr(""), "objects_secret_key_file": str(tmp_path / "secret")}
    store = open_objects(plain.model_copy(update=of_file))
    assert store is not None
    store.put("from a file", b"1")
    assert store.get("from a file") == b"1"
    for wrong in (
        {"objects_secret_key_file": str(tmp_path / "secret")},
        of_file | {"objects_secret_key_file": str(tmp_path / "none")},
    ):
        with pytest.raises(InvalidRequest, match="LONGLEAF_OBJECTS_SECRET_KEY_FILE") as caught:
            open_objects(plain.model_copy(update=wrong))
        assert caught.value.code == "bad_secret"


@pytest.mark.parametrize("address", ["folder", "http://host/bucket", "file://host/x", "s3://", "file:x"])
def test_another_address_is_refused_with_what_is_allowed(address: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="file:///folder or s3://bucket/prefix"):
        open_objects(Settings(_env_file=None, data_dir=tmp_path, objects=address))


@pytest.mark.parametrize("content", ["", "# none\n", "short\n", base64.b64encode(bytes(31)).decode(), "é"])
def test_a_file_without_keys_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(content)
    with pytest.raises(Unavailable) as caught:
        SealKeys.load(tmp_path / "keys")
    assert caught.value.code == "seal_key"


def test_without_a_setting_there_is_none(tmp_path: Path) -> None:
    assert open_objects(Settings(_env_file=None, data_dir=tmp_path)) is None
