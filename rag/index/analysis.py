"""Turns text of any script into index terms, without guessing its language.

A word gives itself (case and diacritics folded) and its 4-grams with the word's borders, which stand in
for the stemmers and compound splitters of all languages at once. Scripts without spaces give character
3-grams (Thai, Lao, Khmer, Burmese) or single characters and pairs (Han, kana). Numbers keep their
separators. What looks like an identifier (letters and digits grown together or joined by marks: `800-63B`,
`FY2022`, `max_tokens`, `a@b.org`) is a term as a whole too, so that it is matched exactly. Neighbouring
words give a term of their order. The measurements behind these choices: docs/decisions/0201-lexical-index.md.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Terms = NDArray[np.uint64]

GRAM = 4
GRAM_BIT = 1 << 63
"""Set in the ids of 4-grams, which weigh less than whole words."""
PAIR_BIT = 1 << 62
"""Set in the ids of two words that follow one another (in scripts without spaces: of longer runs)."""
NAME_BIT = 1 << 61
"""Set in the ids of words of a title, file name or heading, which are indexed as a field of their own."""
CODE_BIT = 1 << 60
"""Set in the ids of identifiers."""
_HASH = CODE_BIT - 1
NAMES_END = "\x1f"
"""Ends the names before a chunk's text: the unit separator, which no name and no extracted text has."""

_SOUTH_EAST = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_EAST = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_TOKEN = re.compile(
    rf"(?P<number>\d+(?:[.,'\u066b\u066c]\d+)*)"
    rf"|(?P<east>[{_EAST}]+)"
    rf"|(?P<south>[{_SOUTH_EAST}]+)"
    # combining marks are no \w in `re`, yet part of the word in Devanagari and its relatives
    rf"|(?P<word>(?:(?![{_SOUTH_EAST}{_EAST}])[^\W\d_]"
    rf"[\u0300-\u036f\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0670"
    rf"\u0900-\u0903\u093a-\u094f\u0951-\u0957\u0962\u0963\u0981-\u0983\u09bc-\u09d7\u0a01-\u0a03\u0a3c-\u0a51"
    rf"\u0a81-\u0a83\u0abc-\u0acd\u0b01-\u0b03\u0b3c-\u0b57\u0b82\u0bbe-\u0bd7\u0c00-\u0c04\u0c3e-\u0c56"
    rf"\u0c81-\u0c83\u0cbc-\u0cd6\u0d00-\u0d03\u0d3b-\u0d57\u0d82-\u0ddf\u200c\u200d]*)+)"
)
_DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-") | {"\u00ad": None})
_RUN = re.compile(rf"(?:(?![{_SOUTH_EAST}{_EAST}])\w)+(?:[-./:+@#&](?:(?![{_SOUTH_EAST}{_EAST}])\w)+)*")
_MARKED = re.compile(r"[\d@_]")
_LONGEST_CODE = 80
_GROUPED = re.compile(r"\d{1,3}(?:[.,']\d{3})+")
# One letter written in several ways (Unicode names: hamza forms of alef, waw and yeh; teh marbuta; tatweel)
_ARABIC = str.maketrans(
    {
        "أ": "ا",
        "إ": "ا",
        "آ": "ا",
        "ٱ": "ا",
        "ى": "ي",
        "ی": "ي",
        "ک": "ك",
        "ة": "ه",
        "ؤ": "و",
        "ئ": "ي",
        "ـ": None,
    }
)
_DROPPED = str.maketrans(dict.fromkeys("\u200c\u200d\u093c", None)) | {0x0901: 0x0902}


def analyse(text: str) -> tuple[Terms, NDArray[np.int64]]:
    """Return the distinct terms of `text`, ascending, and how often each occurs.

    What comes before a `NAMES_END` are the names of the text: their terms count as the text's own, and their
    words once more as names.
    """
    names, ended, body = text.partition(NAMES_END)
    parts = [_plain(names), _plain(body)] if ended else [_plain(text)]
    ids = [term for part in parts for term in _terms(part)]
    if ended:
        ids.append(_as_names(parts[0]))
    return np.unique(np.concatenate(ids), return_counts=True)


def as_names(terms: Terms) -> Terms:
    """Return the ids that `terms`, words and identifiers, have where they stand in names."""
    return (terms & np.uint64(_HASH)) | np.uint64(NAME_BIT)


def is_word(terms: Terms) -> NDArray[np.bool_]:
    """Tell which of `terms` are whole words, numbers or identifiers, not parts, pairs or names."""
    parts: Terms = terms & np.uint64(GRAM_BIT | PAIR_BIT | NAME_BIT)
    whole: NDArray[np.bool_] = parts == np.uint64(0)
    return whole


def words(text: str) -> list[str]:
    """Return the tokens of `text` as they are looked up, for tests and explanations."""
    return [_fold(match.group()) for match in _tokens(text)]


def _plain(text: str) -> str:
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", text).translate(_DASHES).casefold()


def _tokens(text: str) -> list[re.Match[str]]:
    return list(_TOKEN.finditer(_plain(text)))


def _terms(plain: str) -> list[Terms]:
    """Return the terms of a text that `_plain` has made: its tokens' own, its identifiers, its pairs."""
    found: list[bytes] = []
    runs: list[tuple[bytes, int]] = []
    for match in _TOKEN.finditer(plain):
        kind, token = match.lastgroup or "", match.group()
        own = _encode(kind, token)
        found.append(own)
        if kind == "south":
            runs.append((own, 3))
        elif kind == "east":
            runs.append((own[8 * len(token) :], 1))
        else:
            runs.append((own[:8], 0))
    found += [_term(code, CODE_BIT) for code in codes(plain)]
    return [np.frombuffer(b"".join(found), dtype=np.uint64), *_pairs(runs)]


def codes(plain: str) -> list[str]:
    """Return the identifiers in a text: digits with letters or joining marks, and names with `_` or `@`."""
    found = []
    # most words have none of these marks, and splitting at blanks is quicker than the longer pattern
    for word in plain.split():
        if not _MARKED.search(word):
            continue
        for match in _RUN.finditer(word):
            run = match.group().strip("_")
            if len(run) > _LONGEST_CODE or run.isalpha() or run.isdigit():
                continue
            named = "@" in run or "_" in run
            if named or (any(c.isdigit() for c in run) and not all(c.isdigit() or c == "." for c in run)):
                found.append(run)
    return found


def _pairs(runs: list[tuple[bytes, int]]) -> list[Terms]:
    """Return the terms of what follows one another: first terms of words, or 3-grams three apart."""
    pairs: list[Terms] = []
    words: list[bytes] = []
    for own, step in [*runs, (b"", 1)]:
        if step == 0:
            words.append(own)
            continue
        for joined, apart in ((b"".join(words), 1), (own, step)):
            ids = np.frombuffer(joined, dtype=np.uint64)
            if len(ids) > apart:
                pairs.append(_joined(ids[:-apart], ids[apart:]))
        words = []
    return pairs


def _joined(first: Terms, second: Terms) -> Terms:
    """Name each ordered pair by mixing its two hashes (odd multipliers of SplitMix64, which wrap around)."""
    tangled: Terms = second ^ np.right_shift(second, np.uint64(29))
    mixed: Terms = first * np.uint64(0xBF58476D1CE4E5B9) + tangled * np.uint64(0x94D049BB133111EB)
    named: Terms = (mixed ^ np.right_shift(mixed, np.uint64(31))) & np.uint64(_HASH) | np.uint64(PAIR_BIT)
    return named


def _as_names(plain: str) -> Terms:
    own = [_encode(match.lastgroup or "", match.group()) for match in _TOKEN.finditer(plain)]
    own += [_term(code, CODE_BIT) for code in codes(plain)]
    terms = np.unique(np.frombuffer(b"".join(own), dtype=np.uint64))
    return np.unique(as_names(terms[is_word(terms)]))


@lru_cache(maxsize=1 << 16)
def _encode(kind: str, token: str) -> bytes:
    if kind == "word":
        word = _fold(token)
        bordered = f"_{word}_"
        grams = [bordered[i : i + GRAM] for i in range(len(bordered) - GRAM + 1)] if len(word) > 2 else []
        return _term(word) + b"".join(_term(gram, GRAM_BIT) for gram in grams)
    if kind == "number":
        plain = unicodedata.normalize("NFKD", token).replace(",", ".").replace("'", ".")
        number = "".join(str(unicodedata.digit(c)) if c.isdigit() else "." for c in plain)
        joined = number.replace(".", "") if _GROUPED.fullmatch(token) else ""
        return _term(number) + (_term(joined) if joined else b"")
    if kind == "south":
        return b"".join(_term(token[i : i + 3]) for i in range(max(1, len(token) - 2)))
    pairs = [token[i : i + 2] for i in range(len(token) - 1)]
    return b"".join(map(_term, [*token, *pairs]))


def _fold(word: str) -> str:
    word = word.translate(_ARABIC).translate(_DROPPED)
    if word.isascii():
        return word
    letters = unicodedata.normalize("NFKD", word)
    # accents, Hebrew points and Arabic vowels go; Indic vowel signs are letters and stay
    return "".join(c for c in letters if not ("\u0300" <= c <= "\u06ff" and unicodedata.combining(c)))


def _term(term: str, flag: int = 0) -> bytes:
    """Name a term by 60 bits of its hash: two of a million terms collide with a chance of 1 in a million."""
    number = int.from_bytes(blake2b(term.encode("utf-8", "replace"), digest_size=8).digest(), "little")
    return (number & _HASH | flag).to_bytes(8, "little")
