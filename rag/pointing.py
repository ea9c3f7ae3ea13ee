"""Pointing: whether a question points back to what was said before it, by rule, in nine languages.

A question leans on the conversation if a word that points back comes before anything it names itself, if it
goes on with "and", or if it names nothing and has hardly a word of its own. Doubt is decided for the question
as it stands: of questions that stand by themselves at most one in twenty-five may be taken for another
(docs/decisions/0304-several-places.md).
"""

from __future__ import annotations

import re
import unicodedata

from rag.language import detect
from rag.names import QUESTION_WORDS, cased, names


def leans(question: str) -> bool:
    """Whether a question needs what was said before."""
    opening = _AND.match(question)
    rest = question[opening.end() :] if opening else question
    anchor = _anchor(rest)
    back = _refers_back(rest)
    if back is not None and back < anchor:
        return True
    own = own_words(rest)
    if opening is not None:
        return anchor > len(rest) or len(own) <= _FEW
    return anchor > len(rest) and len(own) < _FEW and not _DEFINES.match(rest.casefold())


def own_words(question: str) -> list[str]:
    """Words of the question that are neither question words nor very short; in Thai, which writes no spaces,
    pieces of a word's length."""
    if _THAI.search(question):
        bare = "".join(_THAI_EMPTY.sub("", question).split())
        return [bare[at : at + _THAI_WORD] for at in range(0, len(bare), _THAI_WORD)]
    return [word for word in plain(question).split() if word.casefold() not in _EMPTY and len(word) > 1]


def plain(question: str) -> str:
    """The question without punctuation."""
    kept = "".join(c if unicodedata.category(c)[0] in "LMN" or c in "'’-" else " " for c in question)
    return " ".join(kept.split())


def _anchor(question: str) -> int:
    """Offset of the first name of the question's own; beyond its end if there is none.

    What a question asks for ("Welche Rolle …") is no anchor.
    """
    asked = _ASKED_FOR.match(question)
    begins = asked.end() if asked else 0
    return min((at for _, at in names(question) if at >= begins), default=len(question) + 1)


def _refers_back(question: str) -> int | None:
    """Offset of the first word that points back."""
    language = detect(question) or ("en" if cased(question) else "")
    pattern = _BACK.get(language)
    if pattern is None:
        return None
    bare = _EXPLETIVE.sub(lambda found: "·" * len(found.group()), question)
    found = pattern.search(bare[:1].lower() + bare[1:])
    if found is None:
        return None
    before = bare[: found.start()]
    # Without capitals nobody can tell what is named before the word: it must stand near the beginning.
    if len(before.split()) >= _FIRST_WORDS.get(language, len(question)):
        return None
    if language == "hi" and _RELATIVE.search(bare[found.end() :]):
        return None
    if language == "th" and found.start() > 2 * _THAI_WORD:
        return None
    # French repeats the subject behind the verb: "Pourquoi la reine veut-elle …"
    repeated = language == "fr" and not found.group().startswith("ce") and _DETERMINER.search(before)
    return None if repeated else found.start()


def _joined(*listed: str) -> str:
    return "|".join(listed)


_FEW = 2
_FIRST_WORDS = {"hi": 3, "ar": 5}
_AND = re.compile(
    r"\s*(?:[¿¡]\s*)?(?:and|what about|how about|but|und|aber|et|mais|y|e|ma|pero|mas|और|तथा|लेकिन|แล้ว|และ|و)"
    r"(?:\s+|(?<=[แลวะ้]))",
    re.IGNORECASE,
)
_BEFORE, _AFTER = r"(?<![\w\u0900-\u0963'’])(?:", r")(?![\w\u0900-\u0963'’])"
_WORDS = {
    "en": _joined(
        r"he|she|it|they|him|her|his|hers|its|their|theirs|them|(?:this|these|those)(?! is\b)",
        r"(?<!are )(?<!is )(?<!was )(?<!were )there(?! (?:is|are|was|were|any|a|been|be)\b)",
        r"the (?:same|latter|former)",
    ),
    # "Sie" speaks to the reader, so case is kept
    "de": _joined(
        r"er|sie|ihn|ihm|ihnen|sein(?:e[rnms]?)?|ihr(?:e[rnms]?)?|dess?en|deren|dies(?:e[rnms]?)",
        r"dort|damals|davon|dafür|darin",
    ),
    "fr": _joined(
        r"il|elle|ils|elles|lui|leurs?|son|sa|ses|celui-ci|celle-ci|ceux-ci|cet|cette",
        r"y(?= [a-zéèê]+-)",
    ),
    "es": r"él|ella|ellos|ellas|su|sus|allí|aquel|aquella|est[ea]|est[oa]s",
    "it": r"lui|lei|loro|egli|essa|esso|essi|suoi?|sua|sue|quello|quella|quest[oaie]",
    "pt": r"el[ea]s?|del[ea]s?|seus?|suas?|nel[ea]|isso|est[ea]|ess[ea]",
    "hi": _joined(
        r"वह|वे|उस|उसे|उसका|उसकी|उसके|उसने|उन|उन्हें|उनका|उनकी|उनके|उन्होंने|उसमें|उनमें|उससे|उनसे",
        r"यह|ये|इस|इसे|इसका|इसकी|इसके|इसने|इन|इनका|इनकी|इनके|इन्हें|इसमें|इनमें|इससे",
    ),
    "ar": _joined(
        r"(?<!ما )(?<!من )(?:هو|هي|هم|هذا|هذه|ذلك|تلك)",
        r"هناك(?=[\s؟]*$)",
        r"(?<!\w)\w{2,}(?:ه|ها|هم|هما)(?=[\s؟]*$)",
    ),
}
_BACK = {code: re.compile(_BEFORE + words + _AFTER) for code, words in _WORDS.items()}
# Thai writes no spaces: where a word may begin is told by what stands before.
_BACK["th"] = re.compile(r"(?:^|\s|ของ|ให้|กับ|ที่)(?:พวก)?(?:เขา|เธอ|มัน)(?!ร์|ดิน)|ดังกล่าว")
_EXPLETIVE = re.compile(
    r"\b(?:y a-t-il|il y a|il faut|faut-il|s'agit-il|existe-t-il|il existe|arrive-t-il|est-il possible|"
    r"est-ce qu'il (?:y a|faut)|gibt es|it (?:take|takes|took|is possible|was possible)(?= |\?)|"
    r"(?:is|was|does|did|can|would|will) it (?=possible|true|take|mean|matter|rain|cost to|necessary))",
    re.IGNORECASE,
)
_RELATIVE = re.compile(r"(?<![\w\u0900-\u0963])(?:जो|जिस|जिन)")
_DETERMINER = re.compile(r"(?<![\w'’-])(?:l['’]|(?:les?|la|une?|des|du|ces?|cette|chaque)\s)", re.IGNORECASE)
_ASKED_FOR = re.compile(
    r"(?:[A-ZÄÖÜa-zäöü]{2,5} )?(?:[Ww]elche[mnrs]?|[Ww]ie ?viele?|[Ww]as für eine?[mnrs]?) "
    r"(?:[a-zäöüß]+ )*[A-ZÄÖÜ][\w-]+"
)
_DEFINES = re.compile(r"\s*¿?\s*(?:what|was|qu['’]est-ce|que|qué|che cosa|cos['’]|cosa|o que|define)\b")
_THAI = re.compile("[\u0e01-\u0e4e]")
_THAI_WORD = 6
_THAI_EMPTY = re.compile(
    "ใคร|อะไร|ใด|ไหน|เมื่อไหร่|เมื่อไร|เมื่อ|ที่|อย่างไร|ทำไม|เท่าไหร่|เท่าไร|กี่|คือ|เป็น|ของ|ใน|ปี|ได้|และ|แล้ว|"
    "เขา|เธอ|มัน|พวก|ล่ะ|[?]"
)
_FUNCTION_WORDS = (
    "the a an it he she they him her them his its their this that these those there then be been being "
    "der die das ein eine einen einem einer er sie es ihn ihm ihr und man denn dann "
    "le la les un une il elle ils elles y en et ce ces el los las una lo se su sus él ella "
    "gli i lo uno os as um uma ele ela se te "
    "क्या कौन कब कहाँ कहां क्यों कैसे कितना कितनी कितने किस किसने किसका किसकी किसके का की के को में से है हैं "
    "था थी थे हुआ हुई वह वे ने पर और "
    "ما من متى أين كيف لماذا كم هل في على إلى هو هي هم ماذا هذا هذه أي"
)
_EMPTY = QUESTION_WORDS | frozenset(_FUNCTION_WORDS.split())
