"""Any history of a folder and of its documents, with runs that stop anywhere: it comes to the same."""

from __future__ import annotations

import contextlib
import itertools
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ingesting import Desk, WordEmbedder
from mirrored import Mirrored, expected

from ingest.deletion import delete_document
from ingest.updates import replace_file
from ingest.uploads import NewDocument
from rag.errors import Conflict
from rag.index.collection import CollectionIndex
from rag.index.live import LiveIndexes
from rag.settings import Settings
from rag.store.repositories import DEFAULT_SCOPE, Documents
from rag.store.session import Database

PATHS = ("a.txt", "b.txt", "c.md", "deep/a.txt", "deep/b.txt", "deep/er/c.txt", ".hidden.txt")
UNREADABLE = b"\0\1\2\3 no document of any kind"
CONTENTS = (
    *(f"This is text number {n}, of the mill." for n in ["one", "two", "three", "four", "five"]),
    UNREADABLE,
)
_paths, _contents = st.sampled_from(PATHS), st.sampled_from(CONTENTS)
_events = st.one_of(
    st.tuples(st.just("write"), _paths, _contents),
    st.tuples(st.just("move"), _paths, _paths),
    st.tuples(st.just("swap"), _paths, _paths),
    st.tuples(st.just("copy"), _paths, _paths),
    st.tuples(st.just("unlink"), _paths),
    st.tuples(st.just("touch"), _paths),
    st.tuples(st.just("move folder"), st.just("deep"), st.sampled_from(["moved", "deep/inner"])),
    st.tuples(st.just("run")),
    st.tuples(st.just("run until"), st.integers(1, 6)),
    st.tuples(st.just("read")),
    st.tuples(st.just("user uploads"), _contents),
    st.tuples(st.just("user deletes"), st.integers(0, 5)),
    st.tuples(st.just("user replaces"), st.integers(0, 5), _contents),
    st.tuples(st.just("follow")),
)
_number = itertools.count()


class Killed(BaseException):
    """The process is gone."""


class History:
    """What happens, event by event."""

    def __init__(self, mirrored: Mirrored) -> None:
        self.mirrored, self.folder, self.desk = mirrored, mirrored.folder, mirrored.desk
        self.indexes = LiveIndexes(self.desk.db, self.desk.settings)

    def happen(self, what: str, *more: Any) -> None:
        getattr(self, what.replace(" ", "_"))(*more)

    def write(self, path: str, content: str | bytes) -> None:
        if not self._blocked(path):
            self.mirrored.write(path, content)

    def _blocked(self, path: str) -> bool:
        target = self.folder / path
        return target.is_dir() or any(parent.is_file() for parent in target.parents)

    def move(self, source: str, target: str) -> None:
        if (self.folder / source).is_file() and not self._blocked(target):
            (self.folder / target).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / source).rename(self.folder / target)

    def swap(self, one: str, other: str) -> None:
        if one != other and (self.folder / one).is_file() and (self.folder / other).is_file():
            first = (self.folder / one).read_bytes()
            (self.folder / one).write_bytes((self.folder / other).read_bytes())
            (self.folder / other).write_bytes(first)

    def copy(self, source: str, target: str) -> None:
        if source != target and (self.folder / source).is_file() and not self._blocked(target):
            self.mirrored.write(target, (self.folder / source).read_bytes())

    def unlink(self, path: str) -> None:
        (self.folder / path).unlink(missing_ok=True) if (self.folder / path).is_file() else None

    def touch(self, path: str) -> None:
        if (self.folder / path).is_file():
            (self.folder / path).touch()

    def move_folder(self, source: str, target: str) -> None:
        if (self.folder / source).is_dir() and not (self.folder / target).exists():
            shutil.move(self.folder / source, self.folder / "apart")
            (self.folder / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(self.folder / "apart", self.folder / target)

    def run(self) -> None:
        self.mirrored.once(delete_all=True)

    def run_until(self, step: int) -> None:
        steps = itertools.count(1)

        def kill(*_: str) -> None:
            if next(steps) == step:
                raise Killed

        with contextlib.suppress(Killed):
            self.mirrored.once(delete_all=True, on_step=kill)

    def read(self) -> None:
        self.mirrored.read()

    def user_uploads(self, content: str | bytes) -> None:
        raw = content.encode() if isinstance(content, str) else content
        with contextlib.suppress(Conflict):
            self.desk.upload(raw, "by hand.txt")

    def _some(self, number: int) -> str | None:
        with self.desk.db.read() as session:
            rows = Documents(session, DEFAULT_SCOPE).list(collection_id=self.desk.collection_id)
        return rows[number % len(rows)].id if rows else None

    def user_deletes(self, number: int) -> None:
        if (document_id := self._some(number)) is not None:
            delete_document(self.desk.db, self.desk.settings, DEFAULT_SCOPE, document_id)

    def user_replaces(self, number: int, content: str | bytes) -> None:
        raw = content.encode() if isinstance(content, str) else content
        if (document_id := self._some(number)) is not None:
            with self.desk.sink(raw) as sink, contextlib.suppress(Conflict):
                replace_file(
                    self.desk.db,
                    self.desk.settings,
                    DEFAULT_SCOPE,
                    document_id,
                    NewDocument(sink, "by hand.txt"),
                )

    def follow(self) -> None:
        self.indexes.follow(self.desk.collection_id)


def answers(index: CollectionIndex) -> list[Any]:
    out = []
    for words in ("a", "b", "by hand", "c mill", "text number three"):
        hits = index.search(words, WordEmbedder().embed_query(words), 50)
        order = np.argsort(hits.ids)
        out.append((hits.ids[order].tolist(), np.round(hits.lexical[order], 4).tolist()))
    return out


def check(history: History) -> None:
    mirrored, desk = history.mirrored, history.desk
    mirrored.sync(delete_all=True)
    known = mirrored.rows()
    wanted = expected(history.folder, lambda path: not Path(path).name.startswith("."))
    files = {path for path in map(str, _files(history.folder)) if not Path(path).name.startswith(".")}
    assert set(known) == files
    by_path = {path: desk.get(document_id) for path, document_id in known.items()}
    for path, row in by_path.items():
        newest = row.updating or row
        raw = (history.folder / path).read_bytes()
        assert newest.bytes == len(raw)
        assert row.meta["path"] == min(p for p in files if (history.folder / p).read_bytes() == raw)
        if raw == UNREADABLE:
            assert newest.status == "failed"
        else:
            said = (row.filename, row.title, row.status, desk.text(row.id))
            assert row.updating is None
            assert said == wanted[row.meta["path"]]
    # nothing that came from the folder outlives its file
    with desk.db.read() as session:
        rows = Documents(session, DEFAULT_SCOPE).list(collection_id=desk.collection_id)
    others = [row for row in rows if row.id not in set(known.values())]
    assert all(row.filename == "by hand.txt" and "path" not in row.meta for row in others), others
    # an index that followed says what one says that is built anew
    followed = history.indexes.follow(desk.collection_id)
    fresh = LiveIndexes(desk.db, desk.settings).follow(desk.collection_id)
    assert answers(followed) == answers(fresh)
    # and what is at rest stays so
    again = mirrored.once()
    assert (again.unchanged, again.documents, again.waiting) == (len(files), {}, 0)


def _files(folder: Path) -> list[Path]:
    return [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]


def play(desk: Desk, folder: Path, events: list[Any]) -> None:
    history = History(Mirrored(desk, folder))
    for event in events:
        history.happen(*event)
    check(history)


@given(events=st.lists(_events, min_size=3, max_size=14))
@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@pytest.mark.slow
def test_any_history_comes_to_what_the_files_say(
    database: Database, settings: Settings, tmp_path: Path, events: list[Any]
) -> None:
    number = next(_number)
    play(Desk(database, settings, name=f"c{number}"), tmp_path / f"folder{number}", events)


@pytest.mark.soak
def test_many_long_histories(database: Database, settings: Settings, tmp_path: Path) -> None:
    for seed in range(200):
        rng = random.Random(seed)
        events = [_random_event(rng) for _ in range(rng.randrange(5, 40))]
        try:
            play(Desk(database, settings, name=f"c{seed}"), tmp_path / f"folder{seed}", events)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {events}") from error


def _random_event(rng: random.Random) -> tuple[Any, ...]:
    path, other = rng.choice(PATHS), rng.choice(PATHS)
    return rng.choice(
        [
            ("write", path, rng.choice(CONTENTS)),
            ("write", path, rng.choice(CONTENTS)),
            ("write", path, rng.choice(CONTENTS)),
            ("move", path, other),
            ("swap", path, other),
            ("copy", path, other),
            ("unlink", path),
            ("touch", path),
            ("move folder", "deep", rng.choice(["moved", "deep/inner"])),
            ("run",),
            ("run until", rng.randrange(1, 7)),
            ("read",),
            ("user uploads", rng.choice(CONTENTS)),
            ("user deletes", rng.randrange(6)),
            ("user replaces", rng.randrange(6), rng.choice(CONTENTS)),
            ("follow",),
        ]
    )
