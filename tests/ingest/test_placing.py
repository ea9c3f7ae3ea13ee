"""A passage of a page's text, found among the letters that are drawn."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.parsers.placing import MAX_CHARACTERS, Passage, letters_of, place
from ingest.parsers.regions import Box, joined


def shown(text: str, passage: str, drawn: str) -> str:
    """What of `drawn` is found for the passage, which stands once in the text."""
    start = text.index(passage)
    found = place(Passage(text, start, start + len(passage)), list(drawn))
    return "".join(drawn[i] for i in found)


def test_lines_and_spaces_do_not_matter() -> None:
    text = "The mill stands by the river.\nIts wheel is of oak."
    assert shown(
        text, "the river.\nIts wheel", "The mill stands\r\nby the  river.\r\nIts wheel is of oak."
    ) == ("theriver.Itswheel")


def test_a_word_that_a_line_end_parted_is_whole_again() -> None:
    drawn = "They wrote a re\ufffe\r\nport of it, a re\ufffe\r\nport of that."
    text = "They wrote a report of it, a report of that."
    first = text.index("report of that")
    found = place(Passage(text, first, first + len("report")), list(drawn))
    at = drawn.rindex("re\ufffe")
    assert found == [*range(at, at + 3), *range(at + 5, at + 9)], "the hyphen that is drawn goes along"


def test_the_occurrence_that_is_meant_is_found() -> None:
    text = "net sales 10 20\nnet sales 30 40\nnet sales 50 60"
    at = text.index("net sales 30")
    assert (
        place(Passage(text, at, at + len("net sales")), list(text.replace("\n", "\r\n")))[0]
        == text.index("net sales 30") + 1
    )


def test_rows_that_were_put_together_are_found_where_they_stand() -> None:
    text = "Bread | 1,250 | 1,310\nButter | 2,480 | 2,590"
    columns = "Bread\r\nButter\r\n1,250\r\n2,480\r\n1,310\r\n2,590"
    assert shown(text, "Butter | 2,480 | 2,590", columns) == "Butter2,4802,590"


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("the office of the chief", "the o\ufb03ce of the chief"),
        (
            "\u0627\u0644\u0633\u0644\u0627\u0645 \u0639\u0644\u064a\u0643\u0645",
            "\ufe8d\ufedf\ufeb4\ufefc\ufee1 \ufecb\ufee0\ufef4\ufedc\ufee2",
        ),
        ("東京都の人口", "東京都の\r\n人口"),
        ("ภาษาไทย", "ภาษา\r\nไทย"),
    ],
)
def test_other_forms_of_the_same_letters_are_the_same(text: str, drawn: str) -> None:
    assert "".join(shown(text, text, drawn)) == "".join(each for each in drawn if not each.isspace())


def test_what_is_not_drawn_is_not_found() -> None:
    assert shown("Attachment: tides.txt", "tides.txt", "A letter about the harbour") == ""
    assert shown("some text", "some", "") == ""
    assert place(Passage("signs — only", 6, 7), list("signs — only")) == []
    long = "a" * (MAX_CHARACTERS + 1)
    assert place(Passage(long, 0, 5), list(long)) == []


@given(
    st.lists(
        st.text(st.characters(categories=("Ll", "Lu", "Nd")), min_size=1, max_size=9), min_size=1, max_size=40
    ),
    st.randoms(use_true_random=False),
)
def test_every_letter_of_a_passage_is_found_and_no_other(words: list[str], lot: random.Random) -> None:
    """However lines break, and words with them: nothing else than white space and hyphens was changed."""
    text, drawn, owner = "", "", []
    for number, word in enumerate(words):
        text += (" " if number else "") + word
        for i, letter in enumerate(word):
            if i and lot.random() < 0.1:
                drawn += "\ufffe\r\n"
                owner += [-1] * 3
            drawn += letter
            owner.append(number)
        gap = lot.choice([" ", "\r\n", "  "])
        drawn += gap
        owner += [-1] * len(gap)
    first = lot.randrange(len(words))
    last = lot.randrange(first, len(words))
    start = len(" ".join(words[:first])) + (first > 0)
    end = len(" ".join(words[: last + 1]))
    found = place(Passage(text, start, end), list(drawn))
    wanted = [i for i, number in enumerate(owner) if first <= number <= last and letters_of(drawn[i]).text]
    letters = [i for i in found if letters_of(drawn[i]).text]
    assert letters == wanted


def test_letters_of_a_line_are_one_box() -> None:
    line = [Box(0.1 + 0.01 * i, 0.2, 0.11 + 0.01 * i, 0.22) for i in range(10)]
    below = [Box(0.1 + 0.01 * i, 0.23, 0.11 + 0.01 * i, 0.25) for i in range(4)]
    column = [Box(0.6 + 0.01 * i, 0.2, 0.61 + 0.01 * i, 0.22) for i in range(3)]
    boxes = joined([*line, *column, *below])
    assert [tuple(round(value, 3) for value in box) for box in boxes] == [
        (0.1, 0.2, 0.2, 0.22),
        (0.6, 0.2, 0.63, 0.22),
        (0.1, 0.23, 0.14, 0.25),
    ]
    turned = [Box(0.1, 0.2 + 0.01 * i, 0.12, 0.21 + 0.01 * i) for i in range(9)]
    assert len(joined(turned)) == len(joined(turned[::-1])) == 1
    assert joined([Box(0.5, 0.5, 0.5, 0.6), Box(2.0, 0.1, 3.0, 0.2)]) == []
