"""Which of the formats that are text a file is: by its first bytes, then by its name."""

from __future__ import annotations

import json
import re
from pathlib import PurePath

from ingest.formats import Sniffed

_MARKDOWN_SUFFIXES = frozenset({".md", ".markdown", ".mdown", ".mkd", ".mkdn"})
_HTML_PAGE = re.compile(
    rb"\A\s*(?:<\?xml[^>]{0,200}\?>\s*)?(?:<!--.{0,2000}?-->\s*)*<(?:!doctype\s+html|html|head|body|title|meta)\b",
    re.IGNORECASE | re.DOTALL,
)
_HTML_PART = re.compile(
    rb"\A\s*(?:<!--.{0,2000}?-->\s*)*<(?:div|table|p|h[1-6]|script|style|span|ul|ol|a|article|section)\b",
    re.IGNORECASE | re.DOTALL,
)
_HTML_ANYWHERE = re.compile(rb"<html[\s>]|<!doctype\s+html", re.IGNORECASE)
_MARKDOWN_LINE = re.compile(rb"^(?:#{1,6} \S|```|[-*] \S|\|.*\|\s*$|>\s)|\]\(", re.MULTILINE)
_MAIL_FIELD = re.compile(rb"^([A-Za-z][A-Za-z0-9-]{1,40}):[ \t]?", re.MULTILINE)
_MAIL_SURE = frozenset({b"received", b"message-id", b"mime-version", b"return-path", b"delivered-to"})
_MAIL_USUAL = frozenset({b"from", b"to", b"subject", b"date", b"content-type", b"cc", b"reply-to"})
_MAILBOX_LINE = re.compile(rb"From \S+ .*\d{4}\s*(?:[+-]\d{4})?\s*\n[A-Za-z][A-Za-z0-9-]{1,40}:")
_MARKDOWN_SIGNS = re.compile(
    r"^(?:#{1,6} \S|```|~~~|={3,}\s*$|-{3,}\s*$|\|.+\|\s*$|[-*+] \S|>\s)"
    r"|\[[^\]\n]+\]\([^)\n]+\)|\*\*\S[^*\n]*\*\*",
    re.MULTILINE,
)
_STRONG_MARKDOWN = re.compile(r"^#{1,6} \S.*$|^\|?(?:\s*:?-{3,}:?\s*\|)+\s*:?-*:?\s*$|^```", re.MULTILINE)
_LATEX = re.compile(rb"^[ \t]*\\(?:documentclass|documentstyle)\b|\\begin\{document\}", re.MULTILINE)
_SUBTITLES = re.compile(
    rb"\A\s*(?:WEBVTT\b|\d+\s*\r?\n\s*\d{1,2}:\d\d:\d\d[,.]\d{1,3}\s*-->\s*\d{1,2}:\d\d:\d\d)"
)
_JSON_START = re.compile(rb"\A\s*(?:\{\s*[\"}]|\[\s*[\[{\"])")
_XML_START = re.compile(rb"\A\s*(?:<\?xml\s|<!DOCTYPE\s)")
_SHEBANG = re.compile(rb"\A#!\s*/\S*(?:sh|bash|python[\d.]*|perl|ruby|node|env\s+\S+)\s*\r?\n")
_CODE_SUFFIX = re.compile(
    r"\.(?:py|pyi|js|mjs|cjs|jsx|ts|tsx|java|kts?|scala|groovy|go|rs|[chmrsv]|cc|cpp|cxx|hpp|hh|mm|cs|fs|vb"
    r"|swift|rb|php|pl|pm|lua|jl|dart|exs?|erl|hs|ml|clj|lisp|el|sh|bash|zsh|fish|ps1|bat|sql|proto|graphql|css"
    r"|scss|less|vue|svelte|yaml|yml|toml|ini|cfg|cmake|gradle|tf|asm|sv|vhd|f90|for|pas|sol|zig|nim|dockerfile"
    r"|mk|diff|patch)"
)


def is_markdown(text: str, filename: str) -> bool:
    """Whether a text is Markdown: by the name's suffix, or by clear signs where the name has none."""
    suffix = PurePath(filename).suffix.lower()
    if suffix in _MARKDOWN_SUFFIXES:
        return True
    if suffix:
        return False
    sample = text[:65_536]
    strong = len(_STRONG_MARKDOWN.findall(sample))
    return strong >= 2 and len(_MARKDOWN_SIGNS.findall(sample)) >= 4


def textual(head: bytes, filename: str) -> Sniffed:
    """The format of a file that is none of the binary ones; `head` is its first KiB."""
    plain = _narrow(head)
    suffix = PurePath(filename).suffix.lower()
    if _MAILBOX_LINE.match(plain):
        return Sniffed("mailbox")
    if _is_mail(plain) or (suffix == ".eml" and _MAIL_FIELD.match(plain.lstrip())):
        return Sniffed("mail")
    if _CODE_SUFFIX.fullmatch(suffix):
        return Sniffed("code")
    return _page(plain, suffix) or _marked(plain) or _named(plain, suffix)


def _page(plain: bytes, suffix: str) -> Sniffed | None:
    """HTML, or Markdown by its name."""
    if _HTML_PAGE.match(plain) or _HTML_ANYWHERE.search(plain[:1024]):
        return Sniffed("html")
    # Markdown may open with an HTML element; a piece of a page has no Markdown after it.
    if _HTML_PART.match(plain) and len(_MARKDOWN_LINE.findall(plain)) < 2:
        return Sniffed("html")
    return Sniffed("markdown") if suffix in _MARKDOWN_SUFFIXES else None


def _marked(plain: bytes) -> Sniffed | None:
    """What the first characters say."""
    if _SUBTITLES.match(plain):
        web = plain.lstrip().startswith(b"WEBVTT")
        return Sniffed("subtitles", "text/vtt" if web else "application/x-subrip")
    if _XML_START.match(plain):
        return Sniffed("xml")
    if _JSON_START.match(plain):
        return Sniffed("json", "application/jsonl" if _is_json_lines(plain) else "")
    if _LATEX.search(plain):
        return Sniffed("latex")
    return None


def _is_json_lines(plain: bytes) -> bool:
    """Two first lines that are each a whole JSON value."""
    lines = plain.split(b"\n")
    if len(lines) < 2 or not lines[1].strip():
        return False
    try:
        json.loads(lines[0])
    except (ValueError, RecursionError):
        return False
    return True


_BY_NAME = {
    ".csv": Sniffed("csv"),
    ".tsv": Sniffed("csv", "text/tab-separated-values"),
    ".tab": Sniffed("csv", "text/tab-separated-values"),
    ".json": Sniffed("json"),
    ".geojson": Sniffed("json"),
    ".jsonl": Sniffed("json", "application/jsonl"),
    ".ndjson": Sniffed("json", "application/jsonl"),
    ".ipynb": Sniffed("json"),
    ".xml": Sniffed("xml"),
    ".tex": Sniffed("latex"),
    ".latex": Sniffed("latex"),
    ".rst": Sniffed("rst"),
    ".rest": Sniffed("rst"),
    ".mbox": Sniffed("mailbox"),
    ".srt": Sniffed("subtitles", "application/x-subrip"),
    ".vtt": Sniffed("subtitles"),
}


def _named(plain: bytes, suffix: str) -> Sniffed:
    return _BY_NAME.get(suffix) or Sniffed("code" if _SHEBANG.match(plain) else "text")


def _narrow(head: bytes) -> bytes:
    """ASCII signs are looked for; UTF-16 and UTF-32 hold them between zero bytes."""
    for mark in (b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf"):
        if head.startswith(mark):
            head = head[len(mark) :]
            break
    return head.replace(b"\x00", b"") if head.count(0) >= len(head) // 4 else head


def _is_mail(head: bytes) -> bool:
    """RFC 5322 fields at the very start: one that only mail has and another one, or three usual ones."""
    block = re.split(rb"\r?\n\r?\n", head.lstrip(b"\r\n"), maxsplit=1)[0]
    first = block.split(b"\n", 1)[0]
    if not (_MAIL_FIELD.match(block) or first.startswith(b"From ")):
        return False
    fields = {match.group(1).lower() for match in _MAIL_FIELD.finditer(block)}
    sure, usual = len(fields & _MAIL_SURE), len(fields & _MAIL_USUAL)
    return (sure >= 1 and sure + usual >= 2) or (usual >= 4 and {b"from", b"subject"} <= fields)
