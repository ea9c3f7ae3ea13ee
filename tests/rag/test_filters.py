"""Filters: what is refused and where, and the same documents from both databases as from plain Python."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from filled_store import Library
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag.embedders import Embedder
from rag.errors import InvalidRequest
from rag.filter_sql import matching_documents
from rag.filters import AllOf, AnyOf, Compare, Not, parse_filter
from rag.index.collection import CollectionIndex, IndexedDocument
from rag.index.lexical import SHARE
from rag.store.repositories import DEFAULT_SCOPE, Documents, Generations
from rag.store.session import Database


def test_the_tree_is_plain() -> None:
    assert parse_filter({"year": 2024}) == Compare("year", "$eq", 2024)
    assert parse_filter({"year": {"$gte": 1, "$lt": 5}, "team": "x"}) == AllOf(
        (Compare("year", "$gte", 1), Compare("year", "$lt", 5), Compare("team", "$eq", "x"))
    )
    assert parse_filter({"$or": [{"a": 1}, {"$not": {"b": {"$in": ["x", None]}}}]}) == AnyOf(
        (Compare("a", "$eq", 1), Not(Compare("b", "$in", ("x", None))))
    )
    assert parse_filter({}) == AllOf(())


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (None, "filters"),
        ([], "filters"),
        ({"$or": []}, "filters.$or"),
        ({"$and": {"a": 1}}, "filters.$and"),
        ({"$or": [{"a": 1}, 3]}, "filters.$or[1]"),
        ({"$or": [{"a": {"$gte": True}}]}, "filters.$or[0].a.$gte"),
        ({"$nor": [{"a": 1}]}, "filters.$nor"),
        ({"a": {"$like": "x"}}, "filters.a.$like"),
        ({"a": {}}, "filters.a"),
        ({"a": [1]}, "filters.a"),
        ({"a": {"$in": 1}}, "filters.a.$in"),
        ({"a": {"$in": [1, {}]}}, "filters.a.$in[1]"),
        ({"a": math.nan}, "filters.a"),
        ({"a": 1e999}, "filters.a"),
        ({"a": 1 << 60}, "filters.a"),
        ({"a": "\0"}, "filters.a"),
        ({"a": "\ud800"}, "filters.a"),
        ({"": 1}, "filters."),
        ({"a..b": 1}, "filters.a..b"),
        ({'a"b': 1}, 'filters.a"b'),
        ({"title": 3}, "filters.title"),
        ({"created_at": {"$gte": "yesterday"}}, "filters.created_at.$gte"),
        ({"created_at": 5}, "filters.created_at"),
        ({"$not": {"$not": {"$not": [1]}}}, "filters.$not.$not.$not"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(value: object, path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_filter(value)
    assert caught.value.code == "invalid_filter"
    assert caught.value.extra["path"] == path
    assert caught.value.detail.startswith(path)


def test_size_and_depth_are_bounded() -> None:
    deep: dict[str, Any] = {"a": 1}
    for _ in range(50):
        deep = {"$not": deep}
    for value in (deep, {"$and": [{"a": 1}] * 5000}, {"a": {"$in": list(range(5000))}}):
        with pytest.raises(InvalidRequest):
            parse_filter(value)


_keys = st.sampled_from(["a", "$and", "$or", "$not", "$eq", "$in", "created_at", "title"]) | st.text()
_json = st.recursive(
    st.none() | st.text() | st.integers() | st.floats(), lambda x: st.dictionaries(_keys, x | st.lists(x))
)


@given(_json)
def test_any_json_is_parsed_or_refused_by_place(value: object) -> None:
    refused = None
    try:
        parse_filter(value)
    except InvalidRequest as error:
        refused = error
    assert refused is None or refused.extra["path"].startswith("filters")


METAS: list[dict[str, Any]] = [
    {"year": 2020, "team": "red", "draft": True},
    {"year": 2021.5, "team": "blue", "draft": False, "owner": {"name": "Ada", "age": 36}},
    {"year": "2022", "team": None},
    {"year": -3, "team": "Éclair", "tags": ["a", "b"], "o'clock %": "50%"},
    {},
    {"year": 2021, "team": "red", "owner": {"name": "Ünal"}, "draft": 1},
    {"year": True, "team": "", "owner": "Ada"},
]
_values = st.sampled_from(
    [2020, 2021, 2021.5, 0, -3, 1, "red", "blue", "2022", "", "Ada", "Z", "Éclair", "50%"]
)
_flags = st.sampled_from([True, False, None])
_fields = st.sampled_from(
    ["year", "team", "draft", "owner.name", "owner.age", "owner", "missing", "o'clock %"]
)
_leaves = st.one_of(
    st.builds(lambda f, v: {f: v}, _fields, _values | _flags),
    st.builds(lambda f, o, v: {f: {o: v}}, _fields, st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), _values),
    st.builds(lambda f, v: {f: {"$ne": v}}, _fields, _values | _flags),
    st.builds(
        lambda f, o, v: {f: {o: v}},
        _fields,
        st.sampled_from(["$in", "$nin"]),
        st.lists(_values | _flags, max_size=3),
    ),
)
_filters = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.builds(lambda x: {"$and": x}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda x: {"$or": x}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda x: {"$not": x}, inner),
    ),
    max_leaves=5,
)


def _lookup(meta: object, field: str) -> object:
    for key in field.split("."):
        if not isinstance(meta, dict) or key not in meta:
            return None
        meta = meta[key]
    return meta


def _kind(value: object) -> str:
    return {bool: "bool", int: "number", float: "number", str: "text", type(None): "null"}.get(
        type(value), "other"
    )


def _holds(tree: object, meta: dict[str, Any]) -> bool:
    """The meaning of a filter, said once more in plain Python."""
    if isinstance(tree, AllOf):
        return all(_holds(part, meta) for part in tree.parts)
    if isinstance(tree, AnyOf):
        return any(_holds(part, meta) for part in tree.parts)
    if isinstance(tree, Not):
        return not _holds(tree.part, meta)
    assert isinstance(tree, Compare)
    held: Any = _lookup(meta, tree.field)
    if tree.operator in {"$in", "$nin"}:
        assert isinstance(tree.value, tuple)
        inside = any(_kind(held) == _kind(value) and held == value for value in tree.value)
        return inside == (tree.operator == "$in")
    wanted: Any = tree.value
    same = _kind(held) == _kind(wanted)
    if tree.operator == "$ne":
        return not (same and held == wanted)
    return (
        same
        and {
            "$eq": lambda: held == wanted,
            "$gt": lambda: held > wanted,
            "$gte": lambda: held >= wanted,
            "$lt": lambda: held < wanted,
            "$lte": lambda: held <= wanted,
        }[tree.operator]()
    )


@pytest.fixture
def documents(database: Database, embedder: Embedder) -> tuple[Library, dict[str, dict[str, Any]]]:
    library = Library.open(database, embedder)
    held: dict[str, dict[str, Any]] = {}
    for number, meta in enumerate(METAS):
        with database.session() as session:
            row = Documents(session, DEFAULT_SCOPE).add(
                library.collection_id,
                title=f"Title {number}",
                filename=f"file-{number}.txt",
                sha256=f"{number:064}",
                size=1,
                meta=meta,
            )
            Documents(session, DEFAULT_SCOPE).set(row.id, media_type="text/plain")
            Generations(session, DEFAULT_SCOPE).publish(row.id, 1)
        held[row.id] = meta
    return library, held


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=150)
@given(value=_filters)
def test_both_databases_agree_with_plain_python(
    documents: tuple[Library, dict[str, dict[str, Any]]], value: dict[str, Any]
) -> None:
    library, held = documents
    tree = parse_filter(value)
    with library.db.read() as session:
        found = matching_documents(session, DEFAULT_SCOPE, library.collection_id, tree)
    assert found == {key for key, meta in held.items() if _holds(tree, meta)}


def test_fields_of_the_document_itself(documents: tuple[Library, dict[str, dict[str, Any]]]) -> None:
    library, held = documents
    ids = sorted(held)

    def ask(value: object) -> list[str]:
        with library.db.read() as session:
            return sorted(
                matching_documents(session, DEFAULT_SCOPE, library.collection_id, parse_filter(value))
            )

    assert ask({"title": "Title 3"}) == [ids[3]]
    assert ask({"filename": {"$in": ["file-0.txt", "file-6.txt"]}}) == [ids[0], ids[6]]
    assert ask({"document_id": {"$ne": ids[0]}}) == ids[1:]
    assert ask({"title": {"$gte": "Title 5"}}) == ids[5:]
    assert ask({"media_type": "text/plain", "created_at": {"$gte": "2020-01-01T00:00:00Z"}}) == ids
    assert ask({"created_at": {"$lt": "2020-01-01"}}) == []
    assert ask({}) == ids
    assert ask({"collection": "test"}) == ask({"collection": {"$in": ["other", "test"]}}) == ids
    assert ask({"collection": {"$ne": "test"}}) == ask({"collection": {"$gt": "test"}}) == []
    moment = {"$gte": "2020-01-01T02:00:00+02:00", "$lt": "2120-01-01"}
    assert ask({"$and": [{"created_at": moment}, {"media_type": {"$nin": ["application/pdf"]}}]}) == ids
    assert ask({"$not": {"$or": [{"media_type": {"$lte": "text/plain"}}, {"title": "Title 1"}]}}) == []


def test_dates_in_metadata_are_ordered_as_text(database: Database, embedder: Embedder) -> None:
    library = Library.open(database, embedder)
    signed = {
        library.add(f"Lease {day}", [f"Signed on {day}."], signed=day): day
        for day in ("2023-12-31", "2024-02-01", "2024-02-29", "2024-03-01")
    }

    def ask(condition: dict[str, str]) -> set[str]:
        with library.db.read() as session:
            found = matching_documents(
                session, DEFAULT_SCOPE, library.collection_id, parse_filter({"signed": condition})
            )
        return {signed[key] for key in found}

    assert ask({"$gte": "2024-02-01", "$lt": "2024-03-01"}) == {"2024-02-01", "2024-02-29"}
    assert ask({"$gt": "2024-02-29"}) == {"2024-03-01"}
    assert ask({"$lte": "2023-12-31"}) == {"2023-12-31"}


def test_a_filter_for_one_chunk_in_a_hundred_gives_the_ranking_of_these_chunks() -> None:
    """The search of 5,000 chunks, of which 50 are let through, against plain sorting of those 50."""
    random = np.random.default_rng(0)
    words = [f"word{number}" for number in range(400)]
    index = CollectionIndex()
    vectors: dict[int, Any] = {}
    members: dict[str, Any] = {}
    for document in range(100):
        ids = np.arange(document * 50, document * 50 + 50, dtype=np.int64)
        drawn = random.normal(size=(50, 16)).astype(np.float16)
        texts = [" ".join(random.choice(words, 30)) for _ in ids]
        index.apply([IndexedDocument(str(document), 1, ids, drawn, texts)])
        vectors |= dict(zip(ids.tolist(), drawn.astype(np.float32), strict=True))
        members[str(document)] = ids
    for wanted in ("7", "42", "99"):
        question, asked = " ".join(random.choice(words, 8)), random.normal(size=16).astype(np.float32)
        inside = members[wanted]
        hits = index.search(question, asked, 10, frozenset({wanted}))
        dense = np.array([vectors[int(key)] @ asked for key in inside])
        # what is rare is so in the whole collection: a filter does not change what words weigh
        shares = index.lexical.score(question).of(inside)[SHARE]
        for ranks, scores in ((hits.dense_rank, dense), (hits.lexical_rank, shares)):
            best = sorted(zip(-scores, inside, strict=True))[:10]
            found = {int(rank): int(key) for rank, key in zip(ranks, hits.ids, strict=True) if rank}
            expected = [int(key) for score, key in best if score < 0 or scores is dense]
            assert [found[rank] for rank in sorted(found)] == expected
        whole = index.search(question, asked, 50, frozenset({wanted}))
        assert set(whole.ids.tolist()) == set(inside.tolist())
        everything = index.search(question, asked, 5000)
        place = {int(key): at for at, key in enumerate(everything.ids)}
        rows = [place[int(key)] for key in whole.ids]
        assert np.allclose(whole.dense, everything.dense[rows], atol=1e-5)
        assert np.allclose(whole.lexical, everything.lexical[rows])
