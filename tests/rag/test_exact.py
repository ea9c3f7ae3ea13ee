"""Quoted phrases: told from other text, compared as people read them, and put first."""

from __future__ import annotations

import numpy as np
import pytest
from filled_store import Library
from hypothesis import given
from hypothesis import strategies as st

from rag.embedders import Embedder
from rag.exact import Phrase, found_at, normalised, quoted_phrases
from rag.index.live import LiveIndexes
from rag.retrieval import Retriever, SearchScope, lifted
from rag.settings import Settings
from rag.store.session import Database
from rag.store.tables import DEFAULT_WORKSPACE


@pytest.mark.parametrize(
    ("question", "phrases"),
    [
        ('Where does it say "the tenant shall pay"?', [Phrase("the tenant shall pay", True)]),
        ("Wo steht „binnen vierzehn Tagen“?", [Phrase("binnen vierzehn tagen", True)]),
        ("Où est écrit « à ses frais » ?", [Phrase("à ses frais", True)]),
        ("Who said ‘it isn’t over yet’?", [Phrase("it isn't over yet", True)]),
        ("「契約は更新されるものとする」とは", [Phrase("契約は更新されるものとする", True)]),
        ('What is "Doctor Who" about?', [Phrase("doctor who", False)]),
        ('What is "part 7"?', [Phrase("part 7", True)]),
        ('What does "matches" mean, and ""?', []),
        ("What's the dog's and the cat's name?", []),
        ('A 5" and a 6 inch pipe', []),
        ("", []),
    ],
)
def test_what_stands_in_quotation_marks_is_a_phrase(question: str, phrases: list[Phrase]) -> None:
    assert list(quoted_phrases(question)) == phrases


def test_kinds_of_marks_dashes_and_line_ends_make_no_difference() -> None:
    text = normalised("It’s a  long\u2011\nterm\n“plan”, from 1990\u20132000, with co\u00adop\u00aderation.")
    for phrase in ("it's a long-term", 'a longterm "plan"', "from 1990-2000", "with cooperation"):
        assert found_at(normalised(phrase), text) >= 0, phrase
    assert found_at(normalised("from 19902000"), text) < 0


def test_a_phrase_is_not_found_inside_words_and_numbers() -> None:
    text = "a rate of 12, then a rate of 1."
    assert found_at("rate of 1", text) == text.rindex("rate of 1")
    assert found_at("of rate", "proof rate") < 0
    assert found_at("แม่น้ำสาย", "นี่คือแม่น้ำสายยาว") > 0


@given(st.text(max_size=80))
def test_any_question_is_read(question: str) -> None:
    for phrase in quoted_phrases(question):
        assert phrase.text == normalised(phrase.text)
        assert found_at(phrase.text, phrase.text) == 0


def test_a_lift_keeps_the_size_of_scores() -> None:
    scores = np.array([5.0, 3.0, 4.0, 1.0], dtype=np.float32)
    out = lifted(scores, np.array([0, 1, 0, 2], np.float32), np.array([0, 0, 1, 0], np.float32))
    assert np.argsort(-out).tolist()[:2] == [3, 1]
    assert out[2] == 5
    assert 5 < out[1] < out[3] < 5.1


@pytest.fixture
def scope_and_retriever(
    database: Database, embedder: Embedder, settings: Settings
) -> tuple[Library, SearchScope, Retriever]:
    library = Library.open(database, embedder)
    retriever = Retriever(database, LiveIndexes(database, settings), embedder)
    return library, SearchScope(DEFAULT_WORKSPACE, library.collection_id), retriever


def test_a_quoted_phrase_ranks_its_chunk_first(
    scope_and_retriever: tuple[Library, SearchScope, Retriever],
) -> None:
    library, scope, retriever = scope_and_retriever
    likely = "The lease says who pays for repairs: the landlord pays for repairs of the roof, says the lease."
    library.add("Lease", [likely, *(f"Paragraph {n} speaks of repairs and of who pays." for n in range(30))])
    library.add("Other", ["Both sides bear all costs of\nthe other\u2014kind of thing."])
    asked = "Who pays for repairs of the roof, says the lease, and {}bear all costs of the other - kind{}?"
    plain, quoted = asked.format("", ""), asked.format("“", "”")
    assert retriever.search(plain, scope)[0].text == likely
    first, second, *_ = retriever.search(quoted, scope)
    assert first.text == "Both sides bear all costs of"  # the phrase runs on into the next line, a chunk here
    assert second.text == likely
    assert 0 < first.score - second.score < 0.1
    inside = SearchScope(scope.workspace_id, scope.collection_id, frozenset({second.document_id}))
    assert {c.document_id for c in retriever.search(quoted, inside)} == {second.document_id}
