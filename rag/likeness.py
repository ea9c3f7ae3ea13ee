"""Likeness: cosines of a question with sentences, comparable between scripts, and what they say."""

from __future__ import annotations

from rag.unsaid import Script

SHIFTS: dict[Script, float] = {"arabic": 0.017, "devanagari": 0.006}
"""By how much cosines of questions with the sentences that answer them are lower than in Latin script."""

ABOUT = 0.82
"""Cosine of a sentence, shifted by script, from which it is about what was asked."""

NEAR = 0.80
"""The same, from which it may be: nineteen of twenty sentences that answer are above, and one of twenty on
something else (docs/decisions/0315-snippets-are-quoted-whole.md)."""


def shifted(similarity: float, script: Script) -> float:
    """The cosine as it would be in Latin script; `script` is the question's."""
    return similarity + SHIFTS.get(script, 0.0)
