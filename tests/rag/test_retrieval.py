"""Searching a store: both databases, real vectors, changes as they happen."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
from filled_store import Library
from sqlalchemy import update

from rag.embedders import Embedder
from rag.errors import Conflict, NotFound
from rag.filters import parse_filter
from rag.index import snapshot
from rag.index.live import LiveIndexes
from rag.retrieval import Retriever, SearchScope
from rag.settings import Settings
from rag.store.session import Database
from rag.store.tables import DEFAULT_WORKSPACE, Collection, StoreState

RIVERS = [
    "The Amazon is the largest river in the world by the volume of water it carries.",
    "The Nile flows north through eleven countries and ends in the Mediterranean Sea.",
]
ENGINES = [
    "James Watt added a separate condenser to the steam engine in 1765.",
    "Order ZX-4471-b was shipped on 12 March with 1,250 gaskets.",
]


@pytest.fixture
def library(database: Database, embedder: Embedder) -> Library:
    return Library.open(database, embedder)


@pytest.fixture
def indexes(database: Database, settings: Settings) -> LiveIndexes:
    return LiveIndexes(database, settings)


@pytest.fixture
def retriever(database: Database, indexes: LiveIndexes, embedder: Embedder) -> Retriever:
    return Retriever(database, indexes, embedder)


@pytest.fixture
def scope(library: Library) -> SearchScope:
    return SearchScope(DEFAULT_WORKSPACE, library.collection_id)


def test_a_candidate_says_where_it_stands(library: Library, retriever: Retriever, scope: SearchScope) -> None:
    document = library.add("Rivers", RIVERS)
    library.add("Engines", ENGINES)
    best, *others = retriever.search("Which sea does the Nile end in?", scope)
    text = "\n\n".join(RIVERS)
    assert (best.document_id, best.document_title, best.filename) == (document, "Rivers", "Rivers.txt")
    assert best.text == RIVERS[1] == text[best.start : best.end]
    assert (best.page_start, best.page_end, best.headings, best.generation) == (1, 1, ("Section",), 1)
    assert (best.dense_rank, best.lexical_rank) == (1, 1)
    assert 0.7 < best.dense_score <= 1
    assert 0 < best.lexical_score < 1
    assert [c.score for c in (best, *others)] == sorted((c.score for c in (best, *others)), reverse=True)
    assert len(others) == 3


def test_identifiers_and_other_languages_are_found(
    library: Library, retriever: Retriever, scope: SearchScope
) -> None:
    library.add("Rivers", RIVERS)
    library.add("Engines", ENGINES)
    for question, expected in (
        ("ZX-4471-b", ENGINES[1]),
        ("how many gaskets: 1250?", ENGINES[1]),
        ("Welcher Fluss führt am meisten Wasser?", RIVERS[0]),
        ("भाप इंजन का संघनक किसने बनाया?", ENGINES[0]),
    ):
        assert retriever.search(question, scope, top_k=1)[0].text == expected


def test_the_index_follows_uploads_replacements_and_deletions(
    library: Library, retriever: Retriever, scope: SearchScope
) -> None:
    assert retriever.search("Nile", scope) == []
    first = library.add("Rivers", RIVERS)
    assert retriever.search("Nile", scope, top_k=1)[0].document_id == first
    second = library.add("Engines", ENGINES)
    assert retriever.search("Watt's condenser", scope, top_k=1)[0].document_id == second
    library.publish(first, 2, "Rivers", "The Danube passes through Vienna.")
    found = retriever.search("Nile Danube", scope)
    assert [c.text for c in found if c.document_id == first] == ["The Danube passes through Vienna."]
    library.delete(first)
    assert {c.document_id for c in retriever.search("Danube in Vienna", scope)} == {second}


def test_a_deleted_chunk_cannot_appear_even_where_the_index_still_holds_it(
    library: Library,
    retriever: Retriever,
    scope: SearchScope,
    indexes: LiveIndexes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = library.add("Rivers", RIVERS)
    kept = library.add("Engines", ENGINES)
    index = indexes.follow(library.collection_id)
    monkeypatch.setattr(indexes, "follow", lambda *_: index)
    library.delete(gone)
    assert gone in index.documents
    assert {c.document_id for c in retriever.search("Nile", scope, top_k=2)} == {kept}


def test_filters_act_inside_both_legs(library: Library, retriever: Retriever, scope: SearchScope) -> None:
    for year in range(2018, 2030):
        library.add(f"Report {year}", [f"Turnover of the year {year} was high.", "Nothing else."], year=year)
    wanted = SearchScope(
        scope.workspace_id, scope.collection_id, None, parse_filter({"year": {"$gte": 2028}})
    )
    found = retriever.search("turnover 2019", wanted, top_k=10)
    assert sorted({c.document_title for c in found}) == ["Report 2028", "Report 2029"]
    assert len(found) == 4
    one = SearchScope(scope.workspace_id, scope.collection_id, frozenset({found[0].document_id}))
    assert {c.document_id for c in retriever.search("turnover", one)} == {found[0].document_id}
    neither = SearchScope(
        scope.workspace_id,
        scope.collection_id,
        frozenset({found[0].document_id}),
        parse_filter({"year": {"$lt": 2019}}),
    )
    assert retriever.search("turnover", neither) == []


def test_collections_and_workspaces_are_apart(
    library: Library, database: Database, embedder: Embedder, retriever: Retriever
) -> None:
    library.add("Rivers", RIVERS)
    other = Library.open(database, embedder, "other")
    other.add("Engines", ENGINES)
    found = retriever.search("Nile", SearchScope(DEFAULT_WORKSPACE, other.collection_id))
    assert {c.document_title for c in found} == {"Engines"}
    for scope in (
        SearchScope(DEFAULT_WORKSPACE, "col_missing"),
        SearchScope("ws_foreign", library.collection_id),
    ):
        with pytest.raises(NotFound) as caught:
            retriever.search("Nile", scope)
        assert caught.value.code == "collection_not_found"


def test_vectors_of_another_model_are_never_compared(
    library: Library, retriever: Retriever, scope: SearchScope, database: Database
) -> None:
    library.add("Rivers", RIVERS)
    with database.session() as session:
        session.execute(update(Collection).values(embedder="another-model@0123456789abcdef"))
    with pytest.raises(Conflict, match="another-model") as caught:
        retriever.search("Nile", scope)
    assert caught.value.code == "embedder_mismatch"


@pytest.mark.parametrize("question", ["", " ", "\0", "\ud800", "?!", "…" * 5000, "a" * 100_000])
def test_odd_questions_are_answered(
    library: Library, retriever: Retriever, scope: SearchScope, question: str
) -> None:
    library.add("Rivers", RIVERS)
    assert len(retriever.search(question, scope)) == 2


def test_searches_run_while_documents_come_and_go(
    library: Library, retriever: Retriever, scope: SearchScope
) -> None:
    library.add("Rivers", RIVERS)
    done = threading.Event()
    problems: list[BaseException] = []

    def ask() -> None:
        try:
            while not done.is_set():
                texts = [c.text for c in retriever.search("the largest river", scope)]
                assert RIVERS[0] in texts
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(6):
        document = library.add(f"Extra {number}", [*ENGINES, f"Part {number}."])
        library.delete(document)
    done.set()
    for thread in threads:
        thread.join(30)
    assert problems == []


def test_nothing_of_a_deleted_document_stays_in_a_snapshot(
    library: Library, indexes: LiveIndexes, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.index.live.WORTH_SAVING", 1)
    kept = library.add("Engines", ENGINES)
    gone = library.add("Rivers", RIVERS)
    indexes.follow(library.collection_id)
    indexes.save()
    folder = settings.data_dir / "index" / library.collection_id
    assert gone in _bytes(folder)
    library.delete(gone)
    indexes.forget(library.collection_id, gone)
    assert gone not in _bytes(folder)
    indexes.follow(library.collection_id)
    indexes.save()
    assert kept in _bytes(folder)
    assert gone not in _bytes(folder)


def test_the_index_is_rebuilt_from_the_database_alone_and_from_any_snapshot(
    library: Library,
    database: Database,
    embedder: Embedder,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rag.index.live.WORTH_SAVING", 1)
    scope = SearchScope(DEFAULT_WORKSPACE, library.collection_id)
    folder = settings.data_dir / "index" / library.collection_id

    def fresh() -> list[tuple[int, float]]:
        retriever = Retriever(database, LiveIndexes(database, settings), embedder)
        return [(c.chunk_id, round(c.score, 3)) for c in retriever.search("river steam", scope)]

    library.add("Rivers", RIVERS)
    replaced = library.add("Lakes", ["Lake Baikal is deep.", "Lake Victoria is wide."])
    before = fresh()
    assert folder.is_dir()
    assert fresh() == before  # from the snapshot
    (folder / "arrays.npz").write_bytes(b"damaged")
    assert fresh() == before
    library.publish(replaced, 2, "Lakes", "Lake Baikal is the deepest lake.")
    library.add("Engines", ENGINES)
    after = fresh()  # from an old snapshot and what came later
    assert len(after) == 5
    shutil.rmtree(folder)
    assert fresh() == after


def test_a_replaced_database_does_not_meet_the_old_snapshot(
    library: Library, database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.index.live.WORTH_SAVING", 1)
    library.add("Rivers", RIVERS)
    LiveIndexes(database, settings).follow(library.collection_id)
    assert (settings.data_dir / "index" / library.collection_id).is_dir()
    with database.session() as session:
        session.execute(update(StoreState).values(identity="sto_another"))
    loaded: list[object] = []
    monkeypatch.setattr(
        "rag.index.live.snapshot.load", lambda *args, load=snapshot.load: loaded.append(load(*args))
    )
    assert len(LiveIndexes(database, settings).follow(library.collection_id)) == 2
    assert loaded == [None]


def _bytes(folder: Path) -> str:
    return "".join(p.read_bytes().decode("latin-1") for p in folder.rglob("*") if p.is_file())
