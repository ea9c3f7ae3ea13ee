"""Where a passage of a page's text stands in another reading of the same page: the one that is drawn.

The two differ: words that a line end parted are joined in the text, white space and ligatures are plain, rows
of tables are put together, running lines may be set apart. So only letters and digits are compared, first as
a whole, then word by word, and what stands elsewhere is looked for there.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

MAX_CHARACTERS = 60_000
"""A page with more letters is not compared: no reader of it could tell where to look either."""
_SIGNS = 8
"""Signs between two letters that go along; more of them are a line of dots."""
_LEAST_MOVED = 6
"""Letters of a part that stands elsewhere; fewer are found by chance, unless they are a whole word."""


@dataclass(frozen=True, slots=True)
class Passage:
    """What is looked for: `text[start:end]` of a page's canonical text, in code points."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Letters:
    """The letters and digits of a text, in small plain form, with where each stands in it."""

    text: str
    origins: list[int]
    words: list[tuple[int, int]]
    """Where words lie in `text`: what white space sets apart, and each letter of scripts without it."""


def letters_of(characters: Iterable[str]) -> Letters:
    """The letters of a text, or of characters one by one, in compatibility form (NFKC) and small."""
    text: list[str] = []
    origins: list[int] = []
    words: list[tuple[int, int]] = []
    begun = 0
    for origin, character in enumerate(characters):
        plain = character.lower() if character.isascii() else unicodedata.normalize("NFKC", character).lower()
        kept = [each for each in plain if each.isalnum() or unicodedata.category(each).startswith("M")]
        alone = bool(kept) and not character.isascii() and _stands_alone(kept[0])
        if (character.isspace() or alone) and len(text) > begun:
            words.append((begun, len(text)))
            begun = len(text)
        text += kept
        origins += [origin] * len(kept)
        if alone:
            words.append((begun, len(text)))
            begun = len(text)
    if len(text) > begun:
        words.append((begun, len(text)))
    return Letters("".join(text), origins, words)


def _stands_alone(letter: str) -> bool:
    """Whether it is of a script that sets no spaces between words: Thai to Khmer, Chinese, Japanese."""
    return "\u0e00" <= letter <= "\u0fff" or "\u1000" <= letter <= "\u109f" or "\u2e80" <= letter <= "\u9fff"


def place(passage: Passage, drawn: Sequence[str]) -> list[int]:
    """Which characters of `drawn` show the passage, in its order.

    Empty where it is not drawn: in the text of an attached file, or where the drawing has no text at all.
    """
    ours, theirs = letters_of(passage.text), letters_of(drawn)
    first = next((i for i, origin in enumerate(ours.origins) if origin >= passage.start), len(ours.text))
    last = next((i for i, origin in enumerate(ours.origins) if origin >= passage.end), len(ours.text))
    if first == last or max(len(ours.text), len(theirs.text)) > MAX_CHARACTERS:
        return []
    if ours.text == theirs.text:
        found: Iterable[int] = range(first, last)
    else:
        matched = _aligned(ours, theirs)
        _fill_moved(matched, ours, theirs, first, last)
        found = [matched[i] for i in range(first, last) if i in matched]
    chosen = list(dict.fromkeys(theirs.origins[i] for i in found))
    return _with_signs(chosen, drawn, passage.text[passage.start : passage.end].rstrip()[-1:])


def _with_signs(chosen: list[int], drawn: Sequence[str], last: str) -> list[int]:
    """The letters with the signs that stand between them, and the one that ends the passage."""
    whole: list[int] = []
    for position in chosen:
        if whole and 1 < position - whole[-1] <= _SIGNS:
            between = range(whole[-1] + 1, position)
            if not any(drawn[i].isalnum() for i in between):
                whole += [i for i in between if not drawn[i].isspace()]
        whole.append(position)
    if whole and last and not last.isalnum() and drawn[whole[-1] + 1 : whole[-1] + 2] == [last]:
        whole.append(whole[-1] + 1)
    return whole


def _aligned(ours: Letters, theirs: Letters) -> dict[int, int]:
    """Letters that correspond, by words in the same order; between those the same letters are the same."""
    spelled = [[each.text[a:b] for a, b in each.words] for each in (ours, theirs)]
    matched: dict[int, int] = {}
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, spelled[0], spelled[1], autojunk=False).get_opcodes():
        if i1 == i2 or j1 == j2:
            continue
        a, b = ours.words[i1][0], ours.words[i2 - 1][1]
        c, d = theirs.words[j1][0], theirs.words[j2 - 1][1]
        if tag == "equal" or ours.text[a:b] == theirs.text[c:d]:
            matched.update(zip(range(a, b), range(c, d), strict=True))
        elif (at := theirs.text.find(ours.text[a:b], c, d)) >= 0:
            matched.update(zip(range(a, b), range(at, at + b - a), strict=True))
    return matched


def _fill_moved(matched: dict[int, int], ours: Letters, theirs: Letters, first: int, last: int) -> None:
    """Looks elsewhere for what of the passage has no counterpart in its place: the rows of tables."""
    taken = set(matched.values())
    ends = dict(ours.words)
    position = first
    while position < last:
        if position in matched:
            position += 1
            continue
        stop = position
        while stop < last and stop not in matched:
            stop += 1
        length, at = _longest(ours.text[position:stop], theirs.text, taken)
        if length < _LEAST_MOVED:
            word = ours.text[position : min(stop, ends.get(position, position))]
            length, at = len(word), _free_word(word, theirs, taken)
        if at >= 0:
            matched.update((position + i, at + i) for i in range(length))
            taken.update(range(at, at + length))
        position += max(1, length)


def _free_word(word: str, within: Letters, taken: set[int]) -> int:
    """Where a word stands as a whole that corresponds to nothing yet; -1 where none does."""
    whole = (a for a, b in within.words if within.text[a:b] == word and not taken & {a, b - 1})
    return next(whole, -1)


def _longest(wanted: str, within: str, taken: set[int]) -> tuple[int, int]:
    """How much of the beginning of `wanted` stands in one piece where nothing else was found, and where."""
    low, high, found = 0, len(wanted), -1
    while low < high:
        middle = (low + high + 1) // 2
        at = _free(wanted[:middle], within, taken)
        if at >= 0:
            low, found = middle, at
        else:
            high = middle - 1
    return low, found


def _free(wanted: str, within: str, taken: set[int]) -> int:
    at = within.find(wanted)
    while at >= 0 and (at in taken or at + len(wanted) - 1 in taken):
        at = within.find(wanted, at + 1)
    return at
