"""What a question says and a passage does not: names, numbers, a "not".

Who writes a question that a paragraph does not answer mostly takes one that it does answer and changes a
name or a number, or turns it around (Rajpurkar, Jia and Liang 2018, table 3).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from rag.asked import Value, same, values

Script = Literal["latin", "arabic", "devanagari", "thai", "other"]
_SCRIPTS: tuple[tuple[Script, str, str], ...] = (
    ("latin", "a", "\u024f"),
    ("arabic", "\u0600", "\u06ff"),
    ("devanagari", "\u0900", "\u097f"),
    ("thai", "\u0e00", "\u0e7f"),
)

_NOT = re.compile(
    r"\b(?:not?|never|without|except|cannot|neither|nor|least|few\w*|nicht|kein\w*|nie|ohne|nunca|sin|jamás|"
    r"jamais|sans|pas|non|mai|senza|não|sem|exceto|tampoco)\b|n['’]t\b|नहीं|बिना|ไม่|لم\b|لا\b|ليس|دون",
    re.IGNORECASE,
)


def missing_names(question: str, text: str) -> float:
    """Share, from 0 to 1, of the names in the question that have a word which the text lacks; 0 without
    names."""
    names = [value for value in _named(question) if value.kind == "name"]
    low = text.casefold()
    return (
        sum(not all(str(word) in low for word in name.key) for name in names) / len(names) if names else 0.0
    )


def missing_numbers(question: str, text: str) -> float:
    """1 where the question has a number or date that the text lacks, else 0."""
    there = values(text)
    wanted = [value for value in _named(question) if value.kind != "name"]
    return float(any(not any(same(each, value) for each in there) for value in wanted))


def negated(text: str) -> float:
    """1 where a text says "not", in the languages that the service is measured in, else 0."""
    return float(bool(_NOT.search(text)))


def script_of(text: str) -> Script:
    """The script that most letters of a text belong to, of those whose cosines were measured."""
    low = text.casefold()
    counts = {name: sum(first <= letter <= last for letter in low) for name, first, last in _SCRIPTS}
    most = max(counts, key=lambda name: counts[name])
    return most if counts[most] else "other"


@lru_cache(maxsize=1024)
def _named(question: str) -> tuple[Value, ...]:
    """A single word with a capital at the beginning is the question's own."""
    return tuple(
        value
        for value in values(question)
        if not (value.kind == "name" and value.start == 0 and len(value.key) == 1)
    )
