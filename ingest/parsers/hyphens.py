"""Words that a line's end parts, made whole by the words that are in use in the document."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol, TypeVar

LINE_END_HYPHEN = "\ufffe"
"""What PDFium returns for a hyphen that ends a line; some of its versions return U+0002."""

_MARKS = (LINE_END_HYPHEN, "\x02", "\u00ad")
_WORD = re.compile(r"[^\W\d_]{2,}(?:-[^\W\d_]+)*|[^\W\d_](?:-[^\W\d_]+)+")
_MOST_WORDS = 200_000
_MOST_UNREAD = 4_000_000
"""Characters that are kept to be looked through later."""


class HasText(Protocol):
    """A line of text."""

    text: str


LineT = TypeVar("LineT", bound=HasText)


class Vocabulary:
    """The words in use so far, in small letters; looked for when first asked for, as most files part none."""

    def __init__(self) -> None:
        self._words: set[str] = set()
        self._unread: list[list[str]] = []
        self._characters = 0

    def note(self, lines: Sequence[HasText]) -> None:
        """Take the words of some more lines into account."""
        texts = [line.text for line in lines]
        self._unread.append(texts)
        self._characters += sum(map(len, texts))
        if self._characters > _MOST_UNREAD:
            self._read()

    def __contains__(self, word: str) -> bool:
        self._read()
        return word in self._words

    def _read(self) -> None:
        for texts in self._unread:
            if len(self._words) < _MOST_WORDS:
                self._words |= _words_of(texts)
        self._unread, self._characters = [], 0


def join_hyphens(lines: Sequence[LineT], words: Vocabulary) -> list[LineT]:
    """Joins words that a line end parted; the rest of the word moves up to the first line.

    The hyphen stays where a capital or digit is beside it, where the hyphenated form is in use in the
    document so far, or both halves are and the joined form is not. `words` learns these lines' words.
    """
    words.note(lines)
    joined: list[LineT] = []
    for line in lines:
        text = line.text.replace("\x02", LINE_END_HYPHEN)
        if joined and joined[-1].text.endswith((LINE_END_HYPHEN, "\u00ad")):
            before = joined[-1].text[:-1]
            head = re.search(r"[^\W_]+$", before)
            tail = re.match(r"\s*([^\W_]+[^\s]*)\s*", text)
            if head is None or tail is None:
                joined[-1].text = before + "-"
            else:
                second = tail.group(1)
                letters = re.match(r"[^\W\d_]*", second)
                plain = letters.group() if letters else ""
                joined[-1].text = before + ("-" if _keeps_hyphen(head.group(), plain, words) else "") + second
                text = text[tail.end() :]
        line.text = text
        if text.strip():
            joined.append(line)
    for line in joined:
        if not line.text.isascii():
            last = line.text[-1:].replace(LINE_END_HYPHEN, "-")
            line.text = line.text[:-1].replace(LINE_END_HYPHEN, "") + last
    return joined


def _words_of(lines: Sequence[str]) -> set[str]:
    """The words of some lines, small letters; halves that a line end parts are no words."""
    found: set[str] = set()
    parted = False
    for line in lines:
        matches = [word.lower() for word in _WORD.findall(line)]
        goes_on = line.endswith(_MARKS)
        found.update(matches[parted : len(matches) - goes_on])
        parted = goes_on
    return found


def _keeps_hyphen(first: str, second: str, words: Vocabulary) -> bool:
    if not second[:1].islower() or not first[-1:].islower():
        return True
    if f"{first}-{second}".lower() in words:
        return True
    if f"{first}{second}".lower() in words:
        return False
    return min(len(first), len(second)) >= 4 and first.lower() in words and second.lower() in words
