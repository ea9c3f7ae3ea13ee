"""The index of a collection: any history leaves what the surviving documents leave, indexed from scratch."""

from __future__ import annotations

import hashlib
import json
import tempfile
import threading
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rag.index import blocks, lexical, scoring, snapshot, vectors
from rag.index.analysis import NAMES_END, codes
from rag.index.blocks import Block
from rag.index.collection import CollectionIndex, IndexedDocument, ReadWriteLock
from rag.index.lexical import NAMES, PAIRS, RARE, SHARE, LexicalIndex
from rag.index.vectors import VectorIndex

WORDS = ["river", "rivers", "Fluss", "engine", "नदी", "แม่น้ำ", "1,250", "ZX-4471", "the", "of", "水", "نهر"]
ORIGIN = snapshot.Origin("store", "col_1", "model@1")
_texts = st.lists(
    st.lists(st.sampled_from([*WORDS, NAMES_END]), min_size=1, max_size=8).map(" ".join), max_size=5
)


def _vector(number: int) -> np.ndarray:
    vector = np.random.default_rng(number).normal(size=8)
    return (vector / np.linalg.norm(vector)).astype(np.float16)


def _document(name: str, generation: int, first_id: int, texts: list[str]) -> IndexedDocument:
    ids = np.arange(first_id, first_id + len(texts), dtype=np.int64)
    vectors = np.stack([_vector(int(i)) for i in ids]) if texts else np.zeros((0, 0), dtype=np.float16)
    return IndexedDocument(name, generation, ids, vectors, texts)


def _answers(index: CollectionIndex) -> list[object]:
    out: list[object] = []
    for number, question in enumerate([*WORDS, "river engine 1250", "nothing known"]):
        hits = index.search(question, _vector(-1 - number & 0xFFFF).astype(np.float32), 5)
        order = np.argsort(hits.ids)
        out.append(
            (
                hits.ids[order].tolist(),
                np.round(hits.dense[order], 4).tolist(),
                np.round(np.stack([hits.lexical, hits.rare, hits.pairs, hits.names])[:, order], 4).tolist(),
                hits.lexical_rank[order].tolist(),
                round(hits.coverage, 5),
            )
        )
    return out


class History(RuleBasedStateMachine):
    """Documents are added, replaced, removed and reloaded; the index must answer as a fresh one."""

    @initialize()
    def start(self) -> None:
        self.index = CollectionIndex()
        self.live: dict[str, IndexedDocument] = {}
        self.next_id = 1

    @rule(name=st.sampled_from("abcdef"), texts=_texts)
    def publish(self, name: str, texts: list[str]) -> None:
        generation = self.live[name].generation + 1 if name in self.live else 1
        document = _document(name, generation, self.next_id, texts)
        self.next_id += len(texts)
        self.index.apply([document])
        self.live[name] = document

    @rule(names=st.sets(st.sampled_from("abcdef"), max_size=3))
    def remove(self, names: set[str]) -> None:
        self.index.apply([], names)
        for name in names:
            self.live.pop(name, None)

    @rule()
    def reload(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            snapshot.save(Path(folder) / "col_1", self.index, ORIGIN, 7)
            loaded = snapshot.load(Path(folder) / "col_1", ORIGIN)
        assert loaded is not None
        self.index = loaded

    @invariant()
    def answers_as_a_fresh_index(self) -> None:
        fresh = CollectionIndex()
        fresh.apply(list(self.live.values()))
        assert self.index.generations() == {k: d.generation for k, d in self.live.items()}
        assert _answers(self.index) == _answers(fresh)


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)


def test_segments_merge_and_answer_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lexical, "MERGE_AT", 3)
    many, one = LexicalIndex(), LexicalIndex()
    texts = [f"{WORDS[i % len(WORDS)]} number {i} {WORDS[i * 7 % len(WORDS)]}" for i in range(50)]
    for i, text in enumerate(texts):
        many.add([i], [text])
    one.add(range(50), texts)
    assert len(many.segments) < 4
    for question in ("river number", "1250", "แม่น้ำ", "number 17 ZX-4471"):
        left, right = many.score(question).best(50), one.score(question).best(50)
        assert left.ids.tolist() == right.ids.tolist()
        assert left.sums.tolist() == right.sums.tolist()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join), min_size=1, max_size=40
    ),
    st.lists(st.sampled_from([*WORDS, "unknown"]), min_size=1, max_size=6).map(" ".join),
    st.integers(1, 12),
    st.sets(st.integers(0, 39)),
)
def test_the_best_are_those_of_scoring_everything(
    texts: list[str], question: str, k: int, some: set[int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # a look after each term: whatever can be passed over is
        patch.setattr(
            scoring, "_doubling", lambda postings, _: (slice(i, i + 1) for i in range(len(postings)))
        )
        patch.setattr(scoring, "MANY", 2)  # and what the k-th best is, is guessed from every second
        index = LexicalIndex()
        for first in range(0, len(texts), 7):
            index.add(range(first, min(first + 7, len(texts))), texts[first : first + 7])
        scored = index.score(question)
        every = np.arange(len(texts))
        shares = scored.of(every)[SHARE]
        for allowed in (None, np.array(sorted(some), dtype=np.int64)):
            within = shares > 0 if allowed is None else (shares > 0) & np.isin(every, allowed)
            expected = [int(i) for i in np.lexsort((every, -shares)) if within[i]][:k]
            found = scored.best(k, allowed)
            assert found.ids.tolist() == expected
            assert found.shares.tolist() == shares[expected].tolist()


def test_bm25_equals_the_formula_worked_by_hand() -> None:
    index = LexicalIndex()
    index.add([1, 2, 3], ["水 水 木", "火 木 土", "木"])
    # single characters apart: no pairs, no 4-grams, so each character is one term
    scored = index.score("水")
    found = scored.best(10)
    tf, length, average = 2, 3, 7 / 3
    expected = tf / (tf + 1.2 * (1 - 0.75 + 0.75 * length / average))
    assert found.ids.tolist() == [1]
    assert found.shares[0] == pytest.approx(expected, rel=1e-5)
    assert index.score("金").best(10).ids.tolist() == []
    half = index.score("水 金")
    idf = {n: np.log(1 + (3 - n + 0.5) / (n + 0.5)) for n in (0, 1)}
    assert half.coverage == pytest.approx(idf[1] / (idf[0] + idf[1]))
    shares = half.of(np.array([1, 2, 99]))
    assert shares[SHARE] == pytest.approx([expected * half.coverage, 0, 0], rel=1e-5)
    rare = idf[1] ** 2 / (idf[0] ** 2 + idf[1] ** 2)
    assert shares[RARE] == pytest.approx([rare, 0, 0], rel=1e-5)


def test_order_and_names_are_told_apart_from_mere_words() -> None:
    index = LexicalIndex()
    index.add(
        range(4),
        [
            f"Annual report{NAMES_END}The gross margin was high.",
            f"Gross list{NAMES_END}The margin was gross.",
            "Nothing of it.",
            "แม่น้ำสายนี้ยาวที่สุด",
        ],
    )
    shares = index.score("gross margin").of(np.arange(4))
    assert (shares[PAIRS] > 0).tolist() == [True, False, False, False]
    assert (shares[NAMES] > 0).tolist() == [False, True, False, False]
    assert shares[RARE].tolist() == pytest.approx([1, 1, 0, 0])
    assert index.score("margin gross").of(np.arange(4))[PAIRS].tolist() == [0, 0, 0, 0]
    # a pair does not reach from the names into the text
    assert index.score("report the").of(np.arange(4))[PAIRS].tolist() == [0, 0, 0, 0]
    assert (index.score("แม่น้ำสาย").of(np.arange(4))[PAIRS] > 0).tolist() == [False, False, False, True]


@pytest.mark.parametrize(
    ("question", "holder", "lookalikes"),
    [
        (
            "SP 800-63B",
            "As SP 800\u201163B says, secrets are long.",
            ["SP 800-63A, part B, no. 63", "800 63 B SP"],
        ),
        ("part ZX-4471-b", "Order ZX-4471-b was shipped.", ["Order ZX-4471-c, lot b", "b: ZX 4471"]),
        (
            "write to ada.l@example.org",
            "Mail: ada.l@example.org!",
            ["ada, l at example, org", "ada@example.org l"],
        ),
        (
            "what does max_context_tokens do",
            "Set `max_context_tokens` to 5.",
            ["max context, tokens", "tokens: max"],
        ),
        ("version 2.3.59", "IRM 2.3.59 is the manual.", ["IRM 2.3.58, page 59", "2.3 and 59"]),
        ("1250 gaskets", "There were 1,250 gaskets.", ["1.25 of 12,500 gaskets", "125 gaskets and 0"]),
    ],
)
def test_identifiers_and_numbers_match_exactly(question: str, holder: str, lookalikes: list[str]) -> None:
    index = LexicalIndex()
    index.add(range(1 + len(lookalikes)), [*lookalikes, holder])
    shares = index.score(question).of(np.arange(1 + len(lookalikes)))
    assert np.argmax(shares[SHARE]) == len(lookalikes)
    assert shares[RARE][-1] > 1.3 * shares[RARE][:-1].max()


def test_an_identifier_that_occurs_nowhere_leaves_the_rest_as_it_is() -> None:
    index = LexicalIndex()
    index.add([1, 2], ["The fiscal year 2022 began.", "Another year."])
    assert codes("fy2022 and 800-63b, 1,250 or 2.3.59") == ["fy2022", "800-63b"]
    with_code, without = index.score("FY2022").of(np.array([1])), index.score("FY 2022").of(np.array([1]))
    assert with_code[RARE] == pytest.approx(without[RARE])
    assert with_code[SHARE] == pytest.approx(without[SHARE])


@given(st.text(max_size=60), st.lists(st.text(max_size=40), max_size=6))
def test_any_text_can_be_indexed_and_asked(question: str, texts: list[str]) -> None:
    index = LexicalIndex()
    index.add(range(len(texts)), texts)
    scored = index.score(question)
    found = scored.best(10)
    assert len(found.ids) == len(set(found.ids.tolist())) <= len(texts)
    assert ((found.shares > 0) & (found.shares < 1)).all()
    assert 0 <= scored.coverage <= 1.00001


def test_allowed_chunks_are_searched_as_if_alone() -> None:
    index = CollectionIndex()
    documents = [_document(str(i), 1, 10 * i + 1, [f"river number {i}", "engine"]) for i in range(200)]
    index.apply(documents)
    hits = index.search("river number 5", _vector(3).astype(np.float32), 5, frozenset({"150", "151", "none"}))
    assert set(hits.ids.tolist()) == {1501, 1502, 1511, 1512}
    assert (hits.dense_rank > 0).all()
    assert not len(index.search("river", _vector(3).astype(np.float32), 5, frozenset({"none"})).ids)


def test_vectors_of_another_dimension_are_refused() -> None:
    index = VectorIndex()
    index.add(np.array([1], dtype=np.int64), np.ones((1, 8), dtype=np.float32))
    with pytest.raises(ValueError, match="4 numbers in an index of 8"):
        index.add(np.array([2], dtype=np.int64), np.ones((1, 4), dtype=np.float32))


def test_a_snapshot_that_cannot_be_trusted_is_not_read(tmp_path: Path) -> None:
    index = CollectionIndex()
    index.apply([_document("a", 3, 1, ["river", "engine"])])
    folder = tmp_path / "col_1"
    assert snapshot.load(folder, ORIGIN) is None
    snapshot.save(folder, index, ORIGIN, 5)
    good = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert snapshot.load(folder, ORIGIN) is not None
    for other in (
        snapshot.Origin("another", "col_1", "model@1"),
        snapshot.Origin("store", "col_2", "model@1"),
        snapshot.Origin("store", "col_1", "model@2"),
    ):
        assert snapshot.load(folder, other) is None
    for name, content in good.items():
        for damage in (b"", content[: len(content) // 2], bytes([content[0] ^ 1]) + content[1:], b"{}"):
            (folder / name).write_bytes(damage)
            assert snapshot.load(folder, ORIGIN) is None
        (folder / name).unlink()
        assert snapshot.load(folder, ORIGIN) is None
        (folder / name).write_bytes(content)
    assert snapshot.load(folder, ORIGIN) is not None
    manifest = snapshot.read_manifest(folder)
    for format_of_another_analysis in (1, snapshot.FORMAT + 1):
        text = json.dumps(manifest | {"format": format_of_another_analysis}).encode()
        seal = json.dumps({"digest": hashlib.sha256(text).hexdigest()}).encode()
        (folder / "manifest.json").write_bytes(seal + b"\n" + text)
        assert snapshot.read_manifest(folder)["format"] == format_of_another_analysis
        assert snapshot.load(folder, ORIGIN) is None
    assert [path.name for path in tmp_path.iterdir()] == ["col_1"]


def test_a_writer_waits_for_readers_and_goes_before_new_ones() -> None:
    lock, order = ReadWriteLock(), list[str]()
    reading, release = threading.Event(), threading.Event()

    def first() -> None:
        with lock.read():
            reading.set()
            release.wait(10)
            order.append("reader")

    def writer() -> None:
        with lock.write():
            order.append("writer")

    def second() -> None:
        with lock.read():
            order.append("later reader")

    threads = [threading.Thread(target=first)]
    threads[0].start()
    reading.wait(10)
    threads.append(threading.Thread(target=writer))
    threads[1].start()
    while not lock._waiting:
        pass
    threads.append(threading.Thread(target=second))
    threads[2].start()
    release.set()
    for thread in threads:
        thread.join(10)
    assert order == ["reader", "writer", "later reader"]


DIMENSION = 16


def _clustered(seed: int, count: int, dimension: int = DIMENSION) -> np.ndarray:
    """Unit vectors around a few dozen centres, as those of texts lie around topics."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(size=(40, dimension))
    found = centres[rng.integers(0, 40, count)] + 0.6 * rng.normal(size=(count, dimension))
    unit: np.ndarray = found / np.linalg.norm(found, axis=1, keepdims=True)
    return unit.astype(np.float16)


class VectorHistory(RuleBasedStateMachine):
    """Vectors come, go and are coded and merged; searches must find what a scan of the rest finds."""

    @initialize()
    def start(self) -> None:
        self.patch = pytest.MonkeyPatch()
        for name, value in (("CODED_FROM", 64), ("MERGE_AT", 3), ("SMALLEST", 8), ("LARGEST", 256)):
            self.patch.setattr(vectors, name, value)
        self.index = VectorIndex("pq")
        self.live: dict[int, np.ndarray] = {}

    def teardown(self) -> None:
        self.patch.undo()

    @rule(count=st.sampled_from([1, 5, 30, 90]))
    def add(self, count: int) -> None:
        first = max(self.live, default=0) + 1
        rows = _clustered(first, count)
        self.index.add(np.arange(first, first + count), rows)
        self.live |= dict(zip(range(first, first + count), rows, strict=True))

    @rule(share=st.sampled_from([0.02, 0.3, 1.0]), seed=st.integers(0, 9))
    def remove(self, share: float, seed: int) -> None:
        rng = np.random.default_rng(seed)
        gone = [key for key in self.live if rng.random() < share]
        self.index.remove(np.array([*gone, 10**9], dtype=np.int64))
        for key in gone:
            del self.live[key]

    @rule()
    def reload(self) -> None:
        index = CollectionIndex(kind="pq")
        index.vectors = self.index
        with tempfile.TemporaryDirectory() as folder:
            snapshot.save(Path(folder) / "col_1", index, ORIGIN, 7)
            loaded = snapshot.load(Path(folder) / "col_1", ORIGIN, "pq")
        assert loaded is not None
        self.index = loaded.vectors

    @invariant()
    def finds_what_a_scan_finds(self) -> None:
        keys = np.array(sorted(self.live), dtype=np.int64)
        assert sorted(self.index.ids().tolist()) == keys.tolist()
        if not len(keys):
            return
        # fewer vectors than the codes may choose: whichever way a search goes, it must lose none
        assert len(keys) <= vectors.WIDTH
        rows = np.stack([self.live[int(key)] for key in keys]).astype(np.float32)
        allowed = keys[::3]
        for query in _clustered(99, 3).astype(np.float32):
            for among in (None, allowed):
                places = np.arange(len(keys)) if among is None else np.arange(len(keys))[::3]
                scores = rows[places] @ query
                expected = places[np.lexsort((keys[places], -scores))][:10]
                ids, found = self.index.search(query, 10, among)
                assert np.allclose(found, rows[expected] @ query, atol=1e-5)
                assert np.allclose(rows[np.searchsorted(keys, ids)] @ query, found, atol=1e-5)
                assert len(set(ids.tolist())) == len(expected)
            assert np.allclose(self.index.scores(query, keys), rows @ query, atol=1e-5)


TestVectorHistory = VectorHistory.TestCase
TestVectorHistory.settings = settings(max_examples=12, stateful_step_count=10, deadline=None)


def test_codes_find_nearly_all_of_the_nearest_and_filters_all_of_them() -> None:
    rows = _clustered(1, 12_000, 64)
    coded, flat = VectorIndex("pq"), VectorIndex("flat")
    # no block is large enough to be coded by itself
    for first in range(0, len(rows), 3000):
        ids = np.arange(first, first + 3000)
        coded.add(ids, rows[first : first + 3000])
        flat.add(ids, rows[first : first + 3000])
    assert (coded.in_use, flat.in_use) == ("pq", "flat")
    assert coded.recall(10) >= 0.97
    assert flat.recall(10) == 1.0
    allowed = np.arange(0, len(rows), 2)
    for query in _clustered(2, 20, 64).astype(np.float32):
        assert coded.search(query, 10, allowed)[0].tolist() == flat.search(query, 10, allowed)[0].tolist()
        assert coded.exact(query, 10).tolist() == flat.search(query, 10)[0].tolist()


def test_what_the_codes_choose_depends_on_no_block() -> None:
    rows, query = _clustered(5, 24_000, 64), _clustered(6, 1, 64)[0].astype(np.float32)
    rows = rows[np.argsort(-(rows.astype(np.float32) @ query))]  # one block has all of the best, and more
    ids = np.arange(len(rows))
    whole = VectorIndex("pq")
    whole.add(ids, rows)
    book = whole.codebook
    assert book is not None
    parts = [slice(first, first + 6000) for first in range(0, len(rows), 6000)]
    parted = VectorIndex("pq", [Block.of(ids[part], rows[part]).coded(book) for part in parts])
    assert [len(block) for block in parted.blocks] == [6000] * 4
    for asked in (query, *_clustered(8, 5, 64).astype(np.float32)):
        for k in (10, 200):
            one, several = whole.search(asked, k), parted.search(asked, k)
            assert one[0].tolist() == several[0].tolist()
            assert one[1].tolist() == several[1].tolist()


@pytest.mark.parametrize("kind", ["flat", "pq"])
def test_the_kernel_finds_what_faiss_finds(
    kind: Literal["flat", "pq"], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = VectorIndex(kind)
    index.add(np.arange(9000), _clustered(9, 9000, 64))
    index.add(np.arange(9000, 9700), _clustered(10, 700, 64))
    asked = _clustered(11, 5, 64).astype(np.float32)
    among = (None, np.arange(100, 9700, 2), np.arange(50, 9700, 300))  # all, by a bitmap, picked
    assert blocks.kernel() is not None, "run python -m model.native.build"
    ours = [index.search(query, 20, allowed) for query in asked for allowed in among]
    monkeypatch.setattr(blocks, "kernel", lambda: None)
    theirs = [index.search(query, 20, allowed) for query in asked for allowed in among]
    for (ids, scores), (same, close) in zip(ours, theirs, strict=True):
        assert ids.tolist() == same.tolist()
        assert np.abs(scores - close).max() < 1e-6


def test_a_change_leaves_large_blocks_as_they_are() -> None:
    index = VectorIndex("pq")
    index.add(np.arange(20_000), _clustered(3, 20_000, 64))
    before = {block.key for block in index.blocks}
    index.add(np.arange(20_000, 20_100), _clustered(4, 100, 64))
    assert before < {block.key for block in index.blocks}
    book = index.codebook
    index.remove(np.array([5, 20_001]))
    assert index.codebook is book
    assert len(index) == 20_098
    assert not np.isin([5, 20_001], index.ids()).any()
