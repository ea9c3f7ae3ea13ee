"""Parts of a collection, searched apart and merged, give what one index gives, to the bit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rag.index import vectors
from rag.index.collection import CollectionIndex, IndexedDocument
from rag.index.hits import Hits, merge
from rag.index.question import Question, total
from rag.index.rows import mixed
from rag.index.vectors import VectorIndex

WORDS = ["river", "rivers", "Fluss", "engine", "นที", "1,250", "ZX-4471", "the", "of", "水"]
DIMENSION = 24
_texts = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join), max_size=6)
_history = st.lists(st.tuples(st.sampled_from("abcdefgh"), _texts), min_size=1, max_size=14)


def same(left: Hits, right: Hits) -> None:
    """Assert that two searches found the same, to the bit."""
    for name, mine in vars(left).items():
        its = getattr(right, name)
        if name == "held":
            assert [ids.tolist() for ids in mine] == [ids.tolist() for ids in its]
        elif name in {"coverage", "partial"}:
            assert mine == its
        else:
            assert mine.dtype == its.dtype, name
            assert mine.tobytes() == its.tobytes(), name


def apart(  # noqa: PLR0917
    parts: Sequence[CollectionIndex],
    text: str,
    vector: NDArray[np.float32],
    k: int,
    documents: frozenset[str] | None = None,
    phrases: Sequence[str] = (),
) -> Hits:
    """Search the parts of a collection as one."""
    question = Question.of(text, vector, k, phrases)
    statistics = total(part.statistics(question) for part in parts)
    return merge([part.part(question, statistics, documents) for part in parts], k)


@settings(max_examples=60, deadline=None)
@given(
    _history,
    st.sampled_from([1, 2, 4]),
    st.lists(st.sampled_from([*WORDS, "unknown"]), max_size=6).map(" ".join),
    st.lists(st.sampled_from(["the river", "engine of", "水 the"]), max_size=2),
    st.integers(1, 12),
    st.none() | st.frozensets(st.sampled_from("abcdefghz"), min_size=1),
    st.integers(1, 3),
)
def test_parts_answer_as_one_index_whatever_their_history(  # noqa: PLR0917
    history: list[tuple[str, list[str]]],
    count: int,
    text: str,
    phrases: list[str],
    k: int,
    documents: frozenset[str] | None,
    distinct: int,
) -> None:
    # few distinct vectors, so that whole legs are ties; in each index they lie in other blocks
    rng = np.random.default_rng(distinct)
    drawn = rng.normal(size=(4 * distinct, DIMENSION))
    drawn = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float16)
    one, parts, first = CollectionIndex(), [CollectionIndex() for _ in range(count)], 1
    for generation, (name, texts) in enumerate(history):
        ids = np.arange(first, first + len(texts), dtype=np.int64)
        first += len(texts)
        rows = drawn[ids % len(drawn)] if len(ids) else np.zeros((0, 0), dtype=np.float16)
        for index in (one, parts[ord(name) % count]):
            if texts:
                index.apply([IndexedDocument(name, generation, ids, rows, texts)])
            else:
                index.apply([], [name])
    vector = rng.normal(size=DIMENSION).astype(np.float32)
    vector /= np.linalg.norm(vector)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectors, "SLACK", 1)  # ties go beyond what a scan brings
        patch.setattr(vectors, "SAMPLE", 8)  # and the background is a part of all
        expected = one.search(text, vector, k, documents, phrases=phrases)
        same(apart(parts, text, vector, k, documents, phrases), expected)


def test_parts_of_many_chunks_answer_as_one_index() -> None:
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(6000, 64))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    rows[2000:2400] = rows[7]  # a page that many documents repeat
    texts = [f"{WORDS[i % 7]} {WORDS[i * 7 % 10]} number {i % 50}" for i in range(len(rows))]
    one, parts = CollectionIndex(), [CollectionIndex() for _ in range(4)]
    for first in range(0, len(rows), 20):
        ids = np.arange(first, first + 20, dtype=np.int64)
        document = IndexedDocument(f"d{first}", 1, ids, rows[ids], texts[first : first + 20])
        one.apply([document])
        parts[first // 20 * 7 % 4].apply([document])
    for number, query in enumerate([rows[7], rows[31], *rows[5000:5006]]):
        vector = query.astype(np.float32)
        found = one.search(f"river number {number}", vector, 200, phrases=["engine the"])
        same(apart(parts, f"river number {number}", vector, 200, phrases=["engine the"]), found)
        exact = np.array([row.astype(np.float64) @ vector.astype(np.float64) for row in rows])
        near = found.ids[np.argsort(found.dense_rank)][-200:]
        assert exact[near].min() >= np.sort(exact)[-200] - 1e-6
        assert 700 < len(found.background) < 1300
        assert abs(found.background.mean() - exact.mean()) < 0.03


def test_a_background_is_the_same_whatever_came_before() -> None:
    rows = np.random.default_rng(6).normal(size=(5000, 16)).astype(np.float16)
    ids, query = np.arange(5000, dtype=np.int64), np.ones(16, dtype=np.float32)
    one, other = VectorIndex(), VectorIndex()
    one.add(ids, rows)
    order = np.random.default_rng(7).permutation(5000)
    for some in np.array_split(order, 13):
        other.add(ids[some], rows[some])
    other.add(ids + 5000, rows)
    other.remove(ids + 5000)
    drawn, products = one.background(query, 5000)
    again, others = other.background(query, 5000)
    assert drawn.tolist() == again.tolist() == sorted(drawn)
    assert products.tobytes() == others.tobytes()
    few, _ = one.background(query, 10_000)
    assert set(few.tolist()) < set(drawn.tolist())
    every, _ = one.background(query, vectors.SAMPLE)
    assert every.tolist() == ids.tolist()


def test_numbers_of_chunks_look_drawn_at_random() -> None:
    drawn = mixed(np.arange(100_000, dtype=np.int64)) / 2.0**64
    counts, _ = np.histogram(drawn, 50, (0, 1))
    assert ((counts - 2000) ** 2 / 2000).sum() < 90  # chi-squared with 49 degrees of freedom, p 0.0003
    assert abs(np.corrcoef(drawn[1:], drawn[:-1])[0, 1]) < 0.01
