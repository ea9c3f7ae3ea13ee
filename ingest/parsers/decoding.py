"""Bytes to text: byte order marks, UTF-8, UTF-16/32 without a mark, then the usual older encodings.

Never mojibake: where the encodings that fit give different texts and nothing tells which is right, the
file is refused with the remedy.
"""

from __future__ import annotations

import codecs
import re

from ingest.errors import ParseError
from ingest.parsers.guessing import (
    HIGH,
    SAMPLE,
    USUAL,
    Decoded,
    control_share,
    guess,
    letters_plausible,
    strict,
)

REPLACEMENT = "\ufffd"
_MAX_CONTROLS = 0.02
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SEQUENCE = re.compile(rb"[\xc2-\xf4][\x80-\xbf]{1,3}")


def decode(data: bytes, declared: str | None = None) -> Decoded:
    """Decodes a whole file; `declared` is what the file says of itself (an HTML meta element).

    A NUL becomes U+FFFD (PostgreSQL cannot store it), so the length is that of the file's own text.
    Raises ParseError: `empty`, `unsupported_type` (binary, or no encoding fits), `corrupt` (a byte order
    mark that lies).
    """
    if not data:
        raise ParseError("empty", "The file has no bytes. Upload a file with content.")
    found = _by_mark(data) or _utf8(data) or _wide_without_mark(data) or _damaged_utf8(data)
    if found is None and declared:
        found = _declared(data, declared)
    if found is None:
        found = guess(data)
    share = control_share(found.text)
    if share > _MAX_CONTROLS:
        raise ParseError(
            "unsupported_type",
            f"The content is binary: {share:.0%} of it are control characters. Upload a document or text.",
        )
    return Decoded(found.text.replace("\x00", REPLACEMENT), found.encoding)


def _utf8(data: bytes) -> Decoded | None:
    """UTF-8, unless what decodes so is UTF-16 without a mark or an encoding of seven bits."""
    found = strict(data, "utf-8")
    for sign, encoding in _SEVEN_BITS if found is not None else ():
        if sign in data:
            asian = strict(data, encoding)
            if asian is not None and "\x1b" not in asian.text and not asian.text.isascii():
                return asian
    if found is not None and control_share(found.text) > _MAX_CONTROLS:
        return _wide_without_mark(data) or found
    return found


# East Asian encodings of bytes below 0x80, and what switches to their letters (RFC 1557, 1468, 1843).
_SEVEN_BITS = ((b"\x1b$)C", "iso2022_kr"), (b"\x1b$", "iso2022_jp"), (b"~{", "hz"))


def _by_mark(data: bytes) -> Decoded | None:
    for mark, encoding in _BOMS:
        if not data.startswith(mark):
            continue
        found = strict(data[len(mark) :], encoding)
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
    """UTF-16 or UTF-32 without a mark shows by where its high bytes stand: zeros, or one script's number."""
    sample = data[:SAMPLE]
    if len(sample) < 8:
        return None
    zeros = [sample[i::4].count(0) / max(1, len(sample[i::4])) for i in range(4)]
    candidates: list[str] = []
    if min(zeros[2:]) > 0.9 and zeros[0] < 0.5:
        candidates.append("utf-32-le")
    if min(zeros[:2]) > 0.9 and zeros[3] < 0.5:
        candidates.append("utf-32-be")
    # Blocks of alphabets have numbers below 0x20; bytes that narrow text has none of.
    even, odd = (max(sample[i::2].count(high) for high in range(0x20)) * 2 / len(sample) for i in range(2))
    if odd > 0.6 and odd > 2 * even:
        candidates.append("utf-16-le")
    if even > 0.6 and even > 2 * odd:
        candidates.append("utf-16-be")
    for encoding in candidates:
        found = strict(data, encoding)
        if found is not None and control_share(found.text) < 0.01 and letters_plausible(found.text):
            return found
    return None


def _damaged_utf8(data: bytes) -> Decoded | None:
    """UTF-8 with a few bad bytes (a cut end, a pasted quotation mark) reads with U+FFFD in their place."""
    high = len(HIGH.findall(data))
    valid = sum(len(m.group()) for m in _SEQUENCE.finditer(data))
    if high - valid > max(3, high * 0.02) or valid < 8:
        return None
    text = data.decode("utf-8", "replace")
    return Decoded(text, "utf-8") if text.count(REPLACEMENT) <= max(3, len(text) // 500) else None


# Encodings that are taken at a file's word only: their texts look like those of their relatives.
_DECLARED_ONLY = (
    *(
        "iso8859_3",
        "iso8859_4",
        "iso8859_9",
        "iso8859_10",
        "iso8859_11",
        "iso8859_13",
        "iso8859_14",
        "iso8859_16",
    ),
    *("cp1258", "cp437", "cp775", "cp855", "cp857", "mac_turkish", "mac_latin2", "mac_greek"),
    *("tis_620", "gbk", "gb2312", "hz", "big5hkscs", "iso2022_kr", "johab", "shift_jis"),
)


def _declared(data: bytes, name: str) -> Decoded | None:
    try:
        encoding = codecs.lookup(name).name
    except (LookupError, ValueError):  # ValueError: a NUL in the name
        return None
    # Pages that say Latin-1 are Windows-1252 in practice (WHATWG Encoding Standard, section 4.2).
    encoding = {"iso8859-1": "cp1252", "ascii": "cp1252", "iso8859-9": "cp1254"}.get(encoding, encoding)
    if encoding not in {codecs.lookup(usual).name for usual in (*USUAL, *_DECLARED_ONLY)}:
        return None
    text = data.decode(encoding, "replace")
    if text.count(REPLACEMENT) > len(text) // 200:
        return None
    return Decoded(text, encoding)
