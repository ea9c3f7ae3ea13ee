"""Questions with several places: what is searched for, in which order it is kept, and where it ends."""

from __future__ import annotations

from dataclasses import replace

import pytest
from filled_store import Library

from rag.embedders import Embedder
from rag.finding import ADDED, FIRST, STEPS, Finder, Found, SearchStep, Turn, Why, merge, next_queries
from rag.index.live import LiveIndexes
from rag.names import names
from rag.parts import parts
from rag.retrieval import Candidate, Retriever, SearchScope
from rag.settings import Settings
from rag.statements import asked_statements
from rag.store.session import Database
from rag.store.tables import DEFAULT_WORKSPACE

FILMS = {
    "Laughter in Hell": "Laughter in Hell is a 1933 American drama film directed by Edward L. Cahn.",
    "Night Run": "Night Run is a 1940 film about rail workers. It was shown in London for one week only.",
    "Iron Harvest": "Iron Harvest is a 1951 film on farming in the north, directed by Paula Mehr.",
    "Edward L. Cahn": "Edward L. Cahn (February 12, 1899 - August 25, 1963) made more than 120 pictures.",
    "Paula Mehr": "Paula Mehr (1901 - 1977) was an editor before she made pictures of her own.",
    "Harbour rules": "Boats over nine metres pay a fee at the harbour office before they tie up.",
    "Bread": "Let the dough rest for eight hours in a cool room, then bake it in a very hot oven.",
    "Bees": "A hive of bees keeps its brood at thirty-five degrees, summer and winter alike.",
}


@pytest.fixture
def library(database: Database, embedder: Embedder) -> Library:
    library = Library.open(database, embedder)
    for title, text in FILMS.items():
        library.add(title, [text])
    return library


@pytest.fixture
def finder(library: Library, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Finder:
    monkeypatch.setattr("rag.finding.SECONDS", 600.0)  # a busy machine must not change what is searched
    return Finder(Retriever(library.db, LiveIndexes(library.db, settings), library.embedder))


@pytest.fixture
def scope(library: Library) -> SearchScope:
    return SearchScope(DEFAULT_WORKSPACE, library.collection_id)


def test_the_second_place_is_found_by_what_the_first_names(finder: Finder, scope: SearchScope) -> None:
    question = "When did the director of the film Laughter in Hell die?"
    plain = finder.find(question, scope, 20, steps=1)
    found = finder.find(question, scope, 20)
    assert [step.why for step in plain.searches] == ["question"]
    assert [step.why for step in found.searches] == ["question", "next_place", "next_place"]
    assert "Edward L. Cahn" in found.searches[1].query
    titles = [candidate.document_title for candidate in found.candidates]
    assert titles[0] == "Laughter in Hell"
    assert "Edward L. Cahn" in titles[: FIRST + 1]
    assert {c.chunk_id for c in plain.candidates} <= {c.chunk_id for c in found.candidates}


def test_two_questions_in_one_are_searched_apart(finder: Finder, scope: SearchScope) -> None:
    found = finder.find(
        "How long does bread dough rest before baking, and who pays a fee at the harbour office?", scope, 20
    )
    said = [(step.why, step.query) for step in found.searches[:3]]
    assert said[1] == ("part", "How long does bread dough rest before baking")
    assert said[2] == ("part", "who pays a fee at the harbour office?")
    assert {"Bread", "Harbour rules"} <= {c.document_title for c in found.candidates[: FIRST + 2]}


def test_a_follow_up_is_searched_as_a_whole_question(finder: Finder, scope: SearchScope) -> None:
    history = [Turn("Who was Paula Mehr?", "an editor")]
    found = finder.find("When did she die?", scope, 20, history=history, steps=1)
    assert found.question == "Paula Mehr: When did she die?"
    assert [step.why for step in found.searches] == ["follow_up"]
    assert found.candidates[0].document_title == "Paula Mehr"
    alone = finder.find("When did Paula Mehr die?", scope, 20, history=history, steps=1)
    assert alone.question == "When did Paula Mehr die?"
    assert [step.why for step in alone.searches] == ["question"]


def test_steps_bound_the_searches_and_time_ends_them(
    finder: Finder, scope: SearchScope, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = "Who directed Iron Harvest or Night Run, and what was the revenue and total assets of both?"
    for steps in (1, 2, 3, 4):
        assert len(finder.find(question, scope, 20, steps=steps).searches) <= steps
    assert len(finder.find(question, scope, 20).searches) == STEPS
    monkeypatch.setattr("rag.finding.SECONDS", 0.0)
    assert len(finder.find(question, scope, 20).searches) == 1


def test_an_empty_collection_is_searched_once(
    database: Database, embedder: Embedder, settings: Settings
) -> None:
    library = Library.open(database, embedder, "empty")
    finder = Finder(Retriever(database, LiveIndexes(database, settings), embedder))
    found = finder.find("Who, and when?", SearchScope(DEFAULT_WORKSPACE, library.collection_id), 20)
    assert not found.candidates
    assert len(found.searches) == 1


def test_passages_for_a_large_budget_come_after_the_candidates(finder: Finder, scope: SearchScope) -> None:
    found = finder.find("How warm is a hive of bees?", scope, 2, steps=1)
    assert len(found.candidates) == 2
    ids = [candidate.chunk_id for candidate in (*found.candidates, *found.further)]
    assert len(ids) == len(set(ids)) == 6


def candidate(number: int, score: float = 0.0, dense: float = 0.8) -> Candidate:
    return Candidate(
        number, f"doc_{number}", "t", "t.txt", 1, 0, 1, None, None, (), "x", 1, score, 1, dense, 1, 0.5
    )


def test_added_places_stand_after_the_first_and_keep_the_order_of_scores() -> None:
    own = [candidate(n, 10.0 - n, 0.9 - n / 100) for n in range(8)]
    brought = [candidate(7, 50.0, 0.99), *(candidate(100 + n, 50.0 - n, 0.99) for n in range(10))]
    merged, added = merge(own, 6, [brought])
    ids = [c.chunk_id for c in merged]
    assert ids[:6] == [0, 1, 2, 3, 7, 4]
    assert sorted(ids) == [*range(6), 7, *range(100, 100 + ADDED - 1)]
    assert added == [ADDED]
    assert ids == [c.chunk_id for c in sorted(merged, key=lambda c: -c.score)]
    assert merged[4] == replace(own[7], score=merged[4].score)
    weakest = min(c.dense_score for c in own)
    assert all(c.dense_score <= weakest and not c.lexical_score for c in merged if c.chunk_id >= 100)
    assert [c for c in merged if c.chunk_id < 6] == own[:6]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (
            "Who was born first out of Martin Hodge and Ivania Martinich?",
            ["Martin Hodge", "Ivania Martinich"],
        ),
        ("Welcher Film ist älter, Metropolis oder Nosferatu?", ["Metropolis", "Nosferatu"]),
        ("Quel film est plus ancien, Metropolis ou Nosferatu ?", ["Metropolis", "Nosferatu"]),
        ("¿Qué película es más antigua, Metrópolis o Nosferatu?", ["Metrópolis", "Nosferatu"]),
        ("Quale film è più vecchio, Metropolis o Nosferatu?", ["Metropolis", "Nosferatu"]),
        ("Qual filme é mais antigo, Metrópolis ou Nosferatu?", ["Metrópolis", "Nosferatu"]),
    ],
)
def test_names_that_are_compared_are_searched_one_by_one(question: str, expected: list[str]) -> None:
    found = parts(question)
    assert len(found) == 2
    for part, mine, other in zip(found, expected, reversed(expected), strict=True):
        assert mine in part
        assert other not in part


@pytest.mark.parametrize(
    ("question", "second"),
    [
        ("Who founded Acme in Berlin and when was it sold?", "Acme, Berlin: when was it sold?"),
        ("Wer hat das Werk in Graz gegründet und wann wurde es verkauft?", "wann wurde es verkauft?"),
        ("Qui a fondé la société Acme et quand a-t-elle été vendue ?", "quand a-t-elle été vendue ?"),
        ("¿Quién fundó la empresa Acme y cuándo se vendió?", "cuándo se vendió?"),
        ("बिजली का आविष्कार किसने किया और यह कब हुआ?", "यह कब हुआ?"),
        ("ใครเป็นผู้ก่อตั้งบริษัทและขายเมื่อไร", "ขายเมื่อไร"),
        ("من أسس شركة الكهرباء ومتى بيعت؟", "متى بيعت؟"),
    ],
)
def test_joined_questions_are_parted(question: str, second: str) -> None:
    found = parts(question)
    assert len(found) == 2
    assert question.startswith(found[0])
    assert found[1].endswith(second)


@pytest.mark.parametrize(
    "question",
    [
        "How did the price change between Germany and France?",
        "What is the change between 2018 and 2019?",
        "Who wrote the book on rivers and lakes?",
        "Was ist das Ohmsche Gesetz?",
        "What did the firm pay? Use the balance sheet.",
    ],
)
def test_one_question_is_left_whole(question: str) -> None:
    assert parts(question) == []


def test_figures_are_looked_for_in_the_statements_that_hold_them() -> None:
    [income] = asked_statements("Does the firm have an improving gross margin?", 2)
    assert income.startswith("Consolidated statements of income")
    assert len(asked_statements("Days payable outstanding (DPO), from inventory and capex?", 2)) == 2
    assert not asked_statements("Who was the first emperor?", 2)


def test_names_are_what_capitals_quotes_and_digits_show() -> None:
    said = [name for name, _ in names('Which "lost letter" did Frau von Stein send to the U.S. in 1790?')]
    assert said == ["lost letter", "Frau von Stein", "U.S.", "1790"] or said[:2] == [
        "lost letter",
        "Frau von Stein",
    ]
    assert [name for name, _ in names("What was shipped under order 58-1147?")] == ["58-1147"]
    assert names("निकोला टेस्ला का जन्म कब हुआ?") == []


def test_a_passage_without_capitals_stands_for_its_names() -> None:
    passage = replace(candidate(1), text="निकोला टेस्ला का जन्म स्मिलजन में हुआ था।")
    assert next_queries("कब?", [passage]) == ["कब? निकोला टेस्ला का जन्म स्मिलजन में हुआ था।"]


@pytest.mark.parametrize(
    ("why", "several"), [("question", False), ("follow_up", False), ("part", True), ("next_place", True)]
)
def test_which_searches_look_in_several_places(why: Why, several: bool) -> None:
    first, second = SearchStep("q", "question", 3, 3, 1.0), SearchStep("q", why, 3, 1, 1.0)
    assert Found([], (first, second), "q").several == several
