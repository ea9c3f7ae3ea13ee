"""Receipts, by the bundled model: the quote that holds the answer is worth more than one that does not."""

from __future__ import annotations

import statistics

import pytest

from model import Engine
from rag.citations import Citation
from rag.framing import Frame
from rag.receipts import Receipt, Receipts
from rag.writer import Writer

ASKED = [
    ("How much is the keeper of the light paid?", "The keeper of the light is paid 640 crowns a year."),
    ("Who built the harbour light?", "The harbour light was built in 1871 by the engineer Ada Petersen."),
    ("When does the lease of the mill begin?", "The lease begins on the first of March 2021."),
    ("How long is the notice period?", "Either side may end it with a notice period of fourteen months."),
    ("What shelters in the burrows of the tortoise?", "More than three hundred species shelter in them."),
    ("Which river carries more water than any other?", "The Amazon carries more water than any other river."),
]
BESIDE = "Wiregrass flowers only in the months after a burn."


def cited(number: int, text: str) -> Citation:
    return Citation(number, f"doc_{number}", "Notes", "n.txt", None, 0, len(text), text, number, 0.5)


def receipts(engine: Engine, question: str, *texts: str) -> Receipts:
    citations = [cited(number, text) for number, text in enumerate(texts, start=1)]
    return Receipts(engine, Frame("document"), question, citations)


@pytest.mark.parametrize("of", ["answer", "question"])
def test_what_holds_the_answer_is_worth_more_than_what_does_not(engine: Engine, of: str) -> None:
    lead = []
    for place, (question, text) in enumerate(ASKED):
        texts = (text, BESIDE) if place % 2 else (BESIDE, text)
        work = receipts(engine, question, *texts)
        found = list(work.of_answer(f"{text} [1]") if of == "answer" else work.of_question())
        assert [each.citation_id for each in found] == [1, 2]
        assert {each.of for each in found} == {of}
        drops = [each.drop for each in found]
        lead.append((drops[0] - drops[1]) * (1 if place % 2 else -1))
        assert work.computed > 0
    assert statistics.median(lead) > 1
    assert sum(each > 0 for each in lead) >= len(lead) - 1


def test_a_receipt_is_the_difference_of_two_scores(engine: Engine) -> None:
    work = receipts(engine, *ASKED[0], BESIDE)
    [first, second] = work.of_answer("The keeper is paid 640 crowns. [1]")
    words = engine.tokenizer.encode("The keeper is paid 640 crowns.")

    def score(*texts: str) -> float:
        alone = receipts(engine, ASKED[0][0], *texts)
        shown = [token for citation in alone.citations for token in alone._ids(citation)]
        prompt = Writer.skeleton_of(engine, alone.frame, alone.question).prompt(shown)
        return float(
            engine.logits([*prompt, *words])
            .log_softmax(-1)[range(len(prompt) - 1, len(prompt) + len(words) - 1), words]
            .sum()
        )

    whole = score(ASKED[0][1], BESIDE)
    assert first.drop == pytest.approx(whole - score(BESIDE), abs=0.5)  # rounding in bfloat16
    assert second.drop == pytest.approx(whole - score(ASKED[0][1]), abs=0.5)
    assert first.drop > 4 > second.drop


def test_marks_and_unsupported_sentences_are_not_scored(engine: Engine) -> None:
    work = receipts(engine, *ASKED[0], BESIDE)
    plain = list(work.of_answer("The keeper is paid 640 crowns."))
    marked = "The keeper is paid 640 crowns. [1][2] He sings. [?]"
    assert list(work.of_answer(marked, ["He sings."])) == plain
    assert list(work.of_answer("[1]")) == []
    assert plain[0].as_dict() == {"citation_id": 1, "drop": plain[0].drop, "of": "answer"}
    assert isinstance(plain[0], Receipt)


def test_nothing_of_a_document_stays_when_it_is_purged(engine: Engine) -> None:
    engine.forget()
    long = " ".join(f"In year {year} the rent is {year * 7} guilders." for year in range(60))
    list(receipts(engine, "How high is the rent in year 7?", long, BESIDE).of_question())
    assert engine.stats().blocks_cached > 0
    for document in ("doc_1", "doc_2"):
        engine.purge(document)
    assert engine.stats().blocks_cached == 0


def test_what_was_read_for_a_receipt_goes_with_its_document(engine: Engine) -> None:
    engine.forget()
    long = " ".join(f"In year {n} the rent of the mill was {n * 731} guilders." for n in range(30))
    work = Receipts(engine, Frame("document"), ASKED[0][0], [cited(1, long), cited(2, BESIDE)], "ws_a")
    list(work.of_question())
    assert engine.stats().blocks_cached > 0
    assert engine.purge("doc_1") > 0
    assert engine.stats().blocks_cached == 0
