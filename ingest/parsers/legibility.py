"""How well extracted text reads: the measure by which one of two PDF readers is chosen for a file."""

from __future__ import annotations

import re
import unicodedata

_SPACED_SCRIPTS = re.compile(r"[A-Za-zÀ-ɏͰ-ϿЀ-ӿ԰-֏]+")


def legibility(text: str) -> float:
    """0 (noise) to 1 (text). The product of three shares:

    - characters that are assigned and are neither controls, private use nor U+FFFD,
    - letters of spaced scripts that are not in words over 30 letters (spaces lost),
    - words that are not single letters in rows of three and more (spaces put between letters).
    """
    visible = [c for c in text[:20_000] if not c.isspace() and c not in "\ufffe\xad\x02"]
    if not visible:
        return 0.0
    bad = sum(c == "\ufffd" or unicodedata.category(c) in ("Cc", "Cn", "Co", "Cs") for c in visible)
    words = _SPACED_SCRIPTS.findall(text[:20_000])
    letters = sum(map(len, words))
    glued = sum(len(word) for word in words if len(word) > 30)
    shattered = run = 0
    for word in words:
        run = run + 1 if len(word) == 1 else 0
        shattered += 3 if run == 3 else 1 if run > 3 else 0
    share = 1 - bad / len(visible)
    return share * (1 - glued / letters if letters else 1.0) * (1 - shattered / len(words) if words else 1.0)
