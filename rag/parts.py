"""Parts: the questions that stand in one question, told by rule.

Two questions joined ("Who founded it, and when was it sold?") and comparisons of two names ("A or B", "both A
and B"). A part is searched beside the whole, never in its place, so a wrong split costs one search and
nothing else.
"""

from __future__ import annotations

import re
from itertools import pairwise

from rag.follow_up import Turn, stand_alone
from rag.names import cased, names

MOST = 2
"""Parts of one question that are searched."""

_WORDS = (
    "who|whom|whose|what|which|when|where|why|how|"
    "wer|wen|wem|wessen|was|welche[mnrs]?|wann|wo|wohin|woher|warum|weshalb|wie|"
    "qui|que|quoi|quel(?:le)?s?|quand|où|pourquoi|comment|combien|"
    "quién(?:es)?|qué|cuál(?:es)?|cuándo|dónde|cómo|por qué|cuánt[oa]s?|"
    "chi|che cosa|cosa|quale|quali|quando|dove|perché|come|quant[oaie]|"
    "quem|o que|qual|quais|onde|por que|quant[oa]s?"
)
_AND = "and|und|et|y|e|ed"
_JOINED = re.compile(
    rf"[,;]?\s+(?:{_AND})\s+"
    r"(?=(?:(?:in|on|at|for|from|to|by|with|à|de|en|in welchem|seit|bis|von|a|da|di|per|por|em) )?"
    rf"(?:{_WORDS})\b)",
    re.IGNORECASE,
)
# Hindi, Thai and Arabic: the joining word and a question word somewhere behind it, and one before it.
_JOINED_ELSEWHERE = re.compile(
    r"\s+(?:और|तथा)\s+(?=.*(?:क्या|कौन|कब|कहाँ|कहां|क्यों|कैसे|कितन|किस))"
    r"|\s*(?:และ)(?=(?:.{0,30})(?:ใคร|อะไร|เมื่อไร|เมื่อใด|ที่ไหน|ทำไม|อย่างไร|เท่าไร))"
    r"|\s+و(?=(?:من|ما|ماذا|متى|أين|كيف|لماذا|كم)\s)"
)
_ASKS = re.compile(
    rf"\b(?:{_WORDS})\b|क्या|कौन|कब|कहाँ|कहां|क्यों|कैसे|कितन|किस|"
    r"ใคร|อะไร|เมื่อไร|เมื่อใด|ที่ไหน|ทำไม|อย่างไร|เท่าไร|"
    r"(?<!\w)(?:من|ما|ماذا|متى|أين|كيف|لماذا|كم)(?!\w)",
    re.IGNORECASE,
)
_EITHER = re.compile(
    r"^(?:,? (?:or|and|oder|und|ou|et|o|u|y|e|ed|versus|vs\.?)(?: (?:the|das|der|die|le|la|les|el|il|o|a))?"
    r"|,? (?:and|or) (?:director|performer|author|composer)s? of (?:the )?(?:film|song|album|book)s?) $",
    re.IGNORECASE,
)
_SENTENCES = re.compile(r"(?<=[?？؟])\s+(?=\S)")
_SHORTEST = 8
_FEWEST = 4
_BETWEEN = re.compile(r"\b(?:between|from|zwischen|von|entre|de|tra|fra|da|desde)\b[^,]*$", re.IGNORECASE)


def parts(question: str) -> list[str]:
    """The questions that stand in `question`, at most two, each so that it can be searched alone; empty where
    there is one only."""
    split = _questions(question)
    if len(split) > 1:
        first = split[0]
        return [first, *(stand_alone(part, [Turn(first)]) for part in split[1:MOST])]
    return _compared(question)


def _questions(question: str) -> list[str]:
    sentences = [each.strip() for each in _SENTENCES.split(question) if each.strip()]
    if len(sentences) > 1 and all(each[-1] in "?？؟" for each in sentences):
        return sentences
    for pattern in (_JOINED, _JOINED_ELSEWHERE):
        for joint in pattern.finditer(question):
            before, after = question[: joint.start()].strip(), question[joint.end() :].strip()
            enough = len(before.split()) >= _FEWEST or not cased(before)
            if enough and min(len(before), len(after)) >= _SHORTEST and _ASKS.search(before):
                return [before, after]
    return []


def _compared(question: str) -> list[str]:
    """The question once with each of two names that it sets side by side."""
    said = [(name, at) for name, at in names(question) if not any(c.isdigit() for c in name[:4])]
    for (one, at), (other, begin) in pairwise(said):
        end = at + len(one)
        side_by_side = _EITHER.match(question[end:begin].replace('"', ""))
        if side_by_side and not _BETWEEN.search(question[max(0, at - 30) : at]):
            after = question[begin + len(other) :]
            return [question[:end] + after, question[:at] + other + after]
    return []
