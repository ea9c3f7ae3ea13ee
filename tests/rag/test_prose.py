"""Prose: sentence by sentence, only with support, however the text is cut on its way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.prose import ProseCheck
from rag.sentences import sentence_spans

QUESTION = "How much is the keeper of the light paid?"
QUOTES = [
    "The keeper of the light is paid 640 crowns a year and lives in the tower.",
    "The light was built in 1871 by Ada Petersen.",
]


def check(question: str = QUESTION, quotes: list[str] | None = None) -> ProseCheck:
    return ProseCheck(question, QUOTES if quotes is None else quotes, sentence_spans)


def run(text: str, *, complete: bool = True) -> str:
    prose = check()
    return prose.push(text) + prose.flush(complete=complete)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("The keeper is paid 640 crowns a year.", "The keeper is paid 640 crowns a year. [1]"),
        ("The keeper is paid 640 crowns a year [1].", "The keeper is paid 640 crowns a year. [1]"),
        ("The keeper is paid 640 crowns a year. [1, 2]", "The keeper is paid 640 crowns a year. [1]"),
        ("The keeper is paid 640 crowns a year. [9]", "The keeper is paid 640 crowns a year. [1]"),
        (
            "The light was built in 1871 by Ada Petersen [2]",
            "The light was built in 1871 by Ada Petersen [2]",
        ),
        ("The keeper is paid 650 crowns a year.", ""),
        ("The keeper of the light is paid.", ""),  # the question again
        ("How much is the keeper paid?", ""),
        ("Lisbon is a pleasant town in spring. [1]", ""),
        ("", ""),
    ],
)
def test_a_sentence_comes_through_with_the_quote_that_supports_it(written: str, shown: str) -> None:
    assert run(written) == shown


def test_sentences_without_support_are_marked_where_that_is_asked_for() -> None:
    prose = ProseCheck(QUESTION, QUOTES, sentence_spans, mark=True)
    written = "He retired to Lisbon [1] [?]. The keeper is paid 640 crowns a year. It cost 12 crowns! [2]"
    shown = prose.push(written) + prose.flush(complete=True)
    assert shown == (
        "He retired to Lisbon . [?] The keeper is paid 640 crowns a year. [1] It cost 12 crowns! [?]"
    )
    assert prose.unsupported == ["He retired to Lisbon .", "It cost 12 crowns!"]
    assert (prose.supported, prose.removed) == (1, 2)


def test_other_scripts_are_held_against_their_quotes() -> None:
    prose = check("पुल कब बना?", ["यह पुल 1911 में नदी पर बनाया गया था।"])
    written = "यह पुल 1911 में बनाया गया था। यह पुल 1920 में बनाया गया था।"
    assert prose.push(written) + prose.flush(complete=True) == "यह पुल 1911 में बनाया गया था। [1]"
    assert prose.removed == 1


def test_a_sentence_that_the_limit_cut_is_left_out() -> None:
    written = "The keeper is paid 640 crowns a year. The light was built in 1871 by"
    assert run(written, complete=False) == "The keeper is paid 640 crowns a year. [1]"
    assert run("The keeper is paid 640 crowns a year.", complete=False).endswith("[1]")


PARTS = st.lists(
    st.sampled_from(
        [
            "The keeper is paid 640 crowns a year.",
            "The light was built in 1871 by Ada Petersen.",
            "He retired to Lisbon.",
            "It cost 12 crowns!",
            "[1]",
            "[2][1]",
            "[7]",
            "\n",
            "J. S. Bach",
        ]
    ),
    max_size=8,
).map(" ".join)


@given(PARTS, st.lists(st.integers(1, 12), min_size=1, max_size=6))
def test_the_cuts_of_the_stream_change_nothing(text: str, sizes: list[int]) -> None:
    prose, shown, at, turn = check(), "", 0, 0
    while at < len(text):
        size = sizes[turn % len(sizes)]
        shown += prose.push(text[at : at + size])
        at, turn = at + size, turn + 1
    shown += prose.flush(complete=True)
    assert shown == run(text) == prose.text
    assert "Lisbon" not in shown
    assert "[7]" not in shown
    assert not shown or shown.endswith("]")


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("The notice period is four months.", ""),
        ("The notice period is 14 months.", "The notice period is 14 months. [1]"),
        ("The notice period is fourteen months.", "The notice period is fourteen months. [1]"),
    ],
)
def test_a_number_in_words_must_be_the_quotes(written: str, shown: str) -> None:
    quote = "Either side may end it with a notice period of fourteen months, in writing."
    check = ProseCheck("How long is the notice?", [quote], sentence_spans)
    check.push(written)
    check.flush(complete=True)
    assert check.text.strip() == shown
