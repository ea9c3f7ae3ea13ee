"""Terms: what two texts have in common, in any script, without a dictionary.

Words are cut into overlapping runs of four characters (two in scripts that write many words without a space
and with characters for syllables or words), so that endings, compounds and languages without spaces need no
tokeniser of their own (McNamee and Mayfield 2004, "Character N-Gram Tokenization for European Language Text
Retrieval").
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

Terms = frozenset[str]

_LENGTH = 4


def terms(text: str) -> Terms:
    """The set of a text's terms, case folded; words are padded so that short ones have a term too."""
    found: set[str] = set()
    for word in "".join(map(_letter, text.casefold())).split():
        if _ideographic(word[0]):
            found.update(word[i : i + 2] for i in range(max(1, len(word) - 1)))
        else:
            padded = f"_{word}_"
            found.update(padded[i : i + _LENGTH] for i in range(max(1, len(padded) - _LENGTH + 1)))
    return frozenset(found)


def rarity(question: Terms, among: Sequence[Terms]) -> dict[str, float]:
    """Weight of each of the question's terms: the inverse document frequency among the given texts (Robertson
    and Zaragoza 2009, equation 3, kept positive by adding 1 inside the logarithm)."""
    counts = Counter(term for each in among for term in each & question)
    total = len(among)
    return {
        term: math.log1p((total - counts[term] + 0.5) / (counts[term] + 0.5)) for term in sorted(question)
    }


def coverage(weights: Mapping[str, float], text: Iterable[str]) -> float:
    """Share from 0 to 1, by weight, of the question's terms that the text has."""
    total = sum(weights.values())
    there = text if isinstance(text, frozenset) else frozenset(text)
    # Summed in the order of the weights: sums of floats depend on the order, and answers must repeat exactly.
    return sum(weight for term, weight in weights.items() if term in there) / total if total else 0.0


@lru_cache(maxsize=65536)
def _letter(character: str) -> str:
    # Marks belong to the word: Thai and Hindi vowels are marks.
    return character if unicodedata.category(character)[0] in "LMN" else " "


@lru_cache(maxsize=65536)
def _ideographic(character: str) -> bool:
    return any(low <= character <= high for low, high in _IDEOGRAPHIC)


_IDEOGRAPHIC = (("\u3040", "\u30ff"), ("\u3400", "\u9fff"), ("\uf900", "\ufaff"))
