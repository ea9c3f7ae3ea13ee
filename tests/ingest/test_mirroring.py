"""A folder mirrored into a collection: what is brought, followed, left out, refused and taken away."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ingesting import Desk, WordEmbedder, where_found
from mirrored import Mirrored, expected
from sqlalchemy import text

from ingest import jobs
from ingest.deletion import delete_collection, delete_document
from ingest.mirroring import look as looking
from ingest.mirroring import mirror as mirroring
from ingest.updates import change_metadata
from ingest.uploads import NewDocument, accept
from rag.errors import Conflict, NotFound, Unavailable
from rag.index.live import LiveIndexes
from rag.settings import Settings
from rag.store.repositories import DEFAULT_SCOPE, Chunks, Collections, SyncedFiles
from rag.store.session import Database


class Counting(WordEmbedder):
    """Says what it was given to embed."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed_passages(self, texts: Any) -> np.ndarray:
        self.asked += texts
        return super().embed_passages(texts)


@pytest.fixture
def mirrored(database: Database, settings: Settings, tmp_path: Path) -> Mirrored:
    return Mirrored(Desk(database, settings, Counting()), tmp_path / "folder")


def old(path: Path) -> Path:
    """Let a file have been written some time ago."""
    os.utime(path, (time.time() - 100, time.time() - 100))
    return path


def test_new_changed_moved_and_deleted_files(mirrored: Mirrored) -> None:
    mirrored.write("a.txt", "The first file.")
    mirrored.write("deep/b.txt", "The second file.")
    mirrored.write("c.txt", "The third file.")
    done = mirrored.sync()
    assert (done.added, done.unchanged) == (["a.txt", "c.txt", "deep/b.txt"], 0)
    assert mirrored.said() == expected(mirrored.folder)
    ids = {path: row.id for path, row in mirrored.documents().items()}
    assert mirrored.once().unchanged == 3

    mirrored.write("a.txt", "The first file, changed.")
    (mirrored.folder / "other").mkdir()
    (mirrored.folder / "deep/b.txt").rename(mirrored.folder / "other/renamed.txt")
    (mirrored.folder / "c.txt").unlink()
    mirrored.write("new.txt", "The fourth file.")
    done = mirrored.sync()
    assert (done.added, done.changed, done.deleted) == (["new.txt"], ["a.txt"], ["c.txt"])
    assert done.moved == [("deep/b.txt", "other/renamed.txt")]
    assert mirrored.said() == expected(mirrored.folder)
    now = mirrored.documents()
    assert (now["a.txt"].id, now["a.txt"].generation) == (ids["a.txt"], 2)
    moved = now["other/renamed.txt"]
    assert (moved.id, moved.generation) == (ids["deep/b.txt"], 1)  # nothing was read again
    assert set(mirrored.rows()) == {"a.txt", "other/renamed.txt", "new.txt"}


def test_a_folder_mirrored_from_scratch_says_the_same(
    mirrored: Mirrored, database: Database, settings: Settings
) -> None:
    for number in range(6):
        mirrored.write(f"{number}/note.md", f"# Note {number}\n\nOf the mill, number {number}.")
    mirrored.sync()
    shutil.move(mirrored.folder / "3", mirrored.folder / "moved")
    mirrored.write("1/note.md", "# Another\n\nOf the pond.")
    shutil.rmtree(mirrored.folder / "5")
    mirrored.sync()
    scratch = Mirrored(Desk(database, settings, name="scratch"), mirrored.folder)
    scratch.sync()
    assert scratch.said() == mirrored.said()
    assert len(scratch.said()) == 5

    def words(each: Mirrored, question: str) -> list[tuple[str, float]]:
        index = LiveIndexes(database, settings).follow(each.desk.collection_id)
        hits = index.search(question, WordEmbedder().embed_query(question), 20)
        with database.read() as session:
            rows = Chunks(session, DEFAULT_SCOPE).live([int(i) for i in hits.ids])
        titles = {row.id: row.meta["path"] for row in rows.values()}
        return sorted(
            (titles[int(key)], round(float(score), 4))
            for key, score in zip(hits.ids, hits.lexical, strict=True)
        )

    for question in ("note number 3", "pond", "mill"):
        assert words(mirrored, question) == words(scratch, question)


def test_what_did_not_change_is_not_opened(mirrored: Mirrored, monkeypatch: pytest.MonkeyPatch) -> None:
    old(mirrored.write("a.txt", "The first file."))
    mirrored.sync()

    def never(*_: Any) -> None:
        raise AssertionError("it was opened")

    with monkeypatch.context() as patch:
        patch.setattr(looking, "opened", never)
        assert mirrored.once().unchanged == 1
        old(mirrored.folder / "a.txt").touch()
        with pytest.raises(AssertionError, match="opened"):
            mirrored.once()
    # another time, the same bytes: read once more, then known
    assert mirrored.once().unchanged == 1
    assert mirrored.documents()["a.txt"].generation == 1
    # other bytes of the same size and time are seen where that is asked for
    state = old(mirrored.folder / "a.txt").stat()
    mirrored.once()
    mirrored.write("a.txt", "The other file.")
    os.utime(mirrored.folder / "a.txt", ns=(state.st_mtime_ns, state.st_mtime_ns))
    assert mirrored.once().changed == []
    assert mirrored.sync(checksum=True).changed == ["a.txt"]
    assert mirrored.said() == expected(mirrored.folder)


def test_a_file_written_twice_within_a_tick_of_its_clock_is_seen(mirrored: Mirrored) -> None:
    path = mirrored.write("a.txt", "The first file.")
    mirrored.sync()
    stamp = path.stat().st_mtime_ns
    mirrored.write("a.txt", "The other file.")
    os.utime(path, ns=(stamp, stamp))
    assert mirrored.sync().changed == ["a.txt"]


def test_files_with_the_same_bytes_share_a_document(mirrored: Mirrored) -> None:
    for name in ("b.txt", "c.txt"):
        mirrored.write(name, "One text.")
    mirrored.sync()
    [row] = mirrored.documents().values()
    assert (row.filename, set(mirrored.rows())) == ("b.txt", {"b.txt", "c.txt"})
    mirrored.write("a.txt", "One text.")
    assert mirrored.sync().added == ["a.txt"]
    (mirrored.folder / "b.txt").unlink()
    assert mirrored.sync().deleted == ["b.txt"]
    assert mirrored.said() == expected(mirrored.folder)
    assert mirrored.documents()["a.txt"].id == row.id
    mirrored.write("a.txt", "Another text.")
    mirrored.sync()
    assert mirrored.said() == expected(mirrored.folder)
    assert mirrored.documents()["c.txt"].id == row.id


def test_files_that_change_places_need_no_reading(mirrored: Mirrored) -> None:
    mirrored.write("a.txt", "The first text.")
    mirrored.write("b.txt", "The second text.")
    mirrored.sync()
    ids = {path: row.id for path, row in mirrored.documents().items()}
    mirrored.write("a.txt", "The second text.")
    mirrored.write("b.txt", "The first text.")
    done = mirrored.once()
    assert done.documents == {}
    assert sorted(done.moved) == [("a.txt", "b.txt"), ("b.txt", "a.txt")]
    now = mirrored.documents()
    assert {path: row.id for path, row in now.items()} == {"a.txt": ids["b.txt"], "b.txt": ids["a.txt"]}
    assert mirrored.said() == expected(mirrored.folder)


def test_unchanged_chunks_keep_their_vectors(mirrored: Mirrored) -> None:
    paragraphs = [f"Paragraph {n} of the long lease. " * 30 for n in range(40)]
    mirrored.write("lease.txt", "\n\n".join(paragraphs))
    mirrored.sync()
    embedder: Counting = mirrored.desk.embedder
    whole = len(embedder.asked)
    embedder.asked.clear()
    paragraphs[20] = "Something else stands here now. " * 30
    mirrored.write("lease.txt", "\n\n".join(paragraphs))
    mirrored.sync()
    assert whole > 10
    assert 1 <= len(embedder.asked) <= 4


def test_a_file_of_another_kind_is_read_again_and_answers_meanwhile(mirrored: Mirrored) -> None:
    mirrored.write("a.txt", "# Heading\n\nThe text.")
    mirrored.sync()
    before = mirrored.documents()["a.txt"]
    (mirrored.folder / "a.txt").rename(mirrored.folder / "a.md")
    done = mirrored.once()
    assert (done.moved, list(done.documents)) == ([("a.txt", "a.md")], [before.id])
    meanwhile = mirrored.desk.get(before.id)
    assert (meanwhile.status, meanwhile.generation, meanwhile.filename) == ("ready", 1, "a.txt")
    mirrored.sync()
    after = mirrored.documents()["a.md"]
    assert (after.id, after.media_type, after.filename) == (before.id, "text/markdown", "a.md")
    assert mirrored.desk.files() == {f"{before.id}.2"}
    assert mirrored.once().unchanged == 1


def test_a_moved_document_is_found_by_its_new_name(
    mirrored: Mirrored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.index.live.WORTH_SAVING", 1)
    desk = mirrored.desk
    mirrored.write("aardvark.txt", "The text says something else.")
    mirrored.sync()
    indexes = LiveIndexes(desk.db, desk.settings)

    def found(live: LiveIndexes, word: str) -> bool:
        hits = live.follow(desk.collection_id).search(word, WordEmbedder().embed_query(word), 5)
        return bool((hits.lexical > 0).any())

    assert (found(indexes, "aardvark"), found(indexes, "zebra")) == (True, False)
    (mirrored.folder / "aardvark.txt").rename(mirrored.folder / "zebra.txt")
    mirrored.once()
    assert (found(indexes, "aardvark"), found(indexes, "zebra")) == (False, True)
    # and by a process that starts with the index stored before
    restarted = LiveIndexes(desk.db, desk.settings)
    assert (found(restarted, "aardvark"), found(restarted, "zebra")) == (False, True)


def test_what_a_user_says_of_a_document_stays(mirrored: Mirrored) -> None:
    mirrored.write("a.txt", "The text.")
    mirrored.sync()
    [row] = mirrored.documents().values()
    change_metadata(mirrored.desk.db, DEFAULT_SCOPE, row.id, {"title": "The lease", "year": 2021})
    (mirrored.folder / "a.txt").rename(mirrored.folder / "b.txt")
    mirrored.sync()
    mirrored.write("b.txt", "The text, longer.")
    mirrored.sync()
    [row] = mirrored.documents().values()
    assert row.meta == {"path": "b.txt", "title": "The lease", "year": 2021}
    assert (row.title, row.filename) == ("The lease", "b.txt")
    change_metadata(mirrored.desk.db, DEFAULT_SCOPE, row.id, {"title": None})
    assert mirrored.documents()["b.txt"].title == "The lease"  # what it was read as


def test_a_title_from_the_name_follows_the_name(mirrored: Mirrored) -> None:
    mirrored.write("a.txt", "The text.")
    mirrored.sync()
    (mirrored.folder / "a.txt").rename(mirrored.folder / "b.txt")
    mirrored.sync()
    [row] = mirrored.documents().values()
    assert row.title == "b"
    changed = change_metadata(mirrored.desk.db, DEFAULT_SCOPE, row.id, {"year": 2021})
    assert changed.title == "b"


def test_a_document_that_came_another_way_is_taken_over(mirrored: Mirrored) -> None:
    by_hand = mirrored.desk.upload(b"The text.", "sent.txt", year=2021).document.id
    mirrored.read()
    mirrored.write("deep/a.txt", "The text.")
    done = mirrored.sync()
    assert (done.taken_over, done.added) == (["deep/a.txt"], [])
    row = mirrored.documents()["deep/a.txt"]
    assert (row.id, row.generation, row.filename) == (by_hand, 1, "a.txt")
    assert row.meta == {"path": "deep/a.txt", "year": 2021}
    mirrored.write("b.txt", "Another text.")
    (mirrored.folder / "deep/a.txt").unlink()
    mirrored.sync()
    assert mirrored.said() == expected(mirrored.folder)


def test_what_a_user_changes_becomes_what_the_folder_says(mirrored: Mirrored) -> None:
    mirrored.write("a.txt", "The first text.")
    mirrored.write("b.txt", "The second text.")
    mirrored.sync()
    delete_document(mirrored.desk.db, mirrored.desk.settings, DEFAULT_SCOPE, mirrored.documents()["a.txt"].id)
    assert mirrored.sync().added == ["a.txt"]
    assert mirrored.said() == expected(mirrored.folder)


def test_old_bytes_that_are_wanted_elsewhere_are_not_blocked_by_new_ones_that_can_not_be_read(
    mirrored: Mirrored,
) -> None:
    mirrored.write("a.txt", "The first text.")
    mirrored.write("b.txt", "The second text.")
    mirrored.sync()
    mirrored.write("b.txt", b"\0\1\2\3 no document")
    mirrored.sync()
    assert mirrored.documents()["b.txt"].updating.status == "failed"
    assert mirrored.desk.text(mirrored.documents()["b.txt"].id) == "The second text."
    mirrored.write("a.txt", "The second text.")
    mirrored.sync()
    now = mirrored.documents()
    assert (now["a.txt"].status, mirrored.desk.text(now["a.txt"].id)) == ("ready", "The second text.")
    assert now["b.txt"].status == "failed"
    assert len(now) == 2


def test_an_empty_or_missing_folder_deletes_nothing_unless_it_is_meant(mirrored: Mirrored) -> None:
    for name in ("a.txt", "b.txt"):
        mirrored.write(name, f"Text of {name}.")
    mirrored.sync()
    shutil.move(mirrored.folder, mirrored.folder.with_name("elsewhere"))
    for _ in range(2):  # gone, then empty, as a disk that is not mounted
        with pytest.raises(Conflict) as refused:
            mirrored.once()
        assert refused.value.code == "would_delete_everything"
        assert "2 files" in refused.value.detail
        mirrored.folder.mkdir(exist_ok=True)
    assert len(mirrored.documents()) == 2
    assert sorted(mirrored.once(delete_all=True).deleted) == ["a.txt", "b.txt"]
    assert mirrored.documents() == {}
    assert mirrored.once().unchanged == 0
    mirrored.folder.rmdir()
    with pytest.raises(NotFound) as missing:
        mirrored.once(delete_all=True)
    assert missing.value.code == "folder_not_found"


def test_many_files_are_not_all_replaced_by_others_unless_it_is_meant(mirrored: Mirrored) -> None:
    for number in range(mirroring.FEW + 1):
        mirrored.write(f"{number}.txt", f"Text {number}.")
    mirrored.once()
    shutil.rmtree(mirrored.folder)
    mirrored.write("other.txt", "Quite another disk is mounted here.")
    with pytest.raises(Conflict, match="delete-all"):
        mirrored.once()
    assert mirrored.once(delete_all=True).added == ["other.txt"]
    mirrored.folder.joinpath("other.txt").unlink()
    mirrored.write("few.txt", "One file may be replaced by another.")
    assert mirrored.once().added == ["few.txt"]


def test_an_empty_file_leaves_what_was_there(mirrored: Mirrored) -> None:
    mirrored.write("a.txt", "The text.")
    mirrored.write("new.txt", "")
    mirrored.sync()
    mirrored.write("a.txt", "")
    assert mirrored.once().left_out == 2
    assert mirrored.said() == {"a.txt": ("a.txt", "a", "ready", "The text.")}
    mirrored.write("a.txt", "More text.")
    mirrored.sync()
    assert mirrored.desk.text(mirrored.documents()["a.txt"].id) == "More text."


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_can_not_be_looked_at_is_not_taken_for_gone(
    mirrored: Mirrored, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    mirrored.write("deep/a.txt", "The first text.")
    mirrored.write("b.txt", "The second text.")
    mirrored.sync()
    mirrored.write("deep/a.txt", "The first text, changed.")
    broken = mirrored.folder / ("deep/a.txt" if what == "file" else "deep")
    call = "open" if what == "file" else "scandir"
    real: Callable[..., Any] = getattr(os, call)

    def failing(path: Any, *more: Any, **named: Any) -> Any:
        if Path(path) == broken:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *more, **named)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing)
        done = mirrored.once()
    assert (done.deleted, [each.code for each in done.troubles]) == ([], ["unreadable"])
    assert "Permission denied" in done.troubles[0].detail
    assert len(mirrored.documents()) == 2
    assert mirrored.sync().changed == ["deep/a.txt"]


def test_ignore_files_that_can_not_be_followed_stop_their_folder(mirrored: Mirrored) -> None:
    mirrored.write("a.txt", "The first text.")
    mirrored.write("deep/b.txt", "The second text.")
    mirrored.sync()
    (mirrored.folder / "deep/.longleafignore").mkdir()
    done = mirrored.once()
    assert (done.deleted, [each.path for each in done.troubles]) == ([], ["deep/"])
    (mirrored.folder / ".longleafignore").write_bytes(b"x" * 2_000_000)
    with pytest.raises(Unavailable, match="larger than"):
        mirrored.once()


def test_files_that_a_rule_leaves_out_go_and_come_again(mirrored: Mirrored) -> None:
    mirrored.write("a.txt", "The first text.")
    mirrored.write("drafts/b.txt", "The second text.")
    mirrored.write("~$a.docx", "lock")
    mirrored.write(".secret/key.txt", "hidden")
    mirrored.sync()
    assert set(mirrored.rows()) == {"a.txt", "drafts/b.txt"}
    mirrored.write(".longleafignore", "drafts/\n!.secret/\n")
    done = mirrored.sync()
    assert (done.added, done.deleted) == ([".secret/key.txt"], ["drafts/b.txt"])
    (mirrored.folder / ".longleafignore").unlink()
    mirrored.sync()
    assert set(mirrored.rows()) == {"a.txt", "drafts/b.txt"}


def test_links_do_not_lead_out_and_pipes_are_not_opened(mirrored: Mirrored, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("not to be read")
    mirrored.write("deep/a.txt", "The text.")
    (mirrored.folder / "out.txt").symlink_to(outside / "secret.txt")
    (mirrored.folder / "out").symlink_to(outside)
    (mirrored.folder / "loop").symlink_to(mirrored.folder)
    (mirrored.folder / "broken.txt").symlink_to("nowhere")
    (mirrored.folder / "z.txt").symlink_to("deep/a.txt")
    os.mkfifo(mirrored.folder / "pipe.txt")
    done = mirrored.sync()
    assert (done.added, done.left_out) == (["deep/a.txt", "z.txt"], 5)
    assert list(mirrored.said()) == ["deep/a.txt"]
    assert where_found(mirrored.desk.db, mirrored.desk.settings.data_dir, "not to be read") == []


def test_a_file_that_becomes_a_link_outwards_meanwhile_is_not_read(
    mirrored: Mirrored, tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_text("not to be read")
    path = mirrored.write("a.txt", "The text.")
    mirror = mirrored.mirror()
    seen = mirror.look()
    path.unlink()
    path.symlink_to(tmp_path / "secret.txt")
    done = mirror.carry_out(seen)
    assert (done.added, done.waiting) == ([], 1)
    assert mirrored.documents() == {}


def test_a_file_that_changes_while_it_is_copied_is_taken_next_time(mirrored: Mirrored) -> None:
    path = mirrored.write("a.txt", "The text.")
    mirror = mirrored.mirror()
    seen = mirror.look()
    path.write_text("The text that somebody writes just now.")
    done = mirror.carry_out(seen)
    assert (done.added, done.waiting, mirrored.documents()) == ([], 1, {})
    assert mirrored.sync().added == ["a.txt"]
    assert mirrored.desk.files() == {mirrored.documents()["a.txt"].id}


def test_names_that_can_not_be_kept_are_told(mirrored: Mirrored) -> None:
    mirrored.write("good.txt", "The text.")
    raw = os.fsencode(mirrored.folder)
    with open(raw + b"/bad\xff.txt", "wb") as file:
        file.write(b"not UTF-8")
    deep = "/".join(["d" * 200] * 11)
    mirrored.write(f"{deep}/far.txt", "far away")
    done = mirrored.sync()
    assert done.added == ["good.txt"]
    assert [each.code for each in done.troubles] == ["bad_name", "bad_name"]
    assert {"UTF-8" in each.detail for each in done.troubles} == {True, False}


def test_files_beyond_a_limit_are_told_and_the_others_taken(mirrored: Mirrored) -> None:
    desk = mirrored.desk
    with desk.db.session() as session:
        Collections(session, DEFAULT_SCOPE).set_limit(desk.collection_id, "max_documents", 2)
    for number in range(3):
        mirrored.write(f"{number}.txt", f"Text {number}.")
    done = mirrored.once()
    mirrored.read()
    assert (done.added, [each.code for each in done.troubles]) == (["0.txt", "1.txt"], ["too_many_documents"])
    mirrored.desk.settings = desk.settings.model_copy(update={"max_upload_bytes": 20})
    mirrored.write("0.txt", "Longer than twenty bytes.")
    done = mirrored.once()
    assert [each.code for each in done.troubles] == ["too_large", "too_many_documents"]
    assert mirrored.desk.text(mirrored.documents()["0.txt"].id) == "Text 0."
    mirrored.write("1.txt", "Short enough.")
    assert mirrored.once().changed == ["1.txt"]


def test_two_folders_may_hold_the_same_file(mirrored: Mirrored, tmp_path: Path) -> None:
    other = Mirrored(mirrored.desk, tmp_path / "other")
    for each in (mirrored, other):
        each.write("both.txt", "In both folders.")
        each.write("more.txt", f"Only in {each.folder.name}.")
    mirrored.sync()
    done = other.sync()
    assert (done.taken_over, done.added) == (["both.txt"], ["more.txt"])
    shared = mirrored.rows()["both.txt"]
    assert other.rows()["both.txt"] == shared
    # what one folder changes is not changed for the other
    mirrored.write("both.txt", "Changed here.")
    mirrored.sync()
    assert mirrored.desk.text(shared) == "In both folders."
    assert mirrored.desk.text(mirrored.rows()["both.txt"]) == "Changed here."
    mirrored.write("both.txt", "In both folders.")
    mirrored.sync()
    (mirrored.folder / "both.txt").unlink()
    mirrored.sync()
    assert mirrored.desk.text(shared) == "In both folders."
    (other.folder / "both.txt").unlink()
    other.sync()
    with pytest.raises(NotFound):
        mirrored.desk.get(shared)


def test_a_folder_keeps_its_name_where_it_is_moved(mirrored: Mirrored, tmp_path: Path) -> None:
    mirrored.more["root"] = "papers"
    mirrored.write("a.txt", "The text.")
    mirrored.sync()
    mirrored.folder = mirrored.folder.rename(tmp_path / "moved")
    assert mirrored.once().unchanged == 1
    with mirrored.desk.db.read() as session:
        assert SyncedFiles(session, DEFAULT_SCOPE).roots(mirrored.desk.collection_id) == {"papers": 1}


def test_one_run_at_a_time(mirrored: Mirrored) -> None:
    with mirrored.mirror().alone(), pytest.raises(Conflict) as refused, mirrored.mirror().alone():
        pass
    assert refused.value.code == "sync_running"
    with mirrored.mirror().alone():
        pass


def test_a_preview_says_what_a_run_does(mirrored: Mirrored) -> None:
    mirrored.write("a.txt", "The first text.")
    mirrored.write("b.txt", "The second text.")
    mirrored.sync()
    by_hand = mirrored.desk.upload(b"By hand.", "hand.txt")
    assert by_hand
    mirrored.write("a.txt", "The first text, changed.")
    (mirrored.folder / "b.txt").rename(mirrored.folder / "c.txt")
    mirrored.write("d.txt", "By hand.")
    mirrored.write("e.txt", "New.")
    before = mirrored.documents()
    mirror = mirrored.mirror()
    told = mirror.preview(mirror.look())
    assert mirrored.documents() == before
    done = mirrored.once()
    for name in ("added", "changed", "moved", "taken_over", "deleted", "unchanged", "left_out"):
        assert getattr(told, name) == getattr(done, name), name
    assert (told.changed, told.moved, told.taken_over, told.added) == (
        ["a.txt"],
        [("b.txt", "c.txt")],
        ["d.txt"],
        ["e.txt"],
    )


def test_what_failed_is_tried_again_only_where_that_is_asked_for(mirrored: Mirrored) -> None:
    mirrored.write("a.bin", b"\0\1\2\3 no document")
    mirrored.sync()
    [failed] = mirrored.mirror().failed().values()
    assert (failed.path, failed.code) == ("a.bin", "unsupported_type")
    assert mirrored.once().documents == {}
    assert list(mirrored.mirror().retry().values()) == ["a.bin"]
    [row] = mirrored.documents().values()
    assert row.status == "queued"
    jobs.cancel(mirrored.desk.db, DEFAULT_SCOPE, row.id)
    assert [each.code for each in mirrored.mirror().failed().values()] == ["cancelled"]
    mirrored.write("a.bin", "Now it is text.")
    mirrored.sync()
    assert mirrored.mirror().failed() == {}


def test_a_file_that_goes_leaves_nothing(mirrored: Mirrored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag.index.live.WORTH_SAVING", 1)
    desk = mirrored.desk
    mirrored.write("other.txt", "Another text.")
    mirrored.write("canary4711.txt", "The canary4711 sings.")
    mirrored.sync()
    LiveIndexes(desk.db, desk.settings).follow(desk.collection_id)
    folder = desk.settings.data_dir
    assert where_found(desk.db, folder, "canary4711")
    stored = {path.name for path in (folder / "index").rglob("*")}
    (mirrored.folder / "canary4711.txt").unlink()
    mirrored.sync()
    LiveIndexes(desk.db, desk.settings).cleanse(desk.collection_id)
    assert where_found(desk.db, folder, "canary4711") == []
    assert stored.isdisjoint(path.name for path in (folder / "index").rglob("*.exact"))


def test_a_collection_that_is_deleted_takes_what_is_known_along(mirrored: Mirrored) -> None:
    mirrored.write("a.txt", "The text.")
    mirrored.sync()
    mirrored.write("b.txt", "Another text.")
    mirror = mirrored.mirror()
    seen = mirror.look()
    delete_collection(mirrored.desk.db, mirrored.desk.settings, DEFAULT_SCOPE, mirrored.desk.collection_id)
    assert mirrored.desk.rows("synced_files") == 0
    with pytest.raises(NotFound):
        mirror.look()
    with suppress(NotFound):  # as soon as it needs the collection
        assert mirror.carry_out(seen).added == []
    assert (mirrored.desk.rows("documents"), mirrored.desk.rows("synced_files")) == (0, 0)


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from ingesting import Desk
from mirrored import Mirrored
from rag.settings import Settings
from rag.store.session import Database
count = 0
def kill(step, path):
    global count
    count += 1
    if count == int(sys.argv[3]):
        os.kill(os.getpid(), 9)
settings = Settings(_env_file=None, data_dir=Path(sys.argv[2]))
Mirrored(Desk(Database(sys.argv[1]), settings), Path(sys.argv[5])).once(on_step=kill)
"""


def test_a_run_that_is_killed_anywhere_is_made_good_by_the_next(
    mirrored: Mirrored, database_url: str
) -> None:
    desk = mirrored.desk
    here = Path(__file__).parent

    def killed(step: int) -> bool:
        arguments = [database_url, str(desk.settings.data_dir), str(step), str(here), str(mirrored.folder)]
        ended = subprocess.run(
            [sys.executable, "-c", KILLED, *arguments], cwd=here.parents[1], check=False, timeout=120
        )
        assert ended.returncode in {0, -9}
        return ended.returncode == -9

    mirrored.write("old.txt", "What is there from the beginning.")
    mirrored.sync()
    for name in ("a", "b", "c"):
        mirrored.write(f"{name}.txt", f"The text of {name}.")
    step = 1
    while killed(step):  # each run gets one step further than the one before would have
        step += 1
        assert step < 20
    mirrored.sync()
    assert mirrored.said() == expected(mirrored.folder)
    mirrored.write("a.txt", "The text of a, changed.")
    (mirrored.folder / "b.txt").rename(mirrored.folder / "moved.txt")
    (mirrored.folder / "c.txt").unlink()
    mirrored.write("d.txt", "The text of d.")
    for step in range(1, 8):
        killed(step)
    mirrored.sync()
    assert mirrored.said() == expected(mirrored.folder)
    assert desk.files() == {
        row.id if row.generation == 1 else f"{row.id}.{row.generation}"
        for row in mirrored.documents().values()
    }
    with desk.db.read() as session:
        assert session.scalar(text("SELECT count(*) FROM ingest_jobs WHERE status = 'queued'")) == 0


def test_a_row_is_written_with_its_document_or_not_at_all(mirrored: Mirrored) -> None:
    desk = mirrored.desk

    def fail(*_: Any) -> None:
        raise Conflict("not now", code="not_now")

    with desk.sink(b"The text.") as sink, pytest.raises(Conflict):
        accept(
            desk.db,
            desk.settings,
            DEFAULT_SCOPE,
            desk.collection_id,
            NewDocument(sink, "a.txt"),
            within=fail,
        )
    assert (desk.rows("documents"), desk.files()) == (0, set())
