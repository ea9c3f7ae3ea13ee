"""Quotes: the right sentence, word for word, in several scripts, by the bundled embedder."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.embedders import Embedder
from rag.packing import Passage, Segment
from rag.quotable import QUOTE_CHARACTERS, candidate_sentences
from rag.quotes import SNIPPETS, Quote
from rag.quoting import Evidence, Quoter
from rag.sentences import sentence_spans
from rag.span_reader import SpanReading


@dataclass(frozen=True)
class Hit:
    """What quoting needs of a retrieved chunk."""

    chunk_id: int
    document_id: str
    generation: int
    start: int
    end: int
    dense_score: float
    score: float


def packed(texts: list[str], offset: int = 0) -> tuple[list[Segment], list[Hit]]:
    """Each text as a segment of a document of its own, that begins at `offset`, and as one chunk."""
    segments, hits = [], []
    for number, text in enumerate(texts):
        name, end = f"doc_{number}", offset + len(text)
        segments.append(Segment(Passage(name, 1, name, offset, end, text, 1.0, (number,)), (1,), number + 1))
        hits.append(Hit(number, name, 1, offset, end, 0.85 - number / 100, 3.0 - number))
    return segments, hits


TEXTS = [
    "The mill stands by the pond. Its wheel was cast in Leeds in 1843. The miller keeps two cats. "
    "The yearly rent is 41,300 guilders, due in four parts. Fishing stays with the owner.",
    "Die Brücke wurde 1911 gebaut. Ihr Baumeister war Karl Ender. Sie hat drei Bögen.",
    "यह पुल नदी पर है। इसे 1911 में बनाया गया था। इसमें तीन मेहराब हैं।",
    "بنيت القلعة في القرن العاشر. يحرسها خمسون جنديا. بابها من الحديد.",
]


@pytest.mark.parametrize(
    ("question", "document", "inside"),
    [
        ("How high is the rent?", 0, "41,300 guilders"),
        ("Wer war der Baumeister der Brücke?", 1, "Karl Ender"),
        ("पुल कब बनाया गया था?", 2, "1911"),
        ("كم جنديا يحرس القلعة؟", 3, "خمسون"),
    ],
)
def test_the_answer_is_quoted_word_for_word(
    embedder: Embedder, question: str, document: int, inside: str
) -> None:
    segments, hits = packed(TEXTS, offset=100)
    evidence = Quoter(embedder, sentence_spans).evidence(question, segments, hits)
    assert any(inside in quote.text for quote in evidence.quotes if quote.document_id == f"doc_{document}")
    assert 1 <= len(evidence.quotes) <= 2
    for quote in evidence.quotes:
        text = TEXTS[int(quote.document_id[4:])]
        assert quote.text == text[quote.start - 100 : quote.end - 100]
        assert quote.chunk_id == int(quote.document_id[4:])
        assert 0 <= quote.score <= 1 + 1e-6
    assert evidence.quotes[0].score >= evidence.quotes[-1].score
    assert 0 <= evidence.coverage <= 1
    assert 0 < evidence.share <= 1
    assert 0.7 < evidence.similarity <= 1 + 1e-6
    assert evidence == Quoter(embedder, sentence_spans).evidence(question, segments, hits)


def test_the_work_is_reported_and_quotes_do_not_overlap(embedder: Embedder) -> None:
    text = " ".join(f"Room {number} is painted in colour number {number * 7}." for number in range(40))
    segments, hits = packed([text])
    work = Quoter(embedder, sentence_spans).find("What colour is room 12?", segments, hits, most=4)
    steps = []
    while True:
        try:
            steps.append(next(work))
        except StopIteration as end:
            evidence: Evidence = end.value
            break
    assert steps[0][0] == 0
    assert steps[-1][0] == steps[-1][1] < evidence.sentences
    assert steps == sorted(steps)
    spans = sorted((quote.start, quote.end) for quote in evidence.quotes)
    assert len(spans) == 4
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    assert all(end - start <= QUOTE_CHARACTERS for start, end in spans)
    assert "Room 12 " in "".join(quote.text for quote in evidence.quotes)


def test_what_was_not_retrieved_is_not_quoted(embedder: Embedder) -> None:
    segments, hits = packed(TEXTS)
    quoter = Quoter(embedder, sentence_spans)
    assert quoter.evidence("rent", segments, []) == Evidence()
    assert quoter.evidence("rent", [], hits) == Evidence()
    assert quoter.evidence("rent", segments[:1], hits[1:]) == Evidence()
    stale = [Hit(0, "doc_0", 2, 0, 50, 0.9, 1.0)]
    assert quoter.evidence("rent", segments, stale) == Evidence()


@given(st.text(alphabet=st.sampled_from("ab. !?\n。กข ;,\u00a0"), max_size=900), st.integers(0, 50))
def test_candidate_sentences_are_short_slices_in_order(text: str, offset: int) -> None:
    segments, hits = packed([text], offset)
    found = candidate_sentences(segments, hits, sentence_spans)
    last = offset
    for sentence in found:
        assert last <= sentence.start < sentence.end <= offset + len(text)
        assert sentence.end - sentence.start <= QUOTE_CHARACTERS
        assert sentence.text == text[sentence.start - offset : sentence.end - offset] == sentence.text.strip()
        last = sentence.end
    assert "".join("".join(s.text.split()) for s in found) == "".join(text.split())


def test_a_quote_is_cut_to_a_page_only_when_its_best_sentence_stays() -> None:
    text = "It rained.\n\nThe rent is 12. It is due."
    quote = Quote("doc_1", 1, 40, 40 + len(text), text, 1, 0.9, (52, 67))
    cut = quote.within(50, 100)
    assert (cut.start, cut.end, cut.text) == (52, 78, "The rent is 12. It is due.")
    assert quote.within(0, 1000) is quote
    assert quote.within(60, 100) is quote


class Seeing:
    """A reader that finds the answer at `words`, surer in each further text, and keeps what it was given."""

    def __init__(self, words: str = "", margin: float = 7.0) -> None:
        self.given: list[list[str]] = []
        self._words, self._margin = words, margin

    def read(self, _: str, passages: list[str]) -> list[SpanReading]:
        self.given.append(passages)
        places = [text.find(self._words) for text in passages]
        return [
            SpanReading((place, place + len(self._words)), self._margin + number)
            for number, place in enumerate(places)
        ]


def test_the_reader_reads_a_sentence_and_two_quotes_and_none_where_places_are_several(
    embedder: Embedder,
) -> None:
    segments, hits = packed(TEXTS[:1] * 4)
    reader = Seeing()
    quoter = Quoter(embedder, sentence_spans, reader)  # type: ignore[arg-type]
    evidence = quoter.evidence("How high is the rent?", segments, hits, most=4)
    assert len(evidence.quotes) > 2
    first, second = evidence.quotes[:2]
    assert (evidence.margin, reader.given) == (7.5, [[first.sentence, f"{first.text}\n{second.text}"]])
    assert quoter.evidence("How high is the rent?", segments, hits, several=True).margin is None
    assert quoter.evidence("How high is the rent?", [], hits).margin is None
    assert len(reader.given) == 1


def test_what_the_reader_points_at_comes_first_where_it_finds_an_answer(embedder: Embedder) -> None:
    texts = [
        "The rent is 12 crowns. It is due in May.",
        "The rent was high. A late rent costs 3 crowns more.",
    ]
    asked, segments, hits = "How high is the rent?", *packed(texts)
    plain = Quoter(embedder, sentence_spans).evidence(asked, segments, hits).quotes
    assert len(plain) == 2
    for words, margin in (("3 crowns", 7.0), ("3 crowns", -7.0), ("in May", 7.0), ("no words of these", 7.0)):
        reader: Any = Seeing(words, margin)
        quotes = Quoter(embedder, sentence_spans, reader).evidence(asked, segments, hits).quotes
        assert {(quote.document_id, quote.text) for quote in quotes} == {
            (quote.document_id, quote.text) for quote in plain
        }
        if margin < 0 or words not in "".join(texts):
            assert quotes == plain
            continue
        best = quotes[0]
        assert words in best.sentence
        assert best.sentence == best.sentence.strip() != best.text


SNIPPETS_FOUND = [
    "Regatta 2021 tickets: where to sit, what to bring, and how to reach the 2021 regatta by boat or train.",
    "Find out where the regatta was held in each year since 1950, and who won the regatta of 2021.",
    "Regatta 2021 news: the harbour of Rostock was chosen, the organisers said on Monday in a short note.",
    "Everything on the regatta of 2021: where, when, and which boats will take part in the 2021 regatta.",
    "The regatta of 2022 will be held in Kiel, as the sailing club has told the newspapers in spring.",
    "Where is the regatta held? Read more on the regatta's pages, with pictures of 2021 and 2020.",
]
UNRELATED = "Bread is baked at six. The bakery sells rolls, cakes and coffee until noon."
ASKED = "Where was the regatta of 2021 held?"


def test_snippets_of_other_documents_are_quoted_whole(embedder: Embedder) -> None:
    texts = [*SNIPPETS_FOUND[:4], UNRELATED]
    quotes = Quoter(embedder, sentence_spans).evidence(ASKED, *packed(texts)).quotes
    assert sorted(quote.text for quote in quotes) == sorted(SNIPPETS_FOUND[:4]), "not what is about bread"
    assert quotes[0].score == max(quote.score for quote in quotes)

    every = Quoter(embedder, sentence_spans).evidence(ASKED, *packed(SNIPPETS_FOUND)).quotes
    assert len(every) == SNIPPETS == len({quote.document_id for quote in every})


def test_of_longer_passages_two_are_quoted(embedder: Embedder) -> None:
    longer = [f"{text} {text.lower()} {text}" for text in SNIPPETS_FOUND[:4]]
    assert len(Quoter(embedder, sentence_spans).evidence(ASKED, *packed(longer)).quotes) <= 2
    within = "\n\n".join(SNIPPETS_FOUND)
    quotes = Quoter(embedder, sentence_spans).evidence(ASKED, *packed([within])).quotes
    assert len(quotes) <= 2, "a paragraph of a longer text is no snippet"


def test_more_is_shown_and_the_verdict_stays(embedder: Embedder) -> None:
    """Two quotes are read for whether the answer is there, however many are shown."""
    reader = Seeing()
    segments, hits = packed(SNIPPETS_FOUND)
    evidence = Quoter(embedder, sentence_spans, reader).evidence(ASKED, segments, hits)  # type: ignore[arg-type]
    assert len(evidence.quotes) == SNIPPETS
    assert reader.given[0][1] == "\n".join(quote.text for quote in evidence.quotes[:2])
