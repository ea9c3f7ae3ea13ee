"""Runs, comparisons, sweeps and reports, of outcomes made by hand; the way to real ones is in tests/api."""

from __future__ import annotations

import html
import json
import random
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from rag.embedders.base import Embedder
from rag.evaluation.compare import NotComparable, compare
from rag.evaluation.figures import BY_NAME, figures
from rag.evaluation.library import Library, occurrences
from rag.evaluation.metrics import Place
from rag.evaluation.outcome import Outcome, QuoteOutcome
from rag.evaluation.proposals import GAP, Excerpt, by_rule, count_words, edited, excerpts
from rag.evaluation.questions import GoldEvidence, GoldQuestion, load_questions
from rag.evaluation.report import comparison_report, run_report, sweep_report
from rag.evaluation.runfile import Journal, Run, RunFileError, digest, read, write
from rag.evaluation.sweep import budgets_up_to, metric_for, sweep
from rag.store.repositories import DEFAULT_SCOPE
from rag.store.session import Database
from tests.rag.filled_store import Library as Filled

HOSTILE = "<script>fetch('//x')</script><img src=x onerror=alert(1)>\u202e\x1b]8;;http://x\x07 &amp; \"'"
ABOUT = {
    "created": "2026-01-01T00:00:00+00:00",
    "set": "q.jsonl",
    "version": "1",
    "settings": {"mode": "auto"},
}


def quote(holds: bool = True, **more: Any) -> QuoteOutcome:
    given = {"exact": True, "page_right": True, "evidence": holds, "holds": holds, **more}
    return QuoteOutcome("the words", "a.txt", 3, 5, 14, **given)


def outcome(name: str, **more: Any) -> Outcome:
    given: dict[str, Any] = {
        "answers": ("words",),
        "answerable": True,
        "located": True,
        "ranks": (2,),
        "found": 2,
        "ndcg": 0.63,
        "reciprocal": 0.5,
        "packed": True,
        "packed_tokens": 900,
        "budget": 1024,
        "status": "answered",
        "kind": "quotes",
        "quotes": (quote(),),
        "milliseconds": 100.0,
        **more,
    }
    return Outcome(name, f"What of {name}?", f"{name[0]}.txt", "en", **given)


MISSED = {"found": None, "ranks": (None,), "packed": False, "quotes": (), "status": "insufficient_evidence"}
NONE: dict[str, Any] = {"answerable": False, "answers": (), "located": False, "ranks": (), "found": None}
SAMPLE = [
    outcome("a1"),
    outcome("a2", milliseconds=300.0, quotes=(quote(False), quote(True, exact=False))),
    outcome("b1", **MISSED),
    outcome("c1", **NONE, status="insufficient_evidence", quotes=()),
    outcome("c2", **NONE),
    outcome("d1", status="error", error="question_too_long", quotes=(), milliseconds=0.0),
]


def values(outcomes: list[Outcome]) -> dict[str, float]:
    return {figure.metric: figure.value for figure in figures(outcomes)}


def test_figures_by_hand() -> None:
    found = values(SAMPLE)
    expected = {
        "found@1": 0, "found@4": 3 / 4, "found@10": 3 / 4, "packed": 3 / 4, "quote": 1 / 4, "quotes": 2 / 4,
        "cited": 2 / 4, "answered": 2 / 4, "refused": 1 / 2, "balanced": 1 / 2, "exact": 3 / 4, "page": 1.0,
        "latency": 100.0, "tokens": 900.0,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert {figure.metric: figure.questions for figure in figures(SAMPLE)}["quotes"] == 4


def test_an_error_is_neither_an_answer_nor_a_refusal() -> None:
    failed = {"status": "error", "error": "x", "quotes": ()}
    assert values([outcome("a", **failed)])["answered"] == 0
    assert values([outcome("a", **NONE, **failed)])["refused"] == 0


def test_no_figure_of_what_no_question_is_about() -> None:
    found = values([outcome("a", **NONE, status="insufficient_evidence", quotes=())])
    assert {"refused", "latency"} <= set(found)
    assert not {"found@1", "quotes", "answered", "balanced", "exact"} & set(found)


def test_a_run_file_comes_back(tmp_path: Path) -> None:
    run = Run.of(ABOUT, SAMPLE)
    write(tmp_path / "run.json", run)
    assert read(tmp_path / "run.json") == run
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json"]


@pytest.mark.parametrize("content", ["", "[]", '{"format": "other"}', '{"format": "longleaf-run-1"}', "{"])
def test_a_file_that_is_no_run(tmp_path: Path, content: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(content)
    with pytest.raises(RunFileError, match=re.escape(str(path))):
        read(path)
    with pytest.raises(RunFileError, match="No such file"):
        read(tmp_path / "none.json")


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run.json", "key")
    for each in SAMPLE[:3]:
        journal.add(each)
    journal.close(finished=False)
    with journal.path.open("a") as file:
        file.write('{"id": "half a li')
    again = Journal(tmp_path / "run.json", "key")
    assert list(again.done.values()) == SAMPLE[:3]
    again.add(SAMPLE[3])
    again.close(finished=False)
    with pytest.raises(RunFileError, match="other questions, documents or settings"):
        Journal(tmp_path / "run.json", "other key")
    last = Journal(tmp_path / "run.json", "key")
    assert list(last.done.values()) == SAMPLE[:4]
    last.close(finished=True)
    assert list(tmp_path.iterdir()) == []


def test_the_digest_sees_questions_and_answers() -> None:
    one = GoldQuestion("a", "Why?", ("x",))
    assert digest([one]) == digest([replace(one)])
    assert digest([one]) != digest([replace(one, answers=("y",))])


def test_a_comparison_finds_what_changed() -> None:
    first = [outcome(f"{document}{n}", **MISSED) for document in "abcdefghij" for n in range(4)]
    second = [each if each.id in ("a0", "b0") else outcome(each.id) for each in first]
    found = compare(Run.of(ABOUT, first), Run.of({**ABOUT, "settings": {"mode": "quotes"}}, second))
    change = {each.metric: each for each in found.changes}["quotes"]
    assert (change.first, change.second, change.questions) == (0, 38 / 40, 40)
    assert change.p < 0.01
    assert 0.8 < change.low < change.difference == 38 / 40 <= change.high
    assert len(found.turned) == 38
    assert set(found.turned[0].better) >= {"found@4", "packed", "quotes", "answered"}
    assert found.turned[0].worse == ()
    assert dict(found.settings) == {"settings.mode": ("auto", "quotes")}
    same = compare(Run.of(ABOUT, first), Run.of(ABOUT, first))
    assert same.turned == ()
    assert {change.p for change in same.changes} == {1.0}


def test_runs_over_other_questions_are_refused_or_cut() -> None:
    first, second = Run.of(ABOUT, SAMPLE[:3]), Run.of(ABOUT, SAMPLE[1:])
    with pytest.raises(NotComparable, match="2 are in both, 1 only in the first, 3 only in the second"):
        compare(first, second)
    found = compare(first, second, common=True)
    assert (found.common, found.left_out) == (2, 4)
    with pytest.raises(NotComparable, match="no question in common"):
        compare(first, Run.of(ABOUT, SAMPLE[3:]), common=True)
    other = Run.of(ABOUT, [replace(SAMPLE[0], answers=("others",)), *SAMPLE[1:3]])
    with pytest.raises(NotComparable, match="'a1' is not the same: its answers was"):
        compare(first, other)


def test_a_sweep_takes_the_smallest_budget_within_the_noise() -> None:
    names = [f"{document}{n}" for document in "abcdefgh" for n in range(5)]

    def at(budget: int, right: int) -> tuple[int, list[Outcome]]:
        made = [outcome(name, budget=budget, milliseconds=budget / 10) for name in names]
        return budget, [replace(each, quotes=()) if n >= right else each for n, each in enumerate(made)]

    found = sweep([at(4096, 38), at(1024, 20), at(2048, 37)], "quotes")
    assert [trial.budget for trial in found.trials] == [1024, 2048, 4096]
    assert found.chosen == 2048
    assert found.trials[0].below_best == pytest.approx(18 / 40)
    assert [trial.latency for trial in found.trials] == [102.4, 204.8, 409.6]
    assert sweep([at(1024, 40), at(2048, 40)], "quotes").chosen == 1024
    assert metric_for(at(1024, 1)[1]) == "quotes"
    assert metric_for([replace(each, answers=()) for each in SAMPLE]) == "packed"
    page = sweep_report(ABOUT, found)
    assert "<strong>2,048 tokens</strong>" in page
    assert page.count("<circle") == 3


def test_budgets_double_up_to_the_window() -> None:
    assert budgets_up_to(7936) == (1024, 2048, 4096, 7936)
    assert budgets_up_to(4096) == (1024, 2048, 4096)
    assert budgets_up_to(512) == (512,)


class Tags(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def hostile(name: str) -> Outcome:
    words = replace(quote(), text=HOSTILE, filename=HOSTILE)
    return outcome(name, answer=HOSTILE, kind="prose", reason=HOSTILE, quotes=(words,), missing=(HOSTILE,))


def test_no_text_is_markup_in_a_report() -> None:
    one = replace(hostile("a"), question=HOSTILE, id=HOSTILE, answers=(HOSTILE,), error=HOSTILE)
    about = {**ABOUT, "set": HOSTILE, HOSTILE: {HOSTILE: HOSTILE}}
    first = Run.of(about, [one])
    second = Run.of({**about, "model": HOSTILE}, [replace(one, error=None, packed=False)])
    for page in (run_report(first), comparison_report(first, second, compare(first, second))):
        tags = Tags()
        tags.feed(page)
        assert [tag for tag, _ in tags.found].count("script") == 1  # the page's own
        assert not {"img", "iframe", "link", "object", "a", "base"} & {tag for tag, _ in tags.found}
        for _, attributes in tags.found:
            assert not {"src", "href", "onerror", "onclick", "style", "srcset"} & set(attributes)
        assert "<script>fetch" not in page
        assert "\u202e" not in page
        assert "\x1b" not in page
        assert "&lt;script&gt;fetch(&#x27;//x&#x27;)" in page
        assert "default-src 'none'" in page


def test_a_report_tells_each_questions_way() -> None:
    page = run_report(Run.of(ABOUT, SAMPLE))
    assert page.count("<details") == len(SAMPLE)
    assert 'data-kinds="refused wrongly-refused unfound wrong"' in page
    assert 'data-kinds="wrong wrongly-answered"' in page
    assert "at rank 2" in page
    assert "is not the stored text" in page
    for name in values(SAMPLE):
        assert html.escape(BY_NAME[name].meaning) in page


def test_documents_and_evidence_are_found_in_the_store(database: Database, embedder: Embedder) -> None:
    store = Filled.open(database, embedder)
    text = ["First words here.", "Second   words\nthere, and first words again."]
    there = store.add("here", text, path="shelf/en/here.txt")
    other = store.add("other", ["Nothing of it."], path="shelf/de/here.txt")
    library = Library(database, DEFAULT_SCOPE, store.collection_id, {other: ["/far/away/third.txt"]})
    stored = library.text(there)
    assert library.find("en/here.txt") == (there,)
    assert set(library.find("here.txt")) == {there, other}
    assert library.find("third.txt") == (other,)
    assert library.find(there) == (there,)
    assert library.find("deep/down/other.txt") == (other,)
    assert library.find("fr/here.txt") == (there,)  # the bare name is all that is known of one
    assert library.find("none.txt") == library.find("") == ()

    def places(mode: Any, *evidence: GoldEvidence) -> list[str]:
        found = library.locate(GoldQuestion("q", "?", evidence=evidence, evidence_mode=mode))
        return [stored[place.start : place.end] for place in found.places] + list(found.missing)

    name = "en/here.txt"
    assert places("any", GoldEvidence(name, 0, 5)) == ["First"]
    assert places("any", GoldEvidence(name, 3, 8, text="Second words")) == ["Second   words"]
    assert places("any", GoldEvidence(name, text="words")) == ["words"] * 3
    assert places("all", GoldEvidence(name, text="words")) == ["words"]
    assert places("any", GoldEvidence(name, page=1)) == [stored]
    assert places("any", GoldEvidence(name)) == [stored]
    assert places("any", GoldEvidence(name, 0, 900)) == [f"{name} does not hold the characters 0 to 900"]
    assert places("any", GoldEvidence(name, page=9)) == [f"{name} does not hold a page 9"]
    assert places("any", GoldEvidence("x.txt", 0, 1)) == ["x.txt is not among the documents"]
    assert library.locate(GoldQuestion("q", "?", evidence=(GoldEvidence("other.txt", 0, 7),))).places == (
        Place(other, 0, 7),
    )


def test_proposals_by_rule_are_questions_with_verbatim_answers(
    database: Database, embedder: Embedder, tmp_path: Path
) -> None:
    store = Filled.open(database, embedder)
    store.add(
        "mill",
        ["The mill was built in 1650 by the old miller.", "It has two wheels and a roof of red slate."],
    )
    store.add("मिल", ["यह पुरानी चक्की बहुत साल पहले नदी के किनारे बनाई गई थी और आज भी चलती है।"])
    library = Library(database, DEFAULT_SCOPE, store.collection_id)
    texts = [library.text(document) for document in library.rows]
    propose = by_rule(count_words(texts), random.Random(1))
    made = [found for excerpt in excerpts(library, 1, 60) if (found := propose(excerpt))]
    assert {each.filename for each in made} == {"mill.txt", "मिल.txt"}
    for each in made:
        text = library.text(each.document)
        assert text[each.start : each.end] == each.answer
        assert each.question.count(GAP) == 1
        assert each.question.endswith("?")
        assert each.answer.casefold() not in each.question.casefold()
    assert "1650" in {each.answer for each in made}
    path = tmp_path / "q.jsonl"
    path.write_text("\n".join(json.dumps(each.record(accepted=False)) for each in made))
    questions = load_questions(path).questions
    assert not any(question.accepted for question in questions)
    assert all(
        library.locate(question).places and not library.locate(question).missing for question in questions
    )
    mill = next(each for each in made if each.answer == "1650")
    changed = edited(mill, "When was it built?", "in  1650")
    assert changed is not None
    assert library.text(changed.document)[changed.start : changed.end] == "in 1650" == changed.answer
    assert edited(mill, "When?", "in 1651") is None


def test_tables_and_headings_are_no_sentences_to_ask_for() -> None:
    propose = by_rule(count_words([]), random.Random(0))
    for text in ("| a | 12 |\n| b | 13 |", "Short one 5.", "1 2 3 4 5 6 7 8 9 0 " * 5):
        assert propose(Excerpt("d", "d.md", 0, text)) is None


def test_a_text_is_found_however_its_lines_are_broken() -> None:
    assert list(occurrences("a b\n  c; a b c", "a  b c")) == [(0, 7), (9, 14)]
    assert list(occurrences("a.b axb", "a.b")) == [(0, 3)]
    assert list(occurrences("abc", " ")) == []
