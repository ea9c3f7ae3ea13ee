"""The index of a collection: any history leaves what the surviving documents leave, indexed from scratch."""

from __future__ import annotations

import json
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rag.index import lexical, snapshot
from rag.index.analysis import NAMES_END, codes
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
        assert left[0].tolist() == right[0].tolist()
        assert np.allclose(left[1], right[1])


def test_bm25_equals_the_formula_worked_by_hand() -> None:
    index = LexicalIndex()
    index.add([1, 2, 3], ["水 水 木", "火 木 土", "木"])
    # single characters apart: no pairs, no 4-grams, so each character is one term
    scored = index.score("水")
    ids, scores = scored.best(10)
    tf, length, average = 2, 3, 7 / 3
    expected = tf / (tf + 1.2 * (1 - 0.75 + 0.75 * length / average))
    assert ids.tolist() == [1]
    assert scores[0] == pytest.approx(expected, rel=1e-5)
    assert index.score("金").best(10)[0].tolist() == []
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
    ids, scores = scored.best(10)
    assert len(ids) == len(set(ids.tolist())) <= len(texts)
    assert ((scores > 0) & (scores < 1)).all()
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
    manifest = json.loads(good["manifest.json"])
    for format_of_another_analysis in (1, snapshot.FORMAT + 1):
        (folder / "manifest.json").write_text(json.dumps(manifest | {"format": format_of_another_analysis}))
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
