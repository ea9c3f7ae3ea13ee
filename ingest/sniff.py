"""What a file is, told by its content. The name only decides between Markdown and plain text."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO, Literal

from ingest.errors import ParseError

Format = Literal["pdf", "docx", "html", "markdown", "text"]
MEDIA_TYPES: dict[Format, str] = {
    "pdf": "application/pdf",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "html": "text/html",
    "markdown": "text/markdown",
    "text": "text/plain",
}
SUPPORTED = "PDF, DOCX, HTML, Markdown and plain text"

_HEAD = 16_384
_MAX_ZIP_ENTRIES = 20_000
_MARKDOWN_SUFFIXES = frozenset({".md", ".markdown", ".mdown", ".mkd", ".mkdn"})

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"GIF8", "a GIF picture"),
    (0, b"II*\x00", "a TIFF picture"),
    (0, b"MM\x00*", "a TIFF picture"),
    (8, b"WEBP", "a WebP picture"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"\xfd7zXZ\x00", "an xz archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ\x90\x00", "a program"),
    (0, b"\xca\xfe\xba\xbe", "a program"),
    (0, b"\x00asm", "a program"),
    (0, b"SQLite format 3\x00", "an SQLite database"),
    (0, b"{\\rtf", "an RTF document"),
    (0, b"%!PS", "a PostScript document"),
    (4, b"ftyp", "a video or sound file"),
    (0, b"ID3", "a sound file"),
    (0, b"OggS", "a sound file"),
    (0, b"RIFF", "a sound or video file"),
    (0, b"\x1aE\xdf\xa3", "a Matroska video"),
    (0, b"wOF2", "a font"),
    (0, b"\x00\x01\x00\x00\x00", "a font"),
)
_ZIP_KINDS: tuple[tuple[str, str], ...] = (
    ("xl/workbook", "an Excel workbook (XLSX)"),
    ("ppt/presentation", "a PowerPoint presentation (PPTX)"),
    ("META-INF/MANIFEST.MF", "a Java archive"),
    ("META-INF/container.xml", "an EPUB book"),
    ("content.xml", "an OpenDocument file"),
)
_PDF_OBJECT_FIRST = re.compile(rb"\s*\d{1,10}\s+\d{1,5}\s+obj\b")
_PDF_TAIL = re.compile(rb"startxref\s+\d[\d\s]*(%%EOF)?\s*\Z")
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
_MARKDOWN_SIGNS = re.compile(
    r"^(?:#{1,6} \S|```|~~~|={3,}\s*$|-{3,}\s*$|\|.+\|\s*$|[-*+] \S|>\s)"
    r"|\[[^\]\n]+\]\([^)\n]+\)|\*\*\S[^*\n]*\*\*",
    re.MULTILINE,
)
_STRONG_MARKDOWN = re.compile(r"^#{1,6} \S.*$|^\|?(?:\s*:?-{3,}:?\s*\|)+\s*:?-*:?\s*$|^```", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Sniffed:
    """The format of a file and its media type."""

    format: Format

    @property
    def media_type(self) -> str:
        """The registered media type."""
        return MEDIA_TYPES[self.format]


def sniff(path: Path, filename: str = "") -> Sniffed:
    """Tells a file's format by its content; reads a few KiB (and the directory of a ZIP container).

    Raises ParseError: `empty`, `encrypted` (an encrypted Office container), `unsupported_type` (names what
    was seen and what is supported), `corrupt` (a container that does not open), `too_large`.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
        if not head:
            raise ParseError("empty", "The file has no bytes. Upload a file with content.")
        file.seek(0, 2)
        size = file.tell()
        file.seek(max(0, size - 1024))
        tail = file.read(1024)
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
            return _zip(file)
    if b"%PDF-" in head[:1024] or _PDF_OBJECT_FIRST.match(head) or _PDF_TAIL.search(tail):
        return Sniffed("pdf")
    if head.startswith(_OLE):
        raise _ole(path)
    for offset, magic, kind in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            raise unsupported(kind)
    return _textual(head, filename)


def unsupported(kind: str) -> ParseError:
    """The refusal of a known type that is not read."""
    return ParseError(
        "unsupported_type", f"This is {kind}. Supported are {SUPPORTED}: convert it and upload that."
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


def _zip(file: BinaryIO) -> Sniffed:
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ParseError(
            "corrupt", f"The file starts as a ZIP container but does not open ({error}). Export it again."
        ) from error
    if len(infos) > _MAX_ZIP_ENTRIES:
        raise ParseError(
            "too_large", f"The container lists {len(infos)} parts, more than {_MAX_ZIP_ENTRIES}."
        )
    names = {info.filename for info in infos}
    if "word/document.xml" in names or any(re.fullmatch(r"word/document\d*\.xml", name) for name in names):
        return Sniffed("docx")
    for prefix, kind in _ZIP_KINDS:
        if any(name.startswith(prefix) for name in names):
            raise unsupported(kind)
    raise unsupported("a ZIP archive without word/document.xml, so no DOCX")


def _ole(path: Path) -> ParseError:
    """Office 97 container: the names in its directory (UTF-16) tell what it holds."""
    with path.open("rb") as file:
        content = file.read(4 << 20)
    if "EncryptedPackage".encode("utf-16-le") in content:
        return ParseError(
            "encrypted",
            "The Office document is protected by a password. Save it without one and upload that.",
        )
    for stream, kind in (
        ("WordDocument", "a Word 97 document (DOC)"),
        ("Workbook", "an Excel 97 workbook (XLS)"),
        ("PowerPoint Document", "a PowerPoint 97 presentation (PPT)"),
        ("__substg1.0_", "an Outlook message (MSG)"),
    ):
        if stream.encode("utf-16-le") in content:
            return unsupported(kind)
    return unsupported("an Office 97 (OLE) container")


def _textual(head: bytes, filename: str) -> Sniffed:
    plain = _narrow(head)
    if _is_mail(plain):
        raise unsupported("an e-mail message")
    if _HTML_PAGE.match(plain) or _HTML_ANYWHERE.search(plain[:1024]):
        return Sniffed("html")
    # Markdown may open with an HTML element; a piece of a page has no Markdown after it.
    if _HTML_PART.match(plain) and len(_MARKDOWN_LINE.findall(plain)) < 2:
        return Sniffed("html")
    suffix = PurePath(filename).suffix.lower()
    return Sniffed("markdown" if suffix in _MARKDOWN_SUFFIXES else "text")


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
