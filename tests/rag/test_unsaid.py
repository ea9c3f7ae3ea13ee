"""What a question says and the passages around the quotes do not."""

from __future__ import annotations

import pytest

from rag.embedders import Embedder
from rag.quoting import Evidence, Quoter
from rag.sentences import sentence_spans
from rag.unsaid import missing_names, missing_numbers, negated, script_of
from tests.rag.test_quoting import packed

STEAM = (
    "The first commercial steam engine was the atmospheric engine, invented by Thomas Newcomen around 1712. "
    "It pumped water out of mines. James Watt added a separate condenser in 1781."
)


def test_evidence_holds_what_is_missing(embedder: Embedder) -> None:
    segments, hits = packed([STEAM])
    quoter = Quoter(embedder, sentence_spans)

    def asked(question: str) -> Evidence:
        return quoter.evidence(question, segments, hits)

    plain = asked("Who invented the atmospheric engine around 1712?")
    assert (plain.names, plain.numbers, plain.turned, plain.negated) == (0, 0, 0, 0)
    changed = asked("Who invented the atmospheric engine with Matthew Boulton in 1799?")
    assert (changed.names, changed.numbers) == (1, 1)
    turned = asked("Who did not invent the atmospheric engine?")
    assert (turned.turned, turned.negated) == (1, 1)


@pytest.mark.parametrize(
    ("question", "text", "names", "numbers"),
    [
        ("Where did Tesla live in 1884?", "In 1884 Tesla came to New York.", 0.0, 0.0),
        ("Where did Edison live in 1885?", "In 1884 Tesla came to New York.", 1.0, 1.0),
        ("Did Tesla meet Edison?", "Tesla came to New York.", 0.5, 0.0),
        ("wo wohnte er?", "Er wohnte dort.", 0.0, 0.0),
        ("", "", 0.0, 0.0),
    ],
)
def test_missing_names_and_numbers(question: str, text: str, names: float, numbers: float) -> None:
    assert missing_names(question, text) == names
    assert missing_numbers(question, text) == numbers


@pytest.mark.parametrize(
    "text",
    [
        "It isn't so.",
        "It is not so.",
        "Das ist nicht so.",
        "Nunca llovió.",
        "Il n'a pas plu.",
        "यह नहीं है",
        "ไม่ใช่",
    ],
)
def test_a_not_is_seen(text: str) -> None:
    assert negated(text) == 1.0
    assert negated("It is so: nothing more, notable.") == 0.0


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Who?", "latin"),
        ("Où ça ?", "latin"),
        ("متى؟", "arabic"),
        ("कब?", "devanagari"),
        ("ใคร", "thai"),
        ("谁?", "other"),
        ("", "other"),
    ],
)
def test_the_script_of_a_question(text: str, script: str) -> None:
    assert script_of(text) == script
