"""What the lexical index makes of words in many scripts."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.index.analysis import GRAM_BIT, analyse, words


def _whole(text: str) -> set[int]:
    terms, _ = analyse(text)
    return {int(t) for t in terms if not int(t) & GRAM_BIT}


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Straße", "STRASSE"),
        ("Café", "cafe\u0301"),
        ("naïve", "Naive"),
        ("ﬁne", "fine"),
        ("１２３", "123"),
        ("ΑΘΉΝΑ", "αθήνα"),
        ("أحمد", "احمد"),
        ("مُحَمَّد", "محمد"),
        ("مدرسـة", "مدرسه"),
        ("हिन्‍दी", "हिन्दी"),
        ("1,250", "1250"),
        ("1.250.000", "1,250,000"),
        ("٣٫٥", "3.5"),
        ("हिंदी", "हिँदी"),
    ],
)
def test_ways_of_writing_one_word_share_a_term(left: str, right: str) -> None:
    assert _whole(left) & _whole(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [("12", "112"), ("3.5", "35"), ("कम", "काम"), ("ไทย", "แขก"), ("2.3.59", "2.3.60"), ("東京", "大阪")],
)
def test_different_words_share_none(left: str, right: str) -> None:
    assert not _whole(left) & _whole(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Regierung", "Bundesregierung"),
        ("organisation", "organisations"),
        ("nationalité", "nationalités"),
        ("والكتاب", "كتابهم"),
        ("विश्वविद्यालय", "विश्वविद्यालयों"),
        ("провинция", "провинции"),
    ],
)
def test_forms_of_a_word_meet_in_their_grams(left: str, right: str) -> None:
    first, second = analyse(left)[0], analyse(right)[0]
    assert len(np.intersect1d(first, second)) >= 1


def test_tokens_are_words_with_their_marks() -> None:
    assert words("Der Fluß, हिन्दी का; 3.5 kg_x!") == ["der", "fluss", "हिन्दी", "का", "3.5", "kg", "x"]


def test_scripts_without_spaces_are_searched_inside() -> None:
    assert _whole("กรุงเทพ") & _whole("ในกรุงเทพมหานคร")
    assert _whole("東京") <= _whole("彼は東京に住んでいる")


@given(st.text(max_size=100))
def test_analysis_is_the_same_for_equivalent_texts(text: str) -> None:
    terms, counts = analyse(text)
    assert terms.dtype == np.uint64
    assert (np.diff(terms.astype(object)) > 0).all() if len(terms) > 1 else True
    assert (counts > 0).all()
    again = analyse(unicodedata.normalize("NFC", text))[0]
    assert terms.tolist() == again.tolist()
