"""Sources that contradict each other are both quoted and said to; sources that agree are left in peace."""

from __future__ import annotations

import pytest

from rag.citations import Citation
from rag.disagreement import Disagreement, conflicting, disagreements
from rag.embedders import Embedder
from rag.quoting import Quoter
from rag.sentences import sentence_spans
from tests.rag.test_quoting import packed

# Facts as Wikipedia has them; the tests make copies in which one value differs.
OIL = "The 1973 oil crisis began in October 1973 when the members of OAPEC proclaimed an oil embargo."
LUTHER = "Martin Luther died on 18 February 1546 in Eisleben, aged 62."
STEAM = (
    "The first commercial steam engine was the atmospheric engine, invented by Thomas Newcomen around 1712."
)


@pytest.mark.parametrize(
    ("question", "one", "changed", "kind", "said"),
    [
        ("When did the 1973 oil crisis begin?", OIL, ("October 1973", "March 1974"), "date", ()),
        ("When did Martin Luther die?", LUTHER, ("1546", "1564"), "date", ()),
        (
            "Who invented the first commercial steam engine?",
            STEAM,
            ("Thomas Newcomen", "James Watt"),
            "name",
            ("Thomas Newcomen", "James Watt"),
        ),
        (
            "Wie hoch ist der Umsatz der Müller AG?",
            "Der Umsatz der Müller AG beträgt 6,3 Milliarden Euro.",
            ("6,3", "1,3"),
            "number",
            ("6,3 Milliarden", "1,3 Milliarden"),
        ),
    ],
)
def test_a_changed_value_is_a_conflict(
    question: str, one: str, changed: tuple[str, str], kind: str, said: tuple[str, ...]
) -> None:
    other = one.replace(*changed)
    found = conflicting(question, one, other)
    assert found is not None
    assert found.kind == kind
    if said:
        assert (found.one, found.other) == said
    assert conflicting(question, other, one) is not None


@pytest.mark.parametrize(
    ("question", "one", "other"),
    [
        # The same date, less exactly.
        ("When did Martin Luther die?", LUTHER, "Martin Luther died in 1546."),
        # Another event of the same man.
        ("When did Martin Luther die?", LUTHER, "Martin Luther married Katharina von Bora in June 1525."),
        # The same amount in other words.
        (
            "How high is Tesla's revenue?",
            "Tesla's revenue is $10.4 billion.",
            "Tesla's revenue is 10,400 million dollars.",
        ),
        # Another year than the one that was asked for.
        (
            "What was the population in 1991?",
            "In 1991 the population was 1,002 people.",
            "In 2001 the population was 1,804 people.",
        ),
        ("Why did it rain?", "It rained.", "It rained."),
        ("", "", ""),
    ],
)
def test_what_may_both_be_right_is_no_conflict(question: str, one: str, other: str) -> None:
    assert conflicting(question, one, other) is None
    assert conflicting(question, other, one) is None


def citation(number: int, document: str, text: str) -> Citation:
    return Citation(number, document, document, f"{document}.txt", None, 0, len(text), text, number, 0.5)


def test_citations_of_different_documents_are_named_with_their_values() -> None:
    cited = [
        citation(1, "doc_a", STEAM),
        citation(2, "doc_b", STEAM),
        citation(3, "doc_c", STEAM.replace("Thomas Newcomen", "James Watt")),
    ]
    question = "Who invented the first commercial steam engine?"
    assert disagreements(question, cited) == (
        Disagreement((1, 3), ("Thomas Newcomen", "James Watt"), "name"),
        Disagreement((2, 3), ("Thomas Newcomen", "James Watt"), "name"),
    )
    assert disagreements(question, cited[:2]) == ()
    assert disagreements(question, []) == ()
    assert disagreements(question, [cited[0], citation(3, "doc_a", cited[2].cited_text)]) == ()


def test_both_sides_are_quoted_though_two_agree(embedder: Embedder) -> None:
    filler = " Coal was dug in the north. Canals carried it to the towns."
    texts = [
        STEAM + filler,
        f"{STEAM} It pumped water out of mines." + filler,
        STEAM.replace("Thomas Newcomen", "James Watt") + " It pumped water." + filler,
    ]
    segments, hits = packed(texts)
    question = "Who invented the first commercial steam engine?"
    quotes = Quoter(embedder, sentence_spans).evidence(question, segments, hits).quotes
    assert any("Newcomen" in quote.text for quote in quotes)
    assert any("James Watt" in quote.text for quote in quotes)
    assert len(quotes) <= 3
    agreeing = Quoter(embedder, sentence_spans).evidence(question, segments[:2], hits[:2]).quotes
    assert len(agreeing) <= 2
