"""Bytes to text: byte order marks, UTF-8, UTF-16/32 without a mark, then the usual older encodings.

Never mojibake: where the encodings that fit give different texts and nothing tells which is right, the
file is refused with the remedy.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from dataclasses import dataclass

import charset_normalizer

from ingest.errors import ParseError

REPLACEMENT = "\ufffd"
_SAMPLE = 64 * 1024
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Encodings met in the field; a longer list only adds look-alikes of these.
_WESTERN = ("cp1252", "mac_roman", "cp850", "iso8859_15")
_USUAL = (
    *_WESTERN,
    *("cp1250", "iso8859_2", "cp852", "cp1251", "koi8_r", "koi8_u", "cp866", "iso8859_5", "mac_cyrillic"),
    *("cp1253", "iso8859_7", "cp1254", "cp1255", "iso8859_8", "cp1256", "iso8859_6", "cp1257", "cp874"),
    *("cp932", "euc_jp", "iso2022_jp", "gb18030", "big5", "cp949", "euc_kr"),
)
_EBCDIC = ("cp500", "cp037", "cp273")
_TEXT_CONTROLS = frozenset("\t\n\v\f\r\x1b\x1a\x85")
_HIGH = re.compile(rb"[\x80-\xff]")
_SEQUENCE = re.compile(rb"[\xc2-\xf4][\x80-\xbf]{1,3}")


@dataclass(frozen=True, slots=True)
class Decoded:
    """The text without its byte order mark, line ends as stored; `encoding` is a Python codec name."""

    text: str
    encoding: str


def decode(data: bytes, declared: str | None = None) -> Decoded:
    """Decodes a whole file; `declared` is what the file says of itself (an HTML meta element).

    A NUL becomes U+FFFD (PostgreSQL cannot store it), so the length is that of the file's own text.
    Raises ParseError: `empty`, `unsupported_type` (binary, or no encoding fits), `corrupt` (a byte order
    mark that lies).
    """
    if not data:
        raise ParseError("empty", "The file has no bytes. Upload a file with content.")
    found = _by_mark(data) or _strict(data, "utf-8") or _wide_without_mark(data) or _damaged_utf8(data)
    if found is None and declared:
        found = _declared(data, declared)
    if found is None:
        found = _guess(data)
    share = _control_share(found.text)
    if share > 0.02:
        raise ParseError(
            "unsupported_type",
            f"The content is binary: {share:.0%} of it are control characters. Upload a document or its text.",
        )
    return Decoded(found.text.replace("\x00", REPLACEMENT), found.encoding)


def looks_binary(data: bytes) -> bool:
    """Whether a sample holds more control bytes than any text encoding without NULs explains."""
    if not data:
        return False
    controls = sum(data.count(bytes((b,))) for b in range(32) if b not in (9, 10, 11, 12, 13, 26, 27))
    return controls > max(2, len(data) * 0.05)


def _strict(data: bytes, encoding: str) -> Decoded | None:
    try:
        return Decoded(data.decode(encoding), encoding)
    except (UnicodeDecodeError, LookupError):
        return None


def _by_mark(data: bytes) -> Decoded | None:
    for mark, encoding in _BOMS:
        if not data.startswith(mark):
            continue
        found = _strict(data[len(mark) :], encoding)
        if found is not None and (found.text or encoding != "utf-16-le"):
            return found
        if encoding == "utf-8":
            return _damaged_utf8(data[len(mark) :])
        if encoding.startswith("utf-16"):
            raise ParseError(
                "corrupt",
                f"The file starts with the byte order mark of {encoding} but does not decode so. "
                "Save it again as UTF-8.",
            )
    return None


def _wide_without_mark(data: bytes) -> Decoded | None:
    """UTF-16 or UTF-32 without a mark shows by where its zero bytes stand."""
    sample = data[:_SAMPLE]
    size = len(sample)
    if size < 8 or sample.count(0) < size * 0.1:
        return None
    zeros = [sample[i::4].count(0) / max(1, len(sample[i::4])) for i in range(4)]
    candidates: list[str] = []
    if min(zeros[2:]) > 0.9 and zeros[0] < 0.5:
        candidates.append("utf-32-le")
    if min(zeros[:2]) > 0.9 and zeros[3] < 0.5:
        candidates.append("utf-32-be")
    if zeros[1] + zeros[3] > 3 * (zeros[0] + zeros[2]):
        candidates.append("utf-16-le")
    if zeros[0] + zeros[2] > 3 * (zeros[1] + zeros[3]):
        candidates.append("utf-16-be")
    for encoding in candidates:
        found = _strict(data, encoding)
        if found is not None and _control_share(found.text) < 0.01 and _letters_plausible(found.text):
            return found
    return None


def _damaged_utf8(data: bytes) -> Decoded | None:
    """UTF-8 with a few bad bytes (a cut end, a pasted quotation mark) reads with U+FFFD in their place."""
    high = len(_HIGH.findall(data))
    valid = sum(len(m.group()) for m in _SEQUENCE.finditer(data))
    if high - valid > max(3, high * 0.02) or valid < 8:
        return None
    text = data.decode("utf-8", "replace")
    return Decoded(text, "utf-8") if text.count(REPLACEMENT) <= max(3, len(text) // 500) else None


def _declared(data: bytes, name: str) -> Decoded | None:
    try:
        encoding = codecs.lookup(name).name
    except LookupError:
        return None
    # Pages that say Latin-1 are Windows-1252 in practice (WHATWG Encoding Standard, section 4.2).
    encoding = "cp1252" if encoding in ("iso8859-1", "ascii") else encoding
    if encoding not in {codecs.lookup(usual).name for usual in _USUAL}:
        return None
    text = data.decode(encoding, "replace")
    if text.count(REPLACEMENT) > len(text) // 200:
        return None
    return Decoded(text, encoding)


def _guess(data: bytes) -> Decoded:
    ebcdic = _ebcdic(data)
    if ebcdic is not None:
        return ebcdic
    if looks_binary(data[:_SAMPLE]):
        raise _binary()
    sample = _telling_sample(data)
    matches = charset_normalizer.from_bytes(sample, cp_isolation=list(_USUAL), threshold=0.2)
    ranked = [(str(m.encoding), float(m.coherence), str(m)) for m in matches]
    western = _western(data, sample)
    coherent = [entry for entry in ranked if entry[1] >= 0.25 and _letters_plausible(entry[2])]
    if coherent:
        best = max(coherent, key=lambda entry: entry[1])
        rivals = [e for e in coherent if e[2] != best[2] and e[1] > best[1] - 0.05]
        if not rivals or _same_letters(best[2], [e[2] for e in rivals]):
            found = _strict(data, best[0])
            if found is not None and not (western is not None and best[0] in _WESTERN):
                return found
    if western is not None:
        return western
    raise ParseError(
        "unsupported_type",
        "The text is in no encoding that can be told with certainty"
        + (f" (it may be {', '.join(sorted({e[0] for e in ranked[:3]}))})" if ranked else "")
        + ". Save it as UTF-8 and upload it again.",
    )


def _binary() -> ParseError:
    return ParseError(
        "unsupported_type",
        "The content is binary and of no known document type. Upload a document or its text.",
    )


def _telling_sample(data: bytes) -> bytes:
    """The lines that hold bytes beyond ASCII, up to 64 KiB: ASCII lines tell nothing of the encoding."""
    if len(data) <= _SAMPLE // 4:
        return data
    kept: list[bytes] = []
    size = 0
    for line in data.split(b"\n"):
        if size >= _SAMPLE:
            break
        if b"\x1b" in line or not line.isascii():
            kept.append(line[: _SAMPLE - size])
            size += len(kept[-1]) + 1
    return b"\n".join(kept)


def _western(data: bytes, sample: bytes) -> Decoded | None:
    """Mostly ASCII with a few accented letters or typographic signs: Windows-1252, as browsers assume."""
    high = _HIGH.findall(sample)
    letters = sum(1 for b in sample if 65 <= b <= 90 or 97 <= b <= 122)
    if not high or letters < 4 or len(high) > letters * 0.45:
        return None
    best: Decoded | None = None
    best_odd = 0.34
    for encoding in _WESTERN:
        found = _strict(data, encoding)
        if found is None:
            continue
        odd = _oddness(found.text[:_SAMPLE])
        if odd < best_odd:
            best, best_odd = found, odd
    return best


_PLAUSIBLE_SIGNS = frozenset("–—‘’‚“”„…«»‹›·•°§€£©®™ª º¿¡½¼¾²³´×\xa0†‡¢¥±µ")
_COMMON_ACCENTED = frozenset("äöüÄÖÜßàâçéèêëîïôùûœæÀÂÇÉÈÊáíóúñÁÍÓÚÑãõÃÕåøÅØÆìòŠšŽž")


def _oddness(text: str) -> float:
    """The share of characters beyond ASCII that do not belong where they stand in a Western text."""
    seen = odd = 0.0
    for before, char, after in zip(" " + text, text, text[1:] + " ", strict=False):
        if char < "\x80":
            continue
        seen += 1
        if char.isalpha():
            lower_before_upper = before.isalpha() and before.islower() and char.isupper()
            inside = before.isalpha() or after.isalpha()
            odd += 1.0 if lower_before_upper or not inside else 0.0 if char in _COMMON_ACCENTED else 0.5
        elif char not in _PLAUSIBLE_SIGNS or (
            before.isalpha() and after.isalpha() and char not in "’·-–—\xa0…"
        ):
            odd += 1.0
    return odd / seen if seen else 0.0


def _ebcdic(data: bytes) -> Decoded | None:
    """EBCDIC: the space is 0x40, and most other bytes are letters at 0x81 and above."""
    sample = data[:_SAMPLE]
    if (
        len(sample) < 16
        or sample.count(0x40) < len(sample) * 0.05
        or sample.count(0x20) > sample.count(0x40) / 8
    ):
        return None
    best: Decoded | None = None
    best_signs = 0
    for encoding in _EBCDIC:
        found = _strict(data, encoding)
        if found is None or _control_share(found.text) > 0.01:
            continue
        text = found.text[:_SAMPLE]
        wordlike = sum(c.isascii() and (c.isalnum() or c in " .,;:'\"()-\n\r\x85") for c in text)
        # The family differs in a few signs only: the member whose text has fewer rare ones is taken.
        signs = sum(text.count(c) for c in "¢¬|¦~^{}[]§!")
        if wordlike > len(text) * 0.9 and (best is None or signs < best_signs):
            best, best_signs = found, signs
    return best


def _control_share(text: str) -> float:
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


def _letters_plausible(text: str) -> bool:
    """Words mix no scripts, and capitals do not follow small letters inside them."""
    words = wrong = 0
    for word in re.findall(r"[^\W\d_]{2,}", text[:_SAMPLE]):
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
    return any(a.islower() and b.isupper() for a, b in zip(word, word[1:], strict=False))


def _same_letters(text: str, others: list[str]) -> bool:
    """Whether rival readings differ from `text` in signs only (KOI8-R and KOI8-U, the Windows and ISO pairs)."""
    letters = re.sub(r"[\W_]+", " ", text)
    return all(re.sub(r"[\W_]+", " ", other) == letters for other in others)
