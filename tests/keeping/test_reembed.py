"""Another embedder: built beside, exchanged at once, never mixed; stopped, killed, given up, overtaken."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ingesting import Desk, WordEmbedder, at_once
from sqlalchemy import select, text

from ingest import jobs
from ingest.deletion import delete_document
from ingest.errors import Stopped
from ingest.keeping.gc import collect
from ingest.keeping.reembed import cancel, progress, reembed
from ingest.keeping.verify import verify
from ingest.pipeline import Pipeline
from ingest.updates import replace_file
from ingest.uploads import NewDocument
from ingest.worker import Worker
from rag.errors import Conflict
from rag.index.live import LiveIndexes
from rag.retrieval import Candidate, Retriever, SearchScope
from rag.store.repositories import DEFAULT_SCOPE, Collections
from rag.store.tables import Chunk, Document


class Other(WordEmbedder):
    """Another model, with vectors of another length; says what it was given."""

    name = "letters"
    fingerprint = "letters@2"
    dimension = 12

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed_passages(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        return super().embed_passages(texts)

    def embed_queries(self, texts: Sequence[str]) -> np.ndarray:
        return super().embed_passages(texts)

    def embed_query(self, text: str) -> np.ndarray:
        return super().embed_passages([text])[0]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.embedding.BATCH", 4)


def read(desk: Desk, embedder: Any = None) -> None:
    Worker(desk.db, desk.settings, embedder or desk.embedder).run_until_idle()


def passage(number: int) -> str:
    words = [hashlib.sha256(f"{number}.{n}".encode()).hexdigest() for n in range(12)]
    return " ".join(
        f"Entry {number} of the log says {each[:6]} {each[6:12]} {each[12:20]}." for each in words
    )


@pytest.fixture
def filled(desk: Desk) -> Desk:
    """Three documents of several chunks each."""
    desk.settings = desk.settings.model_copy(update={"chunk_tokens": 40})
    for number in range(3):
        desk.upload("\n\n".join(passage(10 * number + n) for n in range(5)).encode(), f"log{number}.txt")
    read(desk)
    assert {row.status for row in rows(desk)} == {"ready"}
    return desk


def rows(desk: Desk) -> list[Any]:
    with desk.db.read() as session:
        return list(session.scalars(select(Document).order_by(Document.id)))


def vectors(desk: Desk) -> dict[int, np.ndarray]:
    with desk.db.read() as session:
        found = session.execute(select(Chunk.id, Chunk.vector).order_by(Chunk.id)).all()
    return {key: np.frombuffer(vector, dtype=np.float16) for key, vector in found}


def embedder_of(desk: Desk) -> str:
    with desk.db.read() as session:
        return Collections(session, DEFAULT_SCOPE).get(desk.collection_id).embedder


def state(desk: Desk) -> Any:
    with desk.db.read() as session:
        return progress(session, DEFAULT_SCOPE, desk.collection_id)


def exchange(desk: Desk, embedder: Any, **more: Any) -> int:
    return reembed(desk.db, desk.settings, DEFAULT_SCOPE, desk.collection_id, embedder, **more)


def search(desk: Desk, embedder: Any, indexes: LiveIndexes | None = None) -> list[Candidate]:
    live = indexes or LiveIndexes(desk.db, desk.settings)
    retriever = Retriever(desk.db, live, embedder)
    return retriever.search("entry of the log", SearchScope("ws_default", desk.collection_id), 200)


def expected(desk: Desk, embedder: Any) -> dict[int, np.ndarray]:
    """The vectors that a collection gets whose documents are read with the embedder from the beginning."""
    other = Desk(desk.db, desk.settings, embedder, name="scratch")
    for row in rows(desk):
        original = desk.settings.data_dir / "blobs" / row.id
        other.upload(original.read_bytes(), row.filename)
    read(desk, embedder)
    with desk.db.read() as session:
        found = session.execute(
            select(Document.filename, Chunk.ordinal, Chunk.vector)
            .join(Document, Document.id == Chunk.document_id)
            .where(Document.collection_id == other.collection_id)
        ).all()
        mine = session.execute(
            select(Chunk.id, Document.filename, Chunk.ordinal)
            .join(Document, Document.id == Chunk.document_id)
            .where(Document.collection_id == desk.collection_id)
        ).all()
    by_place = {(name, ordinal): np.frombuffer(raw, dtype=np.float16) for name, ordinal, raw in found}
    return {key: by_place[name, ordinal] for key, name, ordinal in mine}


def test_vectors_are_those_of_a_collection_read_with_the_new_embedder(filled: Desk) -> None:
    seen: list[tuple[int, int]] = []
    embedder = Other()
    made = exchange(filled, embedder, on_progress=lambda done, total: seen.append((done, total)))
    now = vectors(filled)
    assert made == len(now) == len(embedder.asked) > 12
    assert embedder_of(filled) == "letters@2"
    assert seen[0] == (0, made)
    assert seen[-1] == (made, made)
    assert state(filled) is None
    assert filled.rows("next_vectors") == 0
    assert verify(filled.db, filled.settings).problems == []
    for key, vector in expected(filled, Other()).items():
        np.testing.assert_array_equal(now[key], vector)
    assert exchange(filled, Other()) == 0  # it has it already


def test_searches_go_on_with_the_old_one_until_the_exchange(filled: Desk) -> None:
    indexes = LiveIndexes(filled.db, filled.settings)
    before, stored = search(filled, filled.embedder, indexes), vectors(filled)
    looked = 0

    def in_the_middle(done: int, total: int) -> None:
        nonlocal looked
        if done == total:
            return
        looked += 1
        assert search(filled, filled.embedder, indexes) == before
        assert embedder_of(filled) == "words@1"
        with pytest.raises(Conflict) as refused:
            search(filled, Other())
        assert refused.value.code == "embedder_mismatch"

    exchange(filled, Other(), on_progress=in_the_middle)
    assert looked > 3
    with pytest.raises(Conflict) as refused:
        search(filled, filled.embedder, indexes)
    assert refused.value.code == "embedder_mismatch"
    after = search(filled, Other(), indexes)
    assert {each.chunk_id for each in after} == {each.chunk_id for each in before}
    assert {len(vector) for vector in vectors(filled).values()} == {12}
    assert {len(vector) for vector in stored.values()} == {8}


def test_searches_beside_the_exchange_never_mix(filled: Desk) -> None:
    indexes = LiveIndexes(filled.db, filled.settings)
    old = vectors(filled)
    answers: list[tuple[str, list[Candidate]]] = []
    refusals: set[str] = set()
    done = threading.Event()

    def searching(embedder: Any) -> Callable[[], None]:
        def run() -> None:
            while not done.is_set():
                try:
                    answers.append((embedder.fingerprint, search(filled, embedder, indexes)))
                except Conflict as error:
                    refusals.add(error.code)

        return run

    def work() -> None:
        try:
            exchange(filled, Other())
            for _ in range(3):
                answers.append(("letters@2", search(filled, Other(), indexes)))
        finally:
            done.set()

    failures = at_once(work, searching(filled.embedder), searching(Other()))
    assert failures == [None, None, None]
    new = vectors(filled)
    assert refusals == {"embedder_mismatch"}
    assert {fingerprint for fingerprint, _ in answers} == {"words@1", "letters@2"}
    for fingerprint, found in answers:
        embedder, held = (filled.embedder, old) if fingerprint == "words@1" else (Other(), new)
        question = embedder.embed_query("entry of the log")
        for each in found:
            if each.dense_score is not None:
                score = float(held[each.chunk_id].astype(np.float32) @ question)
                assert each.dense_score == pytest.approx(score, abs=2e-3)


def test_what_is_done_before_a_stop_is_not_done_again(filled: Desk) -> None:
    embedder = Other()
    with pytest.raises(Stopped):
        exchange(filled, embedder, stopped=lambda: len(embedder.asked) >= 8)
    begun = state(filled)
    assert (begun.embedder, begun.done, begun.total) == ("letters@2", 8, len(vectors(filled)))
    assert embedder_of(filled) == "words@1"
    assert len(search(filled, filled.embedder)) > 0
    rest = Other()
    assert exchange(filled, rest) == len(rest.asked) == begun.total - 8
    assert set(rest.asked).isdisjoint(embedder.asked)
    assert embedder_of(filled) == "letters@2"


KILLED = """
import os, sys
from pathlib import Path
sys.path[:0] = sys.argv[4:6]
from test_reembed import Other
from ingest import embedding
from ingest.keeping import reembed as room
from rag.settings import Settings
from rag.store.repositories import DEFAULT_SCOPE
from rag.store.session import Database
embedding.BATCH = 4
def kill(done, total):
    if done >= 8:
        os.kill(os.getpid(), 9)
settings = Settings(_env_file=None, data_dir=Path(sys.argv[2]))
room.reembed(Database(sys.argv[1]), settings, DEFAULT_SCOPE, sys.argv[3], Other(), on_progress=kill)
"""


def test_a_process_that_is_killed_is_gone_on_from(filled: Desk, database_url: str) -> None:
    here = Path(__file__).parent
    arguments = [database_url, str(filled.settings.data_dir), filled.collection_id, str(here),
                 str(here.parent / "ingest")]  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments], cwd=here.parents[1], check=False, timeout=240
    )
    assert ended.returncode == -9
    assert (state(filled).done, embedder_of(filled)) == (8, "words@1")
    rest = Other()
    assert exchange(filled, rest) == len(vectors(filled)) - 8
    assert verify(filled.db, filled.settings).problems == []


def test_giving_up_leaves_everything_as_it_was(filled: Desk) -> None:
    before = vectors(filled)
    embedder = Other()
    with pytest.raises(Stopped):
        exchange(filled, embedder, stopped=lambda: len(embedder.asked) >= 8)
    assert cancel(filled.db, DEFAULT_SCOPE, filled.collection_id) == 8
    assert state(filled) is None
    assert (filled.rows("next_vectors"), embedder_of(filled)) == (0, "words@1")
    assert {key: vector.tolist() for key, vector in vectors(filled).items()} == {
        key: vector.tolist() for key, vector in before.items()
    }
    assert cancel(filled.db, DEFAULT_SCOPE, filled.collection_id) == 0


def test_one_that_is_given_up_elsewhere_meanwhile_ends(filled: Desk) -> None:
    def give_up(done: int, total: int) -> None:
        if 0 < done < total:
            cancel(filled.db, DEFAULT_SCOPE, filled.collection_id)

    exchange(filled, Other(), on_progress=give_up)
    assert (filled.rows("next_vectors"), embedder_of(filled)) == (0, "words@1")


def test_a_third_embedder_takes_the_place_of_what_was_begun(filled: Desk) -> None:
    class Third(Other):
        fingerprint = "third@1"
        dimension = 6

    embedder = Other()
    with pytest.raises(Stopped):
        exchange(filled, embedder, stopped=lambda: len(embedder.asked) >= 8)
    assert exchange(filled, Third()) == len(vectors(filled))
    assert {len(vector) for vector in vectors(filled).values()} == {6}


def test_documents_that_come_change_and_go_meanwhile(filled: Desk) -> None:
    first, second, third = (row.id for row in rows(filled))
    happened = False

    def meanwhile(done: int, total: int) -> None:
        nonlocal happened
        if happened or not 0 < done < total:
            return
        happened = True
        filled.upload("\n\n".join(passage(70 + n) for n in range(5)).encode(), "came.txt")
        changed = "\n\n".join(passage(90 + n) for n in range(5)).encode()
        with filled.sink(changed) as sink:
            new = NewDocument(sink, "changed.txt")
            replace_file(filled.db, filled.settings, DEFAULT_SCOPE, second, new)
        read(filled)
        delete_document(filled.db, filled.settings, DEFAULT_SCOPE, third)

    exchange(filled, Other(), on_progress=meanwhile)
    assert happened
    assert embedder_of(filled) == "letters@2"
    names = {row.filename: row.generation for row in rows(filled)}
    assert names == {"log0.txt": 1, "changed.txt": 2, "came.txt": 1}
    assert {len(vector) for vector in vectors(filled).values()} == {12}
    assert {each.document_id for each in search(filled, Other())} == {row.id for row in rows(filled)}
    assert first in {row.id for row in rows(filled)}
    assert verify(filled.db, filled.settings).problems == []


@pytest.mark.parametrize("step", ["parsed", "written", "embedded", "ready_to_publish"])
def test_a_document_that_is_being_read_is_read_again_with_the_new_one(filled: Desk, step: str) -> None:
    document_id = filled.upload(
        "\n\n".join(passage(70 + n) for n in range(5)).encode(), "late.txt"
    ).document.id
    lease = jobs.lease(filled.db, "wrk_old")
    assert lease is not None
    exchanged = False

    def reached(now: str) -> None:
        nonlocal exchanged
        if now == step and not exchanged:
            exchanged = True
            exchange(filled, Other())

    assert Pipeline(filled.db, filled.settings, filled.embedder, reached).run(lease) == "failed"
    assert (filled.get(document_id).error_code, exchanged) == ("embedder_mismatch", True)
    read(filled)  # by the old one once more: it is not for it
    assert filled.get(document_id).error_code == "embedder_mismatch"
    read(filled, Other())  # by whoever starts with the new one
    assert filled.get(document_id).status == "ready"
    assert {len(vector) for vector in vectors(filled).values()} == {12}
    assert verify(filled.db, filled.settings).problems == []


def test_two_at_once_come_to_one(filled: Desk) -> None:
    one, other = Other(), Other()
    made = at_once(lambda: exchange(filled, one), lambda: exchange(filled, other))
    assert all(isinstance(each, int) for each in made), made
    assert embedder_of(filled) == "letters@2"
    assert filled.rows("next_vectors") == 0
    assert verify(filled.db, filled.settings).problems == []


def test_an_index_stored_before_is_not_taken_for_the_new_one(
    filled: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.index.live.WORTH_SAVING", 1)
    LiveIndexes(filled.db, filled.settings).follow(filled.collection_id)
    assert list((filled.settings.data_dir / "index").iterdir())
    exchange(filled, Other())
    assert not list((filled.settings.data_dir / "index").iterdir())
    assert len(search(filled, Other())) > 0


def test_what_was_left_of_a_given_up_one_is_garbage(filled: Desk) -> None:
    embedder = Other()
    with pytest.raises(Stopped):
        exchange(filled, embedder, stopped=lambda: len(embedder.asked) >= 8)
    assert collect(filled.db, filled.settings, dry_run=True) == []
    with filled.db.session() as session:
        session.execute(text("UPDATE collections SET next_embedder = NULL"))
    [found] = collect(filled.db, filled.settings, dry_run=False)
    assert (found.kind, found.name, found.count) == ("rows", "next_vectors", 8)
    assert filled.rows("next_vectors") == 0
