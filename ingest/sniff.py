"""What a file is, told by its content first; the name decides between formats that are all plain text."""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path, PurePath
from typing import BinaryIO

from ingest.errors import ParseError
from ingest.formats import Format, Sniffed, unsupported
from ingest.sniff_text import is_markdown, textual

__all__ = ["is_markdown", "sniff", "sniff_stream"]

_HEAD = 16_384
_OLE_SEARCHED = 64 << 20
_MAX_ZIP_ENTRIES = 20_000
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x1f\x8b", "a gzip archive"),
    (4, b"1AY&SY", "a bzip2 archive"),
    (0, b"\xfd7zXZ\x00", "an xz archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (0, b"\x04\x22\x4d\x18", "an LZ4 archive"),
    (0, b"LZIP\x01", "an lzip archive"),
    (0, b"\x1f\x9d", "a compressed file (.Z)"),
    (0, b"\x1f\xa0", "a compressed file (.z)"),
    (0, b"MSCF\x00\x00\x00\x00", "a Windows cabinet"),
    (0, b"!<arch>\n", "an archive of programs"),
    (2, b"-lh5-", "an LHA archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ\x90\x00", "a program"),
    (0, b"MZ\x00\x00", "a program"),
    (0, b"\xcf\xfa\xed\xfe", "a program"),
    (0, b"\xce\xfa\xed\xfe", "a program"),
    (0, b"dex\n035", "a program"),
    (0, b"\xca\xfe\xba\xbe", "a program"),
    (0, b"\x00asm", "a program"),
    (0, b"SQLite format 3\x00", "an SQLite database"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"AT&TFORM", "a DjVu document"),
    (0, b"PAR1\x15", "a Parquet file"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (0, b"ARROW1\x00\x00", "an Arrow file"),
    (0, b"Obj\x01", "an Avro file"),
    (0, b"\x80\x04\x95", "a pickle"),
    (4, b"ftypheic", "a HEIC picture"),
    (4, b"ftypheix", "a HEIC picture"),
    (4, b"ftypmif1", "a HEIC picture"),
    (4, b"ftypavif", "an AVIF picture"),
    (4, b"ftyp", "a video or sound file"),
    (0, b"ID3\x02", "a sound file"),
    (0, b"ID3\x03", "a sound file"),
    (0, b"ID3\x04", "a sound file"),
    (0, b"OggS\x00", "a sound file"),
    (8, b"WAVEfmt", "a sound file"),
    (8, b"AVI LIST", "a video file"),
    (0, b"\x1aE\xdf\xa3", "a Matroska video"),
    (0, b"wOF2", "a font"),
    (0, b"\x00\x01\x00\x00\x00", "a font"),
)
_PICTURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF8", "image/gif"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (8, b"WEBP", "image/webp"),
)
_ZIP_KINDS: tuple[tuple[str, Format], ...] = (
    (r"word/document\d*\.xml", "docx"),
    (r"ppt/presentation\d*\.xml", "pptx"),
    (r"xl/workbook\d*\.xml", "xlsx"),
)
_REFUSED_PARTS = (
    (r"xl/workbook\.bin", "an Excel binary workbook (XLSB)"),
    (r"Index/.+\.iwa|Index\.zip", "a Pages, Numbers or Keynote document"),
    (r"AndroidManifest\.xml", "an Android program"),
    (r"FixedDocSeq\.fdseq|FixedDocumentSequence\.fdseq", "an XPS document"),
    (r"visio/document\.xml", "a Visio drawing"),
    (r"META-INF/MANIFEST\.MF", "a Java archive"),
)
_OPENDOCUMENT = "application/vnd.oasis.opendocument."
_CONTAINER_SUFFIXES = frozenset(
    {".docx", ".pptx", ".xlsx", ".odt", ".ods", ".odp", ".epub", ".docm", ".xlsm"}
)
_PDF_OBJECT_FIRST = re.compile(rb"\s*\d{1,10}\s+\d{1,5}\s+obj\b")
_PDF_TAIL = re.compile(rb"startxref\s+\d[\d\s]*(%%EOF)?\s*\Z")


def sniff(path: Path, filename: str = "") -> Sniffed:
    """Tells a file's format by its content; reads a few KiB (and the directory of a ZIP container).

    Raises ParseError: `empty`, `encrypted` (an encrypted Office container), `unsupported_type` (names what
    was seen and what is supported), `corrupt` (a container that does not open), `too_large`.
    """
    with path.open("rb") as file:
        return sniff_stream(file, filename)


def sniff_stream(file: BinaryIO, filename: str = "") -> Sniffed:
    """The same for a file that is open, or for bytes in memory."""
    head = file.read(_HEAD)
    if not head:
        raise ParseError("empty", "The file has no bytes. Upload a file with content.")
    size = file.seek(0, 2)
    file.seek(max(0, size - 1024))
    tail = file.read(1024)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return _zip(file, filename)
    if says_pdf(head) or _PDF_OBJECT_FIRST.match(head) or _PDF_TAIL.search(tail):
        return Sniffed("pdf")
    if head.startswith(_OLE):
        return _ole(file)
    marked = _marked(head)
    if marked is not None:
        return marked
    for offset, magic, kind in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            raise unsupported(kind)
    return textual(head, filename)


def says_pdf(head: bytes) -> bool:
    """Whether a file's first bytes say that it is a PDF: readers look for the mark in the first 1,024."""
    return b"%PDF-" in head[:1024]


def _marked(head: bytes) -> Sniffed | None:
    """RTF and pictures, by their first bytes."""
    if head.startswith(b"{\\rtf"):
        return Sniffed("rtf")
    for offset, magic, media_type in _PICTURES:
        if head[offset : offset + len(magic)] == magic:
            return Sniffed("image", media_type)
    if head.startswith(b"BM") and head[6:10] == bytes(4):  # reserved, always zero
        return Sniffed("image", "image/bmp")
    return None


def _zip(file: BinaryIO, filename: str) -> Sniffed:
    mimetype = b""
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            names = {info.filename: info for info in infos}
            if "mimetype" in names and names["mimetype"].file_size < 100:
                mimetype = archive.read("mimetype")
    except _DAMAGES as error:
        raise ParseError(
            "corrupt", f"The file starts as a ZIP container but does not open ({error}). Export it again."
        ) from error
    if len(infos) > _MAX_ZIP_ENTRIES:
        raise ParseError(
            "too_large", f"The container lists {len(infos)} parts, more than {_MAX_ZIP_ENTRIES}."
        )
    for pattern, kind in _ZIP_KINDS:
        if any(re.fullmatch(pattern, name) for name in names):
            return Sniffed(kind)
    declared = mimetype.decode("ascii", "replace").strip()
    if declared.startswith(_OPENDOCUMENT) and "content.xml" in names:
        return Sniffed("opendocument", declared)
    if "META-INF/container.xml" in names:
        return Sniffed("epub")
    suffix = PurePath(filename).suffix.lower()
    if suffix in _CONTAINER_SUFFIXES:
        raise unsupported(f"a ZIP archive named {suffix} without the parts of such a document")
    for part, what in _REFUSED_PARTS:
        if any(re.fullmatch(part, name) for name in names):
            raise unsupported(what)
    return Sniffed("zip")


_DAMAGES = (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, zlib.error, RuntimeError)


def _ole(file: BinaryIO) -> Sniffed:
    """Office 97 container: the names in its directory (UTF-16) tell what it holds."""
    if _is_message(file):
        return Sniffed("msg")
    file.seek(0)
    content = file.read(_OLE_SEARCHED)
    if "EncryptedPackage".encode("utf-16-le") in content:
        raise ParseError(
            "encrypted",
            "The Office document is protected by a password. Save it without one and upload that.",
        )
    for stream, kind in (
        ("WordDocument", "a Word 97 document (DOC)"),
        ("Workbook", "an Excel 97 workbook (XLS)"),
        ("PowerPoint Document", "a PowerPoint 97 presentation (PPT)"),
    ):
        if stream.encode("utf-16-le") in content:
            raise unsupported(kind)
    raise unsupported("an Office 97 (OLE) container")


def _is_message(file: BinaryIO) -> bool:
    """Whether the container's own directory, not one of a document inside, is that of an Outlook message."""
    import olefile  # noqa: PLC0415  # for these containers only

    try:
        file.seek(0)
        with olefile.OleFileIO(file) as container:
            return bool(container.exists("__properties_version1.0"))
    except Exception:  # a damaged container is told apart by its names, or not at all
        return False
