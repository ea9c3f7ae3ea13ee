"""Which older encoding a text is in, told by what each would make of it; refused where that does not tell."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from itertools import pairwise

import charset_normalizer

from ingest.errors import ParseError
from ingest.parsers import alphabets

SAMPLE = 64 * 1024
# Encodings met in the field; a longer list only adds look-alikes of these.
_WESTERN = ("cp1252", "mac_roman", "cp850", "iso8859_15")
USUAL = (
    *_WESTERN,
    *("cp1250", "iso8859_2", "cp852", "cp1251", "koi8_r", "koi8_u", "cp866", "iso8859_5", "mac_cyrillic"),
    *("cp1253", "iso8859_7", "cp1254", "cp1255", "iso8859_8", "cp1256", "iso8859_6", "cp1257", "cp874"),
    *("cp932", "euc_jp", "iso2022_jp", "gb18030", "big5", "cp949", "euc_kr"),
)
_EBCDIC = ("cp500", "cp037")
_TEXT_CONTROLS = frozenset("\t\n\v\f\r\x1b\x1a\x85")
HIGH = re.compile(rb"[\x80-\xff]")


@dataclass(frozen=True, slots=True)
class Decoded:
    """The text without its byte order mark, line ends as stored; `encoding` is a Python codec name."""

    text: str
    encoding: str


def looks_binary(data: bytes) -> bool:
    """Whether a sample holds more control bytes than any text encoding without NULs explains."""
    if not data:
        return False
    controls = sum(data.count(bytes((b,))) for b in range(32) if b not in (9, 10, 11, 12, 13, 26, 27))
    return controls > max(2, len(data) * 0.05)


def strict(data: bytes, encoding: str) -> Decoded | None:
    try:
        return Decoded(data.decode(encoding), encoding)
    except (UnicodeDecodeError, LookupError):
        return None


def guess(data: bytes) -> Decoded:
    """Decodes bytes that are no UTF. Raises ParseError `unsupported_type` for binary and doubtful ones."""
    ebcdic = _ebcdic(data)
    if ebcdic is not None:
        return ebcdic
    if looks_binary(data[:SAMPLE]):
        raise _binary()
    sample = _telling_sample(data)
    found = _asian(data, sample) or _by_letters(data, sample)
    if found is not None:
        return found
    matches = charset_normalizer.from_bytes(sample, cp_isolation=list(USUAL), threshold=0.2)
    ranked = [(str(m.encoding), float(m.coherence), str(m)) for m in matches]
    western = _western(data, sample)
    coherent = [entry for entry in ranked if entry[1] >= 0.25 and letters_plausible(entry[2])]
    if coherent:
        top = max(entry[1] for entry in coherent)
        rivals = [(*entry, _oddness(entry[2], 0.0)) for entry in coherent if entry[1] > top - 0.1]
        least = min(entry[3] for entry in rivals)
        rivals = [entry for entry in rivals if entry[3] <= least + 0.02]
        best = max(rivals, key=lambda entry: entry[1])
        found = strict(data, best[0])
        certain = least < 0.25 and _same_letters(best[2], [entry[2] for entry in rivals])
        if certain and found is not None and not _outdone(best[0], found.text, western):
            return found
    if western is not None:
        return western
    raise ParseError(
        "unsupported_type",
        "The text is in no encoding that can be told with certainty"
        + (f" (it may be {', '.join(sorted({e[0] for e in ranked[:3]}))})" if ranked else "")
        + ". Save it as UTF-8 and upload it again.",
    )


def _by_letters(data: bytes, sample: bytes) -> Decoded | None:
    encoding = alphabets.by_script(sample) or alphabets.latin(sample)
    return strict(data, encoding) if encoding else None


_KANA = re.compile(r"[\u3041-\u30ff]")
_HANGUL = re.compile(r"[\uac00-\ud7a3]")
_HAN = re.compile(r"[\u4e00-\u9fff]")
_BESIDE_LATIN = re.compile(r"(?<=[a-z])[\u3041-\u30ff\u4e00-\u9fff\uac00-\ud7a3]")
_HALF_WIDTH = re.compile(r"[\uff61-\uff9f]")
_FREQUENT_HAN = re.compile(
    "[的一是在不了有和人这這中大为為上个個国國我以要他时時来來用们們生到作地于於出就分对對成会會可主发發年]"
)
_ASIAN: tuple[tuple[str, re.Pattern[str], float], ...] = (
    ("iso2022_jp", _KANA, 0.15),
    ("cp932", _KANA, 0.15),
    ("euc_jp", _KANA, 0.15),
    ("cp949", _HANGUL, 0.6),
    ("gb18030", _FREQUENT_HAN, 0.08),
    ("big5", _FREQUENT_HAN, 0.08),
)


def _asian(data: bytes, sample: bytes) -> Decoded | None:
    """The one multi-byte encoding whose text has the letters that its language cannot do without."""
    best: Decoded | None = None
    best_score = 1.0
    for encoding, typical, least in _ASIAN:
        try:
            text = sample.decode(encoding)
        except UnicodeDecodeError:
            continue
        letters = sum(len(p.findall(text)) for p in (_KANA, _HANGUL, _HAN, _HALF_WIDTH))
        if letters < 8 or len(_HALF_WIDTH.findall(text)) > letters * 0.2:
            continue
        if len(_BESIDE_LATIN.findall(text)) > letters * 0.3:
            continue
        score = len(typical.findall(text)) / letters / least
        if score > best_score and letters >= sum(c.isalpha() and c > "\x7f" for c in text) * 0.9:
            found = strict(data, encoding)
            if found is not None:
                best, best_score = found, score
    return best


def _binary() -> ParseError:
    return ParseError(
        "unsupported_type",
        "The content is binary and of no known document type. Upload a document or its text.",
    )


def _telling_sample(data: bytes) -> bytes:
    """The lines that hold bytes beyond ASCII, up to 64 KiB: ASCII lines tell nothing of the encoding."""
    if len(data) <= SAMPLE // 4:
        return data
    kept: list[bytes] = []
    size = 0
    for line in data.split(b"\n"):
        if size >= SAMPLE:
            break
        if b"\x1b" in line or not line.isascii():
            kept.append(line[: SAMPLE - size])
            size += len(kept[-1]) + 1
    return b"\n".join(kept)


def _western(data: bytes, sample: bytes) -> Decoded | None:
    """Mostly ASCII with a few accented letters or typographic signs: Windows-1252, as browsers assume."""
    high = HIGH.findall(sample)
    letters = sum(1 for b in sample if 65 <= b <= 90 or 97 <= b <= 122)
    if not high or letters < 4 or len(high) > letters * 0.8:
        return None
    best: Decoded | None = None
    best_odd = 0.34 if len(high) < letters * 0.3 else 0.1
    for encoding in _WESTERN:
        found = strict(data, encoding)
        if found is None:
            continue
        odd = _oddness(found.text, 0.5)
        if odd < best_odd:
            best, best_odd = found, odd
    return best


_ALONE = frozenset("àéèóáíúêôÀÉÈÓÁÍÚªº")
_COMMON_ACCENTED = frozenset("äöüÄÖÜßàâçéèêëîïôùûœæÀÂÇÉÈÊáíóúñÁÍÓÚÑãõÃÕåøÅØÆìòŠšŽž")


def _outdone(encoding: str, text: str, western: Decoded | None) -> bool:
    """Whether the Western reading is better than one that the language statistics favour."""
    if western is None:
        return False
    return encoding in _WESTERN or _oddness(text, 0.0) > _oddness(western.text, 0.0) + 0.05


def _oddness(text: str, rare: float) -> float:
    """The share of characters beyond ASCII that do not belong where they stand; rare letters weigh `rare`."""
    seen = odd = 0.0
    text = text[:SAMPLE]
    for before, char, after in zip(" " + text, text, text[1:] + " ", strict=False):
        if char < "\x80":
            continue
        seen += 1
        if char.isalpha():
            lower_before_upper = before.isalpha() and before.islower() and char.isupper()
            inside = before.isalpha() or after.isalpha()
            alone = not inside and char not in _ALONE
            odd += 1.0 if lower_before_upper or alone else 0.0 if char in _COMMON_ACCENTED else rare
        elif char not in alphabets.SIGNS or (
            before.isalpha() and after.isalpha() and char not in "’·-–—\xa0…"
        ):
            odd += 1.0
    return odd / seen if seen else 0.0


def _ebcdic(data: bytes) -> Decoded | None:
    """EBCDIC: the space is 0x40, and most other bytes are letters at 0x81 and above."""
    sample = data[:SAMPLE]
    if (
        len(sample) < 16
        or sample.count(0x40) < len(sample) * 0.05
        or sample.count(0x20) > sample.count(0x40) / 8
    ):
        return None
    best: Decoded | None = None
    best_signs = 0
    for encoding in _EBCDIC:
        found = strict(data, encoding)
        if found is None or control_share(found.text) > 0.01:
            continue
        text = found.text[:SAMPLE]
        wordlike = sum(c.isascii() and (c.isalnum() or c in " .,;:'\"()-\n\r\x85") for c in text)
        # The family differs in a few signs only: the member whose text has fewer rare ones is taken.
        signs = sum(text.count(c) for c in "¢¬|¦~^{}[]§")
        if wordlike > len(text) * 0.9 and (best is None or signs < best_signs):
            best, best_signs = found, signs
    return best


def control_share(text: str) -> float:
    """Share of control characters that no text has; NULs count (a few are forgiven by the caller's bound)."""
    if not text:
        return 0.0
    step = max(1, len(text) // 200_000)
    sample = text[::step]
    bad = sum(1 for c in set(sample) if unicodedata.category(c) in ("Cc", "Cn") and c not in _TEXT_CONTROLS)
    if not bad:
        return 0.0
    counted = sum(unicodedata.category(c) in ("Cc", "Cn") and c not in _TEXT_CONTROLS for c in sample)
    return counted / len(sample)


def letters_plausible(text: str) -> bool:
    """Words mix no scripts, and capitals do not follow small letters inside them."""
    words = wrong = 0
    for word in re.findall(r"[^\W\d_]{2,}", text[:SAMPLE]):
        words += 1
        scripts = {unicodedata.name(c, "?").split(" ", 1)[0] for c in set(word)} - {"COMBINING", "?"}
        japanese = scripts <= {
            "CJK",
            "HIRAGANA",
            "KATAKANA",
            "KATAKANA-HIRAGANA",
            "FULLWIDTH",
            "HALFWIDTH",
            "LATIN",
        }
        mixed = len(scripts) > 1 and not japanese
        broken_case = bool(re.search(r"[^\W\d_A-Z]", word)) and _case_breaks(word)
        wrong += mixed or broken_case
    return words > 0 and wrong <= words * 0.1


def _case_breaks(word: str) -> bool:
    return any(a.islower() and b.isupper() for a, b in pairwise(word))


def _same_letters(text: str, others: list[str]) -> bool:
    """Whether rival readings differ from `text` in signs only, as those of KOI8-R and KOI8-U do."""
    letters = re.sub(r"[\W_]+", " ", text)
    return all(re.sub(r"[\W_]+", " ", other) == letters for other in others)
