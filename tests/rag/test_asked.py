"""What a question asks for and the values in a text, in the languages of the development sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.asked import Value, asked_kind, same, values


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("When did the oil crisis begin?", "date"),
        ("In which year was the bridge built?", "date"),
        ("In welchem Jahr wurde die Brücke gebaut?", "date"),
        ("¿Cuándo se construyó el puente?", "date"),
        ("पुल कब बनाया गया था?", "date"),
        ("متى بدأت الأزمة؟", "date"),
        ("สะพานสร้างเสร็จเมื่อใด", "date"),
        ("How many touchdowns did Newton throw?", "number"),
        ("Wie viele Bögen hat sie?", "number"),
        ("¿Cuántos touchdowns anotó?", "number"),
        ("Combien de ponts y a-t-il ?", "number"),
        ("इसमें कितने मेहराब हैं?", "number"),
        ("มีซุ้มกี่ซุ้ม", "number"),
        ("Who designed the bridge?", "person"),
        ("Wer war der Baumeister?", "person"),
        ("¿Quién diseñó el puente?", "person"),
        ("ใครเป็นผู้ออกแบบ", "person"),
        ("Where was the game played?", "place"),
        ("Dove si trova?", "place"),
        ("Why was it closed?", "thing"),
        ("", "thing"),
    ],
)
def test_the_question_word_tells_what_is_asked(question: str, kind: str) -> None:
    assert asked_kind(question) == kind


@pytest.mark.parametrize(
    ("text", "kind", "key"),
    [
        ("It opened on May 15, 2012.", "date", (2012, 5, 15)),
        ("It opened on 15 May 2012.", "date", (2012, 5, 15)),
        ("It opened on 2012-05-15.", "date", (2012, 5, 15)),
        ("Eröffnet am 3. März 1911", "date", (1911, 3, 3)),
        ("Se abrió el 3 de marzo de 1911", "date", (1911, 3, 3)),
        ("इसे 1911 में बनाया गया", "date", (1911, 0, 0)),
        ("بنيت في ١٩١١", "date", (1911, 0, 0)),
        ("in October 1973", "date", (1973, 10, 0)),
        ("the rent is 41,300 guilders", "number", (41300.0, "")),
        ("Umsatz von 6,3 Milliarden", "number", (6.3e9, "")),
        ("revenue of $6.3 billion", "number", (6.3e9, "$")),
        ("rose by 12.5 %", "number", (12.5, "%")),
        ("won by Emma Raducanu of Britain", "name", ("emma", "raducanu", "britain")),
        ("Tesla's revenue", "name", ("tesla",)),
    ],
)
def test_values_are_read(text: str, kind: str, key: tuple[object, ...]) -> None:
    found = values(text)
    assert (kind, key) in [(value.kind, value.key) for value in found]
    assert all(text[value.start : value.end] for value in found)


def test_the_first_word_of_a_sentence_is_no_name() -> None:
    assert values("The game was short. When it ended, it rained.") == ()


def value(text: str) -> Value:
    return values(text)[0]


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("in 1973", "October 1973", True),
        ("on May 15, 2012", "on May 1, 2012", False),
        ("on December 6", "December 2022", True),
        ("$10.4 billion", "10,400 million", True),
        ("$10.4 billion", "$1.39 billion", False),
        ("by Raducanu", "by Emma Raducanu", True),
        ("by Emma Raducanu", "by Bianca Andreescu", False),
        ("in 1973", "by Raducanu", False),
    ],
)
def test_values_are_the_same_said_more_or_less_exactly(one: str, other: str, alike: bool) -> None:
    assert same(value(one), value(other)) is alike
    assert same(value(other), value(one)) is alike


@given(st.text(alphabet=st.sampled_from("Ab 1٣,.-$%()'May 20กข\n"), max_size=80))
def test_values_are_slices_in_order_that_do_not_overlap(text: str) -> None:
    last = 0
    for each in values(text):
        assert last <= each.start < each.end <= len(text)
        last = each.end
