"""Quoted phrases: what a question puts in quotation marks must stand in a passage word for word."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

_QUOTED = re.compile(
    r'"([^"\n]{2,300})"|“([^“”\n]{2,300})[”“]|„([^„“”\n]{2,300})[“”]|«([^«»\n]{2,300})»|»([^«»\n]{2,300})«'
    r"|‹([^‹›\n]{2,300})›|「([^「」\n]{2,300})」|『([^『』\n]{2,300})』|(?<!\w)‘([^‘\n]{2,300}?)’(?!\w)"
)
_MARKS = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201a\u201b\u02bc\u2032`\u00b4", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033\u300c\u300d\u300e\u300f", '"')
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-")
    | dict.fromkeys("\u00ad\u200b\u2060\ufeff", None)
)
_BROKEN = re.compile(r"(?<=[^\W\d_])\s*-\s*(?=[^\W\d_])")
MOST = 5
"""Phrases of one question that are looked for."""


@dataclass(frozen=True)
class Phrase:
    """A quoted phrase, `text` normalised. `telling`: it names a place in a text, by three words or a number;
    two words are more often a name, which texts inflect and write in several ways."""

    text: str
    telling: bool


def quoted_phrases(question: str) -> tuple[Phrase, ...]:
    """Return what stands in quotation marks in `question`, without repeats, the first five.

    Marks of all languages count, single ASCII ones do not: they are apostrophes as well. A single word is no
    phrase, unless it has digits or marks in it.
    """
    found = (next(part for part in match.groups() if part) for match in _QUOTED.finditer(question))
    texts = dict.fromkeys(normalised(part).strip(" .,;:!?") for part in found)
    return tuple(phrase for phrase in map(_phrase, texts) if phrase is not None)[:MOST]


def _phrase(text: str) -> Phrase | None:
    letters = [c for c in text if c.isalnum()]
    if letters and all(map(_unspaced, letters)):
        return Phrase(text, len(letters) > 9) if len(letters) > 3 else None
    if not letters or text.isalpha():
        return None
    return Phrase(text, len(text.split()) > 2 or any(map(str.isdigit, text)))


def normalised(text: str) -> str:
    """Return `text` as phrases are compared: compatibility forms, case, kinds of quotation marks, dashes and
    white space, and hyphens between letters (a line may have been broken there) make no difference."""
    plain = unicodedata.normalize("NFKC", text).translate(_MARKS).casefold()
    return " ".join(_BROKEN.sub("", plain).split())


def found_at(phrase: str, text: str) -> int:
    """Return where `phrase` begins in `text`, both normalised, or -1; never inside a word or number."""
    at = text.find(phrase)
    while at >= 0:
        end = at + len(phrase)
        inside = (at and _grown(text[at - 1], text[at])) or (
            end < len(text) and _grown(text[end - 1], text[end])
        )
        if not inside:
            return at
        at = text.find(phrase, at + 1)
    return -1


def _grown(left: str, right: str) -> bool:
    """Tell whether two neighbouring characters belong to one word; scripts without spaces never say so."""
    return left.isalnum() and right.isalnum() and not (_unspaced(left) or _unspaced(right))


def _unspaced(character: str) -> bool:
    return any(
        first <= character <= last
        for first, last in (
            ("\u0e00", "\u0eff"),
            ("\u1000", "\u109f"),
            ("\u1780", "\u17ff"),
            ("\u3040", "\u30ff"),
            ("\u3400", "\u9fff"),
            ("\uf900", "\ufaff"),
            ("\U00020000", "\U0003ffff"),
        )
    )
