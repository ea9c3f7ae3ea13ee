"""Which older encoding a Latin, Thai or Hebrew text is in, told by its letters and where they stand.

The letters below 0x80 tell the language whatever the encoding is; the others must then be letters of that
language. So Hungarian is not taken for Portuguese nor Turkish for Icelandic, whose bytes they share.
"""

from __future__ import annotations

import functools
import io
import re
import types
from typing import Any

SIGNS = frozenset("–—‘’‚“”„…«»‹›·•°§€£©®™ª º¿¡½¼¾²³´×\xa0¢¥±µ")
# Letters beyond a to z. Names from abroad bring others: a few are forgiven.
LETTERS = {
    "ca": "àçèéíïòóúü·",
    "cs": "áčďéěíňóřšťúůýž",
    "da": "æøåé",
    "de": "äöüßéàè",
    "en": "éèêëçñöüäïôâàáíóúß",
    "es": "áéíñóúü",
    "et": "äõöüšž",
    "fi": "äöåšž",
    "fr": "àâæçèéêëîïôœùûüÿ",
    "hr": "čćđšž",
    "hu": "áéíóöőúüű",
    "is": "áæðéíóöþúý",
    "it": "àèéìîòù",
    "lt": "ąčėęįšųūž",
    "lv": "āčēģīķļņšūž",
    "nl": "éëïóöüèáêç",
    "no": "æøåéòôê",
    "nn": "æøåéòôê",
    "pl": "ąćęłńóśźż",
    "pt": "àáâãçéêíóôõúü",
    "ro": "ăâîşţșț",
    "sk": "áäčďéíĺľňóôŕšťúýž",
    "sl": "čšž",
    "sq": "ëç",
    "sv": "åäöéà",
    "tr": "çğıîöşüâûİ",
}
_ENCODINGS = (
    *("cp1252", "cp1250", "cp1254", "cp1257", "iso8859_2", "iso8859_13", "iso8859_15"),
    *("cp850", "mac_roman", "cp852", "cp857", "cp775", "mac_latin2", "cp437"),
)
_SURE = 0.8
_ENOUGH = 40  # letters below 0x80
_MOST_ODD = 0.12


def latin(sample: bytes) -> str | None:
    """The encoding in which a sample has the letters of its language; None where there is none."""
    ascii_letters = sum(1 for b in sample if 65 <= b <= 90 or 97 <= b <= 122)
    high = sum(b >= 0x80 for b in sample)
    if ascii_letters < _ENOUGH or not high or high > ascii_letters * 0.6:
        return None
    best, best_odd = None, _MOST_ODD
    known: dict[str, str | None] = {}
    for encoding in _ENCODINGS:
        try:
            text = sample.decode(encoding)
        except UnicodeDecodeError:
            continue
        marks = "".join(c for c in text if c > "\x7f")
        if marks not in known:
            known[marks] = _language(text[:20_000])
        language = known[marks]
        odd = _share_odd(text, LETTERS[language]) if language else 1.0
        if odd < best_odd - 1e-9:
            best, best_odd = encoding, odd
    return best


def _language(text: str) -> str | None:
    language, probability = _identifier().classify(text)
    return str(language) if probability >= _SURE else None


def _in_memory(**_: Any) -> io.BytesIO:
    return io.BytesIO()


@functools.lru_cache(maxsize=1)
def _identifier() -> Any:
    from py3langid import modelio  # noqa: PLC0415  # half a second
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # noqa: PLC0415

    # The package unpacks its model into a temporary file; who reads documents can write none.
    files, modelio.tempfile = modelio.tempfile, types.SimpleNamespace(TemporaryFile=_in_memory)
    try:
        identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    finally:
        modelio.tempfile = files
    identifier.set_languages(sorted(LETTERS))
    return identifier


def _share_odd(text: str, letters: str) -> float:
    """The share of characters beyond ASCII that are no letters of the language, or stand where none does."""
    own = frozenset(letters + letters.upper())
    seen = odd = 0.0
    for before, char, after in zip(" " + text, text, text[1:] + " ", strict=False):
        if char < "\x80":
            continue
        seen += 1
        if char.isalpha() and char not in "ªº":
            strange = char not in own or (before.isalpha() and before.islower() and char.isupper())
        elif char in "½¼¾¤¨¸":
            strange = before.isalpha() or after.isalpha()
        else:
            strange = char not in SIGNS or (before.isalpha() and after.isalpha() and char not in "’·-–—\xa0…")
        odd += strange
    return odd / seen if seen else 1.0


# Thai: vowels and tones above or below a consonant follow one; vowels in front of one precede one.
_THAI = re.compile("[\u0e01-\u0e5b]")
_THAI_MARKS = re.compile("[\u0e31\u0e34-\u0e3a\u0e47-\u0e4e]")
_THAI_MISPLACED = re.compile(
    "(?<![\u0e01-\u0e2e\u0e31\u0e34-\u0e3a\u0e47-\u0e4e])[\u0e31\u0e34-\u0e3a\u0e47-\u0e4e]"
    "|[\u0e40-\u0e44](?![\u0e01-\u0e2e])"
)
_BESIDE_LATIN = re.compile(rb"[A-Za-z](?=[\x80-\xff])")
_HEBREW = re.compile("[\u05d0-\u05ea]")
_HEBREW_FINALS = re.compile("[ךםןףץ]")
_HEBREW_MISPLACED = re.compile("[ךםןףץ](?=[\u05d0-\u05ea])")


def by_script(sample: bytes) -> str | None:
    """The encoding of a text whose letters stand as Thai, Hebrew or Cyrillic ones do; else None."""
    high = sum(b >= 0x80 for b in sample)
    if len(_BESIDE_LATIN.findall(sample)) > high * 0.1:
        return None
    for encoding, letters, telling, misplaced, least in (
        ("cp874", _THAI, _THAI_MARKS, _THAI_MISPLACED, 0.1),
        ("cp1255", _HEBREW, _HEBREW_FINALS, _HEBREW_MISPLACED, 0.03),
    ):
        try:
            text = sample.decode(encoding)
        except UnicodeDecodeError:
            continue
        count = len(letters.findall(text))
        if count < max(8, high * 0.9):
            continue
        marks = len(telling.findall(text))
        if marks >= count * least and len(misplaced.findall(text)) <= marks * 0.05:
            return encoding
    return _cyrillic(sample, high)


_CYRILLIC = re.compile("[\u0401-\u045f\u0490\u0491]")
_CYRILLIC_FREQUENT = re.compile("[оеаинтсрОЕАИНТСР]")
_CYRILLIC_MISPLACED = re.compile(
    "(?<=[а-яёіїєґ])[А-ЯЁІЇЄҐ]|(?<=[а-яА-Я])[^\x00-\x7fА-яЁёІіЇїЄєҐґ’–—»…\xa0]"
    "|[^\x00-\x7fА-яЁёІіЇїЄєҐґ„“«‘–—№\xa0](?=[а-яА-Я])"
)


def _cyrillic(sample: bytes, high: int) -> str | None:
    """The encoding with the most frequent letters of Russian and its kin, and fewest capitals in words."""
    best, best_score = None, 0.4
    for encoding in ("cp1251", "koi8_r", "koi8_u", "cp866", "iso8859_5", "mac_cyrillic"):
        try:
            text = sample.decode(encoding)
        except UnicodeDecodeError:
            continue
        count = len(_CYRILLIC.findall(text))
        if count < max(20, high * 0.9):
            continue
        frequent = len(_CYRILLIC_FREQUENT.findall(text)) / count
        score = frequent - 4 * len(_CYRILLIC_MISPLACED.findall(text)) / count
        if score > best_score + 1e-9:
            best, best_score = encoding, score
    return best
