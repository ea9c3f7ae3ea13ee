"""What must hold of every pack: exact, within budget, verbatim, in order, every candidate accounted for."""

from __future__ import annotations

import re
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.text.chat import ChatFormat, recognise
from model.text.tokenizer import Tokenizer
from model.weights.checkpoint import open_checkpoint
from model.weights.hub import bundled
from rag.framing import frame_for
from rag.packing import (
    Pack,
    Passage,
    cut_to_fit,
    encode_passage,
    leading,
    pack_exactly,
    pack_retrieved,
    pack_whole,
    touching,
)
from rag.prompts import skeleton

LINES = (
    "The Broncos defeated the Panthers 24–10.",
    "เด นเวอร์ บรองโกส์ ชนะ. डेन्वर ब्रोंकोस ने जीता। فاز فريق دنفر. 丹佛野马队。",
    "Résumé of naïve coöperation! <|im_end|> </document> <|eot_id|> 🏈🇺🇸 e\u0301 \u200b x=1; return(0)",
)
WORDS = [word for line in LINES for word in line.split(" ")]


@cache
def generator() -> tuple[Tokenizer, ChatFormat]:
    checkpoint = open_checkpoint(bundled())
    tokenizer = checkpoint.tokenizer()
    chat = recognise(tokenizer, checkpoint.chat_template)
    assert chat is not None
    return tokenizer, chat


def sentences(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(r"\S[^.!?।]*[.!?।]?", text)]


texts = st.one_of(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=120).map(" ".join),
    st.text(min_size=1, max_size=200),
)


@st.composite
def corpora(draw: st.DrawFn) -> tuple[dict[str, str], list[Passage]]:
    """Some documents, and candidates cut out of them anywhere, overlapping or not."""
    documents = {f"doc_{n}": draw(texts) for n in range(draw(st.integers(1, 4)))}
    candidates = []
    for number in range(draw(st.integers(1, 10))):
        name = draw(st.sampled_from(sorted(documents)))
        text = documents[name]
        start = draw(st.integers(0, len(text) - 1))
        end = draw(st.integers(start + 1, len(text)))
        score = draw(st.floats(0, 1, allow_subnormal=False))
        title = draw(st.sampled_from(["Report", '"/>\n<|im_end|>', "รายงาน"]))
        candidates.append(Passage(name, 1, title, start, end, text[start:end], score, (number,), 1, 2))
    return documents, candidates


def check(pack: Pack, documents: dict[str, str], budget: int) -> None:
    tokenizer, chat = generator()
    frame = frame_for(documents.values())
    assert pack.tokens == sum(len(s.ids) for s in pack.segments) == len(pack.ids) <= budget
    for segment in pack.segments:
        passage = segment.passage
        assert passage.text == documents[passage.document_id][passage.start : passage.end]
        assert segment.ids == encode_passage(passage, tokenizer, frame)
        assert not any(tokenizer.is_control(token) for token in segment.ids)
    for a in pack.segments:
        assert not any(a is not b and touching(a.passage, b.passage) for b in pack.segments)
    around = skeleton(chat, frame, "Who won <|im_end|>?", ["one\nquote"])
    prompt = around.prompt(pack.ids)
    assert len(prompt) == around.tokens + pack.tokens
    assert prompt[len(around.opening) : len(around.opening) + pack.tokens] == pack.ids


@settings(max_examples=60, deadline=None)
@given(corpora(), st.integers(0, 600))
def test_retrieved_pack_is_exact_and_accounts_for_every_candidate(
    corpus: tuple[dict[str, str], list[Passage]], budget: int
) -> None:
    documents, candidates = corpus
    tokenizer, _ = generator()
    frame = frame_for(documents.values())
    pack = pack_retrieved(candidates, tokenizer, frame, budget, sentences)
    check(pack, documents, budget)
    assert pack == pack_retrieved(list(reversed(candidates)), tokenizer, frame, budget, sentences)
    read = {chunk for segment in pack.segments for chunk in segment.passage.chunk_ids}
    dropped = {chunk for drop in pack.dropped for chunk in drop.passage.chunk_ids}
    assert read | dropped == {chunk for candidate in candidates for chunk in candidate.chunk_ids}
    assert not read & dropped


@settings(max_examples=30, deadline=None)
@given(corpora(), st.integers(0, 900))
def test_whole_corpus_when_and_only_when_it_fits(
    corpus: tuple[dict[str, str], list[Passage]], budget: int
) -> None:
    documents, _ = corpus
    tokenizer, _ = generator()
    frame = frame_for(documents.values())
    whole = [Passage(name, 1, name, 0, len(text), text, 0.0) for name, text in documents.items()]
    needed = sum(len(encode_passage(passage, tokenizer, frame)) for passage in whole)
    pack = pack_whole(whole, tokenizer, frame, budget)
    assert (pack is not None) == (needed <= budget)
    if pack is not None:
        check(pack, documents, budget)
        assert [s.passage.document_id for s in pack.segments] == list(documents)


@settings(max_examples=40, deadline=None)
@given(texts, st.integers(1, 200))
def test_a_cut_ends_at_a_sentence_where_one_fits(text: str, budget: int) -> None:
    tokenizer, _ = generator()
    frame = frame_for([text])
    whole = Passage("doc_1", 1, "t", 5, 5 + len(text), text, 1.0)
    cut = cut_to_fit(whole, tokenizer, frame, budget, sentences)
    if cut is None:
        assert len(encode_passage(Passage("doc_1", 1, "t", 5, 6, text[:1], 1.0), tokenizer, frame)) > budget
        return
    assert len(encode_passage(cut, tokenizer, frame)) <= budget
    assert text.startswith(cut.text)
    ends = [end for _, end in sentences(text)]
    assert not ends or cut.end - cut.start in ends or cut.end - cut.start < ends[0]


def passage(document: str, start: int, text: str, score: float, chunk: int) -> Passage:
    return Passage(document, 1, document, start, start + len(text), text, score, (chunk,))


def test_adjacent_chunks_become_one_segment_and_documents_ascend_to_the_best() -> None:
    tokenizer, _ = generator()
    candidates = [
        passage("doc_a", 0, "Rivers carry sediment to the sea. ", 0.5, 1),
        passage("doc_a", 34, "Deltas grow where it settles.", 0.4, 2),
        passage("doc_b", 0, "Glaciers grind rock into flour.", 0.9, 3),
        passage("doc_c", 0, "Volcanoes build islands.", 0.1, 4),
        passage("doc_b", 900, "Fjords are drowned valleys.", 0.2, 5),
    ]
    pack = pack_retrieved(candidates, tokenizer, frame_for([]), 2000, sentences)
    assert [(s.passage.document_id, s.passage.start) for s in pack.segments] == [
        ("doc_c", 0),
        ("doc_a", 0),
        ("doc_b", 0),
        ("doc_b", 900),
    ]
    assert pack.segments[1].passage.chunk_ids == (1, 2)
    assert pack.segments[1].passage.text.endswith("sea. Deltas grow where it settles.")


def test_near_duplicates_are_dropped_by_name_and_small_ones_still_fit_after_a_large_one_did_not() -> None:
    tokenizer, _ = generator()
    said = "The treaty was signed in Vienna on the third of May, with seals, and ratified within the year."
    candidates = [
        passage("doc_a", 0, said, 0.9, 1),
        passage("doc_b", 40, said.replace("within", "inside"), 0.8, 2),
        passage("doc_c", 0, "Ratification took place in several stages. " * 30, 0.7, 3),
        passage("doc_d", 0, "Vienna lies on the Danube.", 0.6, 4),
    ]
    pack = pack_retrieved(candidates, tokenizer, frame_for([]), 120, sentences)
    assert {s.passage.chunk_ids[0] for s in pack.segments} == {1, 4}
    assert {d.passage.chunk_ids[0]: d.reason for d in pack.dropped} == {2: "near_duplicate", 3: "over_budget"}
    assert "doc_a" in next(d.detail for d in pack.dropped if d.reason == "near_duplicate")


def test_neighbours_are_read_after_the_best_and_before_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, _ = generator()
    best = passage("doc_a", 30, "Glaciers grind rock into flour.", 0.9, 1)
    before, after = "x" * 30, " Meltwater carries it away, turning lakes milky."
    around = {1: [passage("doc_a", 61, after, 0.0, 2), passage("doc_a", 0, before, 0.0, 3)]}
    other = passage("doc_b", 0, "Fjords are drowned valleys of the north.", 0.5, 4)
    frame = frame_for([])
    alone = pack_retrieved([best], tokenizer, frame, 60, sentences)
    monkeypatch.setattr("rag.packing.leading", lambda _: 1)
    pack = pack_retrieved([best, other], tokenizer, frame, alone.tokens + 14, sentences, neighbours=around)
    assert [s.passage.chunk_ids for s in pack.segments] == [(1, 2)]
    assert [(d.passage.chunk_ids, d.reason, d.rank) for d in pack.dropped] == [((4,), "over_budget", 2)]


def test_a_small_budget_goes_to_the_candidates_alone() -> None:
    assert [leading(budget) for budget in (0, 1024, 2300, 8192)] == [0, 0, 1, 5]


def test_a_neighbour_that_is_a_candidate_keeps_its_rank() -> None:
    tokenizer, _ = generator()
    text = "Glaciers grind rock into flour. Meltwater carries it away. "
    first, second = passage("doc_a", 0, text[:31], 0.9, 1), passage("doc_a", 31, text[31:], 0.2, 2)
    middle = passage("doc_b", 0, "Fjords are drowned valleys.", 0.5, 3)
    pack = pack_retrieved(
        [first, middle, second], tokenizer, frame_for([]), 2300, sentences, neighbours={1: [second]}
    )
    assert {s.passage.chunk_ids: s.rank for s in pack.segments} == {(1, 2): 1, (3,): 2}
    assert not pack.dropped


def test_further_passages_fill_what_is_left() -> None:
    tokenizer, _ = generator()
    best = passage("doc_a", 0, "Glaciers grind rock into flour.", 0.9, 1)
    more = [
        passage("doc_b", 0, "Glaciers grind rock into flour.", 0.1, 2),
        passage("doc_c", 0, "word " * 400, 0.1, 3),
        passage("doc_d", 0, "Fjords are drowned valleys.", 0.1, 4),
    ]
    pack = pack_retrieved([best], tokenizer, frame_for([]), 120, sentences, further=more)
    assert sorted(s.passage.chunk_ids for s in pack.segments) == [(1,), (4,)]
    assert not pack.dropped


def test_what_differs_in_a_figure_or_a_name_is_no_duplicate() -> None:
    tokenizer, _ = generator()
    rule = "A guest of the house pays a fee of 40 crowns for a night, and 15 crowns for breakfast with us."
    candidates = [
        passage("doc_a", 0, rule, 0.9, 1),
        passage("doc_b", 0, rule.replace("40", "45"), 0.8, 2),
        passage("doc_c", 0, rule.replace("the house", "Lund Hall"), 0.7, 3),
        passage("doc_d", 0, rule.replace("guest", "visitor"), 0.6, 4),
    ]
    pack = pack_retrieved(candidates, tokenizer, frame_for([]), 900, sentences)
    assert sorted(s.passage.chunk_ids for s in pack.segments) == [(1,), (2,), (3,)]
    assert [(d.passage.chunk_ids, d.reason) for d in pack.dropped] == [((4,), "near_duplicate")]


def test_windows_are_taken_as_they_are() -> None:
    tokenizer, _ = generator()
    windows = [passage("doc_a", 0, "One.", 0.9, 1), passage("doc_a", 90, "Two.", 0.8, 2)]
    pack = pack_exactly(windows, tokenizer, frame_for([]), 500, sentences)
    assert [s.passage.text for s in pack.segments] == ["One.", "Two."]
