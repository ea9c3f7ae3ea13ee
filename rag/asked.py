"""What kind of thing a question asks for, and where a text has things of that kind: dates, numbers, names.

Rules and short word lists for the languages that the service is measured in. A question of none of the known
forms asks for `thing`; that is no error, only a signal less.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from rag.sentences import STARTERS, words_of

Kind = Literal["date", "number", "person", "place", "thing"]
ValueKind = Literal["date", "number", "name"]

# In this order: "in welchem Jahr" asks for a date before "welchem" asks for a thing.
_FORMS: tuple[tuple[Kind, str], ...] = (
    (
        "date",
        r"\b(?:when|(?:what|which)(?: \w+)? (?:year|date|day|month|century|decade)|wann|"
        r"welche[mnrs]? (?:jahr\w*|datum|tag|monat)|cu[áa]ndo|qu[ée] (?:año|fecha|d[ií]a|mes|siglo)|quand|"
        r"quelle? (?:année|date|jour|mois)|quando|(?:che|quale|quali) (?:anno|data|giorno|mese)|"
        r"(?:que|qual) (?:ano|data|dia|mês)|en qu[ée] año|em que ano)\b|"
        r"कब|किस (?:वर्ष|साल|तारीख|तिथि)|متى|(?:أي|اي) (?:عام|سنة|تاريخ|يوم)|"
        r"เมื่อ(?:ไร|ใด|ไหร่)|ปี(?:ใด|ไหน|อะไร)|วันที่(?:เท่า|ใด)|\bdate\b",
    ),
    (
        "number",
        r"\bhow (?:many|much|long|far|old|tall|high|large|big|fast|deep|often|wide)\b|"
        r"\bwhat (?:\w+ )?(?:percentage|number|amount|fraction|proportion|population)\b|"
        r"\bwie ?viele?\b|\bwie (?:lange|hoch|groß|alt|weit|oft|lang|schnell)\b|\bcu[áa]nt[oa]s?\b|"
        r"\bcombien\b|\bwhat (?:do|does|did|would|will) .{1,60}\bcosts?\b|\bwas koste\w*|\bqué cuesta\b|"
        r"\bquant[oaie]s?\b|\bqu[ée] (?:porcentaje|cantidad)\b|कितन|كم|قي|จำนวนเท่า|เท่า(?:ไร|ใด|ไหร่)|กี่",
    ),
    (
        "person",
        r"\bwho(?:m|se)?\b|\bwe(?:r|n|m|ssen)\b|\bqui[ée]n(?:es)?\b|\bqui\b(?! est-ce que)|\bchi\b|\bquem\b|"
        r"कौन|किसने|किसके|किसकी|किसको|\bمن (?:هو|هي|هم|الذي|كان|قام|قاد)|^من\b|ใคร",
    ),
    (
        "place",
        r"\bwhere\b|\b(?:what|which) (?:city|country|state|place|town|region|location)\b|\bwo(?:her|hin)?\b|"
        r"\bd[óo]nde\b|\boù\b|\bdove\b|\bonde\b|कहाँ|कहां|أين|ที่ไหน|ที่ใด",
    ),
)
_KINDS = tuple((kind, re.compile(pattern, re.IGNORECASE)) for kind, pattern in _FORMS)


@lru_cache(maxsize=4096)
def asked_kind(question: str) -> Kind:
    """What a question asks for, by its question word."""
    for kind, pattern in _KINDS:
        if pattern.search(question):
            return kind
    return "thing"


@dataclass(frozen=True)
class Value:
    """A date, number or name at `[start, end)` of a text.

    `key` compares: (year, month, day) with 0 for what is not said, (number, unit), or the name's words in
    lower case.
    """

    kind: ValueKind
    key: tuple[int | float | str, ...]
    text: str
    start: int
    end: int


_MONTHS = (
    "january jan januar enero ene janvier gennaio janeiro जनवरी يناير มกราคม",
    "february feb februar febrero février febbraio fevereiro फरवरी فبراير กุมภาพันธ์",
    "march mar märz marzo mars março मार्च مارس มีนาคม",
    "april apr abril abr avril aprile अप्रैल أبريل إبريل เมษายน",
    "may mai mayo maggio maio मई مايو พฤษภาคม",
    "june jun juni junio juin giugno junho जून يونيو มิถุนายน",
    "july jul juli julio juillet luglio julho जुलाई يوليو กรกฎาคม",
    "august aug agosto août अगस्त أغسطس สิงหาคม",
    "september sep sept septiembre septembre settembre setembro सितंबर सितम्बर سبتمبر กันยายน",
    "october oct oktober okt octubre octobre ottobre outubro अक्टूबर अक्तूबर أكتوبر ตุลาคม",
    "november nov noviembre novembre novembro नवंबर नवम्बर نوفمبر พฤศจิกายน",
    "december dec dezember dez diciembre dic décembre dicembre dezembro दिसंबर दिसम्बर ديسمبر ธันวาคม",
)
_MONTH_OF = {word: number for number, words in enumerate(_MONTHS, start=1) for word in words.split()}
_MONTH = "|".join(sorted(map(re.escape, _MONTH_OF), key=len, reverse=True))
_YEAR = r"(?:1[0-9]\d\d|20\d\d|21\d\d)"
_DATE = re.compile(
    rf"(?<!\d)(?P<iy>{_YEAR})-(?P<im>\d\d)-(?P<id>\d\d)(?!\d)"
    rf"|(?<![^\W\d_])(?P<am>{_MONTH})\.? (?P<ad>\d{{1,2}})(?:st|nd|rd|th)?(?!\d)(?:,? (?P<ay>{_YEAR})(?!\d))?"
    rf"|(?<!\d)(?P<bd>\d{{1,2}})(?:\.|st|nd|rd|th|º)? (?:de |of |d')?(?P<bm>{_MONTH})(?![^\W\d_])\.?"
    rf"(?:,? (?:de |del )?(?P<by>{_YEAR})(?!\d))?"
    rf"|(?<![^\W\d_])(?P<cm>{_MONTH})\.?,? (?:de |del |of )?(?P<cy>{_YEAR})(?!\d)"
    rf"|(?<![\d.,$€£¥])(?P<dy>{_YEAR})(?![\d%]|[.,]\d)",
    re.IGNORECASE,
)
_SCALES = {
    "hundred": 1e2, "thousand": 1e3, "tausend": 1e3, "mil": 1e3, "mille": 1e3, "mila": 1e3,
    "million": 1e6, "millionen": 1e6, "millones": 1e6, "millón": 1e6, "milioni": 1e6, "milhões": 1e6,
    "millions": 1e6, "mio": 1e6, "billion": 1e9, "billions": 1e9, "milliarden": 1e9, "milliards": 1e9,
    "miliardi": 1e9, "bilhões": 1e9, "trillion": 1e12, "lakh": 1e5, "लाख": 1e5, "करोड़": 1e7, "हज़ार": 1e3,
    "हजार": 1e3, "مليون": 1e6, "مليار": 1e9, "ألف": 1e3, "ล้าน": 1e6,
}  # fmt: skip
_NUMBER = re.compile(
    r"(?<![\w.,])(?P<sign>[$€£¥]?)(?P<digits>\d+(?:[.,\u202f\u00a0]\d+)*)"
    r"(?: ?(?P<unit>%|percent|per cent|Prozent|por ciento|pour cent))?"
    rf"(?:[ -](?P<scale>{'|'.join(sorted(map(re.escape, _SCALES), key=len, reverse=True))})(?![^\W\d_]))?",
    re.IGNORECASE,
)
_DIGIT = re.compile(r"\d")
_NAME_WORD = r"(?:[^\W\d_a-z](?:[^\W\d_]|['’.-](?=[^\W\d_]))*)"
_NAME = re.compile(
    rf"{_NAME_WORD}(?: (?:(?:of|de|del|da|di|van|von|the|la|le) )?(?:{_NAME_WORD}|\d{{1,4}}))*"
)
_LONGEST_NAME = 6
_OPENERS = STARTERS | words_of(
    "did does do is was were are has have had can could would will should must may what which who whom whose "
    "where when why how name besides according hat haben ist war waren sind wurde wurden wird kann welche "
    "welcher welches welchen was wer wo wie warum qué quién cuál cuáles dónde cómo quel quelle quels qui que "
    "où comment pourquoi chi che quale quali dove come perché qual quais quem onde"
)


def values(text: str) -> tuple[Value, ...]:
    """Dates, numbers and names of a text in reading order; they do not overlap.

    Names are runs of words with capitals, so scripts without capitals have none. A number that is read as a
    year is a date.
    """
    plain = _western_digits(text)
    has_digits = _DIGIT.search(plain) is not None  # no date or number is without
    found = [_date(match) for match in _DATE.finditer(plain)] if has_digits else []
    taken = [(value.start, value.end) for value in found]
    for match in _NUMBER.finditer(plain) if has_digits else ():
        if _free(match.span(), taken) and (value := _number(match)):
            found.append(value)
            taken.append((value.start, value.end))
    for match in _NAME.finditer(plain):
        if (value := _name(match)) and _free((value.start, value.end), taken):
            found.append(value)
    return tuple(sorted(found, key=lambda value: value.start))


def _name(match: re.Match[str]) -> Value | None:
    """The run without the words that only begin a sentence; None where nothing with a capital is left."""
    start, words = match.start(), match.group().split(" ")
    while words and (words[0].casefold() in _OPENERS or not words[0][0].isupper()):
        start += len(words.pop(0)) + 1
    key = tuple(_bare(word) for word in words if word[0].isupper() or word[0].isdigit())
    if not 0 < len(key) <= _LONGEST_NAME:
        return None
    name = " ".join(words)
    return Value("name", key, name, start, start + len(name))


def _bare(word: str) -> str:
    return word.casefold().removesuffix("'s").removesuffix("’s")


def _free(span: tuple[int, int], taken: list[tuple[int, int]]) -> bool:
    return not any(span[0] < end and start < span[1] for start, end in taken)


def _western_digits(text: str) -> str:
    """Decimal digits of any script as 0 to 9; every character keeps its place."""
    if text.isascii():
        return text
    return "".join(str(unicodedata.decimal(c)) if not c.isascii() and c.isdecimal() else c for c in text)


def _date(match: re.Match[str]) -> Value:
    parts = {name: text for name, text in match.groupdict().items() if text}
    form = next(iter(parts))[0]
    year, day = int(parts.get(form + "y", 0)), int(parts.get(form + "d", 0))
    month = parts.get(form + "m", "0")
    number = int(month) if month.isdigit() else _MONTH_OF[month.casefold()]
    return Value("date", (year, number, day), match.group(), *match.span())


def _number(match: re.Match[str]) -> Value | None:
    digits = re.sub(r"[\u202f\u00a0]", "", match["digits"])
    groups = re.split(r"[.,]", digits)
    if len(groups) > 1 and all(len(group) == 3 for group in groups[1:]) and groups[0] != "0":
        number = float("".join(groups))
    else:
        number = float("".join(groups[:-1]) + "." + groups[-1]) if len(groups) > 1 else float(digits)
    number *= _SCALES.get((match["scale"] or "").casefold(), 1.0)
    unit = "%" if match["unit"] else match["sign"]
    return Value("number", (number, unit), match.group(), *match.span())


def same(one: Value, other: Value) -> bool:
    """Whether two values can be the same thing, said more or less exactly."""
    if one.kind != other.kind:
        return False
    if one.kind == "date":
        return all(a == b or not a or not b for a, b in zip(one.key, other.key, strict=True))
    if one.kind == "number":
        a, b = float(one.key[0]), float(other.key[0])
        return abs(a - b) <= 0.02 * max(abs(a), abs(b))
    return bool(set(one.key) & set(other.key))
