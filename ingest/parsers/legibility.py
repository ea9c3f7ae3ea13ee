"""How well extracted text reads: the measure by which one of two PDF readers is chosen for a file."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_NO_MATTER = frozenset("\ufffe\xad\x02")
_SPACED_SCRIPTS = re.compile(r"[A-Za-zÀ-ɏͰ-ϿЀ-ӿ԰-֏]+")


def legibility(text: str) -> float:
    """0 (noise) to 1 (text). The product of three shares:

    - characters that are assigned and are neither controls, private use nor U+FFFD,
    - letters of spaced scripts that are not in words over 30 letters (spaces lost),
    - words that are not single letters in rows of three and more (spaces put between letters).
    """
    text = text[:20_000]
    seen = "".join(text.split())
    kinds = set(seen)
    visible = len(seen) - sum(seen.count(c) for c in kinds & _NO_MATTER)
    if not visible:
        return 0.0
    bad = sum(seen.count(c) for c in kinds - _NO_MATTER if _is_bad(c))
    words = _SPACED_SCRIPTS.findall(text)
    lengths = list(map(len, words))
    letters = sum(lengths)
    glued = sum(length for length in lengths if length > 30)
    shattered = run = 0
    for length in lengths if lengths.count(1) >= 3 else ():
        run = run + 1 if length == 1 else 0
        shattered += 3 if run == 3 else 1 if run > 3 else 0
    share = 1 - bad / visible
    return share * (1 - glued / letters if letters else 1.0) * (1 - shattered / len(words) if words else 1.0)


@lru_cache(maxsize=4096)
def _is_bad(character: str) -> bool:
    return character == "\ufffd" or unicodedata.category(character) in ("Cc", "Cn", "Co", "Cs")
