"""Names: the words of a question or passage that say what it is about, as far as writing shows them.

Capitals, quotation marks and digits show them in most scripts of Europe. Hindi, Thai and Arabic write names
like other words; there only quotation marks, Latin letters and digits do.
"""

from __future__ import annotations

import re

from rag.sentences import STARTERS

_CAPITAL = r"[A-ZÀ-ÖØ-ÞĀ-ŽΑ-ΩЀ-Я]"
_WORD = rf"(?:(?<![^\W_]){_CAPITAL}(?:[^\W_]|['’.\-](?=[^\W_]))*\.?)"
_LINK = r"(?:of the|of|de la|de las|de los|del|de|da|do|dos|di|della|du|des|la|van|von|&|bin|al)"
_RUN = re.compile(rf"{_WORD}(?: (?:{_LINK} )?(?:{_WORD}|\d{{1,4}}(?!\d)))*")
_QUOTED = re.compile(r"[\"“„«»‘「『](?P<said>[^\"“”„«»‘’「」『』\n]{2,80})[\"”“»«’」』]")
_CASED = re.compile(r"[A-Za-zÀ-ɏΑ-ωА-я]")
_CODE = re.compile(
    r"(?<![\w-])(?=[\w./-]*\d)(?=[\w./-]*[A-Za-z])[\w./-]{3,30}(?![\w-])|(?<![\d.,])\d[\d/-]+\d(?!\d)"
)

_LISTED = (
    "who whom whose what which when where why how is are was were do does did has have had can could will "
    "would should may might name list describe explain in on at for from to by with of about during after "
    "before under besides according since until besides along aside while if although "
    "wer wen wem wessen was welche welcher welches welchen welchem wann wo wohin woher warum wieso weshalb "
    "wie wieviel wieviele wodurch womit worauf wofür woran worin wovon ist sind war waren hat haben hatte "
    "hatten wird werden wurde wurden kann können nenne seit zu zur zum mit nach von aus auf bei im am an "
    "qui que quoi quel quelle quels quelles quand où pourquoi comment combien est sont était étaient a ont "
    "à dans en sur pour par avec selon depuis lequel laquelle lesquels duquel auquel de d' l' qu' "
    "quién quiénes qué cuál cuáles cuándo dónde cómo cuánto cuánta cuántos cuántas por es son era eran fue "
    "fueron según desde con para durante además tras "
    "chi che cosa quale quali quando dove perché come quanto quanta quanti quante è sono fu furono "
    "secondo da di con per durante dopo prima nel nella quem qual quais onde porque porquê quantos quantas "
    "é são foi foram em no na segundo com após"
)
QUESTION_WORDS = frozenset(_LISTED.split())
"""Words that a question begins with, and that are no name though they carry a capital there."""


def cased(text: str) -> bool:
    """Whether the text is written in a script with capitals."""
    letters = sum(c.isalpha() for c in text)
    return letters > 0 and 2 * len(_CASED.findall(text)) >= letters


def names(text: str) -> list[tuple[str, int]]:
    """Names in reading order with the offset of each; a quoted phrase and an identifier count as names.

    A question word or an article that only begins the sentence is left out.
    """
    found: list[tuple[int, int, str]] = [
        (match.start("said"), match.end("said"), match["said"].strip()) for match in _QUOTED.finditer(text)
    ]
    for match in _RUN.finditer(text):
        start, words = match.start(), match.group().split(" ")
        while words and words[0].casefold().strip(".,") in _NO_NAME:
            start += len(words.pop(0)) + 1
        name = " ".join(words).rstrip(".") if len(words) == 1 else " ".join(words)
        if len(name) > 1 and any(c.isalpha() for c in name):
            found.append((start, start + len(name), name))
    found += [(match.start(), match.end(), match.group()) for match in _CODE.finditer(text)]
    out: list[tuple[str, int]] = []
    reached = -1
    for start, end, name in sorted(found, key=lambda each: (each[0], -each[1])):
        if start >= reached:
            out.append((name, start))
            reached = end
    return out


_NO_NAME = QUESTION_WORDS | STARTERS
