"""Where sentences begin and end, in Latin, Cyrillic, Greek, Arabic, Devanagari, Thai and CJK text.

Rules only, so that a sentence is found at the same place wherever and whenever it is looked for. A missed
boundary joins two sentences and is harmless; a false one tears a quote, so doubt is decided against it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator


def words_of(listed: str) -> frozenset[str]:
    """The words of a list that is written with spaces."""
    return frozenset(listed.split())


_CLOSERS = r"[\"'”’»›)\]}】」』〉》〕）］\u200d\u200f\u200e]"
# French and others write a space before a closing mark; with a word right behind it, the mark opens instead.
# German closes with the marks that others open with, behind a stop and without a space.
_CLOSER_APART = r"[ \u00a0\u2009\u202f][»›”]"
_AFTER_STOP = rf"(?:{_CLOSERS}|\[\d{{1,3}}\])*(?:{_CLOSER_APART}(?=\s|\Z))*"
_STOP = re.compile(
    rf"(?P<free>[。！？｡．]+|[।॥؟۔።។]+){_AFTER_STOP}"
    # A chat's control token (<|im_end|>) is no part of the sentence before it.
    rf"|(?P<spaced>[.!?…]+)[“‘«‹]*{_AFTER_STOP}(?=\s|\Z|<\|)"
    r"|(?P<danda>(?<=[\u0900-\u0963])\|)(?=\s|\Z)"
    r"|(?P<line>(?:\r\n|\r|\n|\f)[ \t\r\n\f]*)"
    r"|(?P<thai>(?<=[\u0e01-\u0e4e])[ \t\u00a0]+(?=[\u0e01-\u0e44]))"
)
# What a match of `_STOP` begins with: to look for that is faster than to try five ways at each character.
_FIRST = re.compile(r"[。！？｡．।॥؟۔።។.!?…|\r\n\f]")
_FIRST_IN_THAI = re.compile(_FIRST.pattern[:-1] + r" \t\u00a0]")
_THAI = re.compile(r"[\u0e01-\u0e4e]")
_CLOSES_BEFORE_MORE = re.compile(rf"{_CLOSER_APART}(?=[\s,;:.)\]])")
_LINE_END = re.compile(r"\r\n|\r|\n")
_BULLET = re.compile(r"(?:[-*+•‣◦–▪●]|\(?\d{1,3}[.)]|\(?[a-zA-Z][.)]|#{1,6})[ \t]+\S")
_ROW = re.compile(r" \| |^\|.*\|$")
_OPENERS = "\"'“‘„«‹([{¿¡【「『〈《—–-*_#•"
_LAST_TOKEN = re.compile(r"[^\s()\[\]\"“”«»„‘/—–]{1,24}\Z")
_ACRONYM = re.compile(r"(?:[^\W\d_]{1,2}\.)+[^\W\d_]{1,2}")

# Followed by a name, a number or the rest of the sentence: never its end.
_NEVER_LAST = words_of(
    "mr mrs ms dr prof rev hon st mt ft capt lt sgt maj adm cmdr gov sen rep pres messrs vs v cf viz "
    "e.g i.e eg ie nos vol vols eq eqs secs chap arts pp eds approx ca dept bzw z.b d.h u.a o.ä i.d.r "
    "s.o s.u vgl nr bd hr hrn fr frl st.-nr ing dipl str evtl ggf inkl zzgl mme mlle mm sté cie "
    "c.-à-d p.ex n° sr sra srta srs d dña dn ud uds vd pág págs núm lic arq exc excmo avda sig sigg "
    "sig.ra sig.na dott dott.ssa avv geom rag dra exmo exma prof.ª profa eng डॉ पं श्री प्रो कु सं "
    "क्र "
)
# May end a sentence: decided by what follows.
_SOMETIMES_LAST = words_of(
    "etc inc corp ltd co llc plc bros jr sr esq u.s u.k u.n e.u a.m p.m b.c a.d d.c ph.d m.d b.a m.a "
    "usw usf jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri sat sun gmbh ag kg "
    "s.a s.p.a s.r.l ecc ss sig.ri ee.uu no me es art est ch sec cap ext tel mag fig figs col gen app "
    "ed al av pag env abs p m "
)
# The names of Latin letters as Hindi and Arabic spell them in initials.
_SPELLED_INITIALS = words_of(
    "ए बी सी डी ई एफ जी एच आई जे के एल एम एन ओ पी क्यू आर एस टी यू वी डब्ल्यू डब्लू एक्स वाई जेड "
    "إيه بي سي دي إي إف جي إتش آي جيه كيه إل إم إن أو كيو آر إس تي يو في دبليو إكس واي"
)
STARTERS = words_of(
    "the a an it its in on at as he she we they this that these those there then when while for if "
    "but and or however although after before since by with from to our his her their you your i my "
    "under during no not one most many der die das ein eine es er sie wir im am auf nach bei mit für "
    "wenn als da dies diese dieser seit und aber le la les l un une il elle ils elles nous ce cette "
    "ces dans en au aux pour par avec après mais et el los las una con por para su sus se esta este "
    "estos estas pero y durante desde cuando lo gli nel nella nei per questo questa dopo ma e o os um "
    "uma na nos nas em com ele ela eles elas seu sua mas após "
)
_THAI_MINIMUM = 80
_THAI_REST = 20
_FIGURES = re.compile(r"[-–—($€£¥]*\d[\d.,]*[)%]*|[-–—$€£¥%]")


def sentence_spans(text: str, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """The sentences of `text[start:end]` as [start, end) code point offsets into `text`, white space trimmed.

    They are in order, do not overlap, and together hold every character that is not white space. A blank
    line, a list item's or table row's line end and a form feed end a sentence too. Thai marks none; it is
    cut at spaces between Thai letters once 80 characters have gathered (20 before a wider gap).
    """
    stop = len(text) if end is None else min(end, len(text))
    spans: list[tuple[int, int]] = []
    begin = start
    for match in _stops(text, start, stop):
        after = match.end()
        if after >= stop or not _ends(text, begin, match, stop):
            continue
        _append(spans, text, begin, match.start() if match.lastgroup in ("line", "thai") else after)
        begin = after
    _append(spans, text, begin, stop)
    return spans


def _stops(text: str, start: int, stop: int) -> Iterator[re.Match[str]]:
    """The matches of `_STOP`, in order and apart from each other."""
    first = _FIRST_IN_THAI if _THAI.search(text, start, stop) else _FIRST
    after = start
    for candidate in first.finditer(text, start, stop):
        if candidate.start() >= after and (match := _STOP.match(text, candidate.start(), stop)):
            after = match.end()
            yield match


def _append(spans: list[tuple[int, int]], text: str, begin: int, end: int) -> None:
    while begin < end and text[begin].isspace():
        begin += 1
    while end > begin and text[end - 1].isspace():
        end -= 1
    if begin < end:
        spans.append((begin, end))


def _ends(text: str, begin: int, match: re.Match[str], stop: int) -> bool:
    kind = match.lastgroup
    if kind not in ("line", "thai") and _CLOSES_BEFORE_MORE.match(text, match.end(), stop):
        return False
    if kind in ("free", "danda"):
        return True
    if kind == "line":
        return _line_ends(text, begin, match, stop)
    if kind == "thai":
        return _thai_ends(text, begin, match, stop)
    return _stop_ends(text, begin, match, stop)


def _line_ends(text: str, begin: int, match: re.Match[str], stop: int) -> bool:
    """Wrapped prose goes on over a line end; blank lines, items and table rows do not."""
    space = match.group()
    if space != "\n" and ("\f" in space or len(_LINE_END.findall(space)) >= 2):
        return True
    after = match.end()
    if _BULLET.match(text, after, min(stop, after + 12)):
        return True
    above = text[max(begin, _line_start(text, match.start())) : match.start()][-200:]
    below_end = min(stop, after + 200)
    next_break = _LINE_END.search(text, after, below_end)
    below = text[after : next_break.start() if next_break else below_end]
    return _is_row(above) or _is_row(below) or _is_figures(above) or _is_figures(below)


def _is_row(line: str) -> bool:
    """Whether a line is a row of a table with its cells marked."""
    return "\t" in line or ("|" in line and _ROW.search(line) is not None)


def _line_start(text: str, position: int) -> int:
    lowest = max(0, position - 200)
    return max(text.rfind("\n", lowest, position), text.rfind("\r", lowest, position), lowest - 1) + 1


def _is_figures(line: str) -> bool:
    """Whether a line is a row of a table of numbers."""
    if line[-1:].isalpha():
        return False
    words = line.split()
    if len(words) < 3 or line.rstrip().endswith((".", ";", ",")):
        return False
    if not (_FIGURES.fullmatch(words[-1]) and _FIGURES.fullmatch(words[-2])):
        return False  # nearly every line of prose is told by this
    return sum(any(map(str.isdigit, word)) for word in words) >= 2


def _thai_ends(text: str, begin: int, match: re.Match[str], stop: int) -> bool:
    minimum = _THAI_MINIMUM if len(match.group()) == 1 else _THAI_MINIMUM // 4
    if match.start() - begin < minimum:
        return False
    rest = text[match.end() : min(stop, match.end() + _THAI_REST)]
    return len(rest) >= _THAI_REST and "\n" not in rest


def _stop_ends(text: str, begin: int, match: re.Match[str], stop: int) -> bool:
    after = match.end()
    while after < stop and text[after].isspace():
        after += 1
    if after >= stop:
        return True
    following = text[after]
    opened = after
    while opened < stop and text[opened] in _OPENERS:
        opened += 1
    first = text[opened] if opened < stop and not text[opened].isspace() else following
    if first.islower() or following in ",;:)]%":
        return False
    mark = match.group("spaced")
    if mark != ".":
        return True
    dot = match.start("spaced")
    token = _LAST_TOKEN.search(text, max(begin, dot - 24), dot)
    if token is None:
        return True
    opens_sentence = dot - begin < 100 and not text[begin : token.start()].strip()
    return _word_ends(token.group(), opens_sentence, text, opened, stop)


def _word_ends(word: str, opens_sentence: bool, text: str, following: int, stop: int) -> bool:
    """Whether the full stop after `word` ends the sentence; a capital or an uncased letter follows it."""
    lowered = word.lower()
    starter = _next_word(text, following, stop) in STARTERS
    if lowered in _NEVER_LAST:
        return False
    if lowered in _SOMETIMES_LAST or _ACRONYM.fullmatch(word):
        return starter
    if word.isdigit() and len(word) <= 2:
        return starter and not opens_sentence
    if len(word) == 1 and word.isalpha():
        return starter and not opens_sentence
    if opens_sentence and re.fullmatch(r"[ivxlcIVXLC]{1,6}|[a-zA-Z]|\d{1,3}(?:\.\d{1,3})*", word):
        return False
    return word not in _SPELLED_INITIALS


def _next_word(text: str, position: int, stop: int) -> str:
    match = re.compile(r"[^\W\d_]+").match(text, position, min(stop, position + 20))
    return match.group().lower() if match else ""
