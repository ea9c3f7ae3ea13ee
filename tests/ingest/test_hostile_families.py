"""Made-up members of the families of hostile files: bounded, inert, and refused with the right code."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from ingesting import tiny_pdf
from parsed import check_ranges
from test_parsers_mail import message, zipped
from test_parsers_office import book, packed, repacked, workbook
from test_parsers_pdf import page_with, with_objects

from ingest.errors import ParseCode, ParseError
from ingest.limits import ParseLimits
from ingest.sandbox import parse_document

LIMITS = ParseLimits(seconds=20, memory_bytes=512 << 20, max_characters=5_000_000)
LAUGHS = b"".join(
    b'<!ENTITY l%d "%s">' % (n, (b"&l%d;" % (n - 1)) * 10 if n else b"lol lol lol") for n in range(10)
)
BILLION = b'<?xml version="1.0"?><!DOCTYPE a [' + LAUGHS + b"]><a><b>One sentence. &l9;</b></a>"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def sandboxed(tmp_path: Path, content: bytes, filename: str) -> str:
    path = tmp_path / "blob"
    path.write_bytes(content)
    document = parse_document(path, filename, LIMITS)
    check_ranges(document)
    return document.text


def refused(tmp_path: Path, content: bytes, filename: str) -> ParseError:
    with pytest.raises(ParseError) as caught:
        sandboxed(tmp_path, content, filename)
    assert len(caught.value.detail) > 20
    return caught.value


def added(data: bytes, parts: dict[str, bytes]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return zipped({name: archive.read(name) for name in archive.namelist()} | parts)


def quine() -> bytes:
    """Not a real quine: an archive whose copies stand inside itself as deep as one likes."""
    data = zipped({"a.txt": b"One sentence."})
    for _ in range(40):
        data = zipped({"again.zip": data, "a.txt": b"One sentence."})
    return data


def overlapping(count: int = 400) -> bytes:
    """Many directory entries that share the bytes of one packed file of a MiB."""
    one = zipped({"a.txt": b"One sentence of some words, again. " * 30_000})
    at = one.rindex(b"PK\x01\x02")
    end = one.rindex(b"PK\x05\x06")
    entry = one[at:end]
    directory = b"".join(entry.replace(b"a.txt", b"%05d" % n) for n in range(count))
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(directory), at, 0)
    return one[:at] + directory + tail


def png_of(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def deep_pages(depth: int) -> bytes:
    """A tree of pages, each node within the other."""
    nodes = ["<< /Type /Catalog /Pages 2 0 R >>"]
    nodes += [f"<< /Type /Pages /Kids [{n + 3} 0 R] /Count 1 >>" for n in range(depth)]
    nodes.append("<< /Type /Page /MediaBox [0 0 100 100] >>")
    return with_objects(*nodes)


# What is refused, and by which code.
REFUSED: dict[str, tuple[str, Callable[[], bytes], ParseCode]] = {
    "gzip": ("a.pdf", lambda: b"\x1f\x8b\x08" + bytes(90), "unsupported_type"),
    "7z": ("a.docx", lambda: b"7z\xbc\xaf\x27\x1c" + bytes(90), "unsupported_type"),
    "rar": ("a.zip", lambda: b"Rar!\x1a\x07\x01\x00" + bytes(90), "unsupported_type"),
    "lz4": ("a.txt", lambda: b"\x04\x22\x4d\x18" + bytes(90), "unsupported_type"),
    "compress": ("a.txt", lambda: b"\x1f\x9d\x90" + bytes(90), "unsupported_type"),
    "lzip": ("a.txt", lambda: b"LZIP\x01" + bytes(90), "unsupported_type"),
    "cabinet": ("a.doc", lambda: b"MSCF\x00\x00\x00\x00" + bytes(90), "unsupported_type"),
    "program, Windows": ("a.pdf", lambda: b"MZ\x00\x00" + bytes(200), "unsupported_type"),
    "program, Mac": ("a.txt", lambda: b"\xcf\xfa\xed\xfe\x07\x00\x00\x01" + bytes(90), "unsupported_type"),
    "HEIC": ("a.jpg", lambda: b"\x00\x00\x00\x18ftypheic" + bytes(90), "unsupported_type"),
    "DjVu": ("a.pdf", lambda: b"AT&TFORM\x00\x00\x00\x10DJVM" + bytes(90), "unsupported_type"),
    "Parquet": ("a.csv", lambda: b"PAR1\x15\x04" + bytes(90), "unsupported_type"),
    "HDF5": ("a.csv", lambda: b"\x89HDF\r\n\x1a\n" + bytes(90), "unsupported_type"),
    "pickle": ("a.json", lambda: b"\x80\x04\x95" + bytes(90), "unsupported_type"),
    "XLSB": ("a.xlsb", lambda: zipped({"xl/workbook.bin": b"x"}), "unsupported_type"),
    "Pages": ("a.pages", lambda: zipped({"Index/Document.iwa": b"x"}), "unsupported_type"),
    "APK": ("a.apk", lambda: zipped({"AndroidManifest.xml": b"x", "classes.dex": b"x"}), "unsupported_type"),
    "ZIP of nothing readable": (
        "a.zip",
        lambda: zipped({"a.exe": b"MZ\x00\x00" + bytes(200)}),
        "unsupported_type",
    ),
    "empty ZIP": ("a.zip", lambda: b"PK\x05\x06" + bytes(18), "unsupported_type"),
    "half a ZIP": ("a.zip", lambda: zipped({"a.txt": b"x" * 900})[:60], "corrupt"),
    "half a DOCX": ("a.docx", lambda: workbook()[:-400], "corrupt"),
    "encrypted office": (
        "a.xlsx",
        lambda: OLE + bytes(600) + "EncryptedPackage".encode("utf-16-le"),
        "encrypted",
    ),
    "encrypted OpenDocument": (
        "a.ods",
        lambda: zipped(
            {
                "mimetype": b"application/vnd.oasis.opendocument.spreadsheet",
                "META-INF/manifest.xml": b"<manifest><file-entry full-path='content.xml'><encryption-data/>"
                b"</file-entry></manifest>",
                "content.xml": b"\x8e\x1f" * 400,
            }
        ),
        "encrypted",
    ),
    "XLS": ("a.xls", lambda: OLE + bytes(600) + "Workbook".encode("utf-16-le"), "unsupported_type"),
    "OLE without sense": ("a.doc", lambda: OLE + bytes(4000), "unsupported_type"),
    "laughs in an office file": (
        "a.docx",
        lambda: zipped({"word/document.xml": BILLION.replace(b"<a>", b"<a xmlns='x'>")}),
        "corrupt",
    ),
    "laughs in a sheet": (
        "a.xlsx",
        lambda: repacked(workbook(), lambda n, c: BILLION if n == "xl/worksheets/sheet1.xml" else c),
        "corrupt",
    ),
    "page of laughs": ("a.svg", lambda: BILLION.replace(b"One sentence. ", b""), "corrupt"),
    "bomb in an ODT": (
        "a.odt",
        lambda: packed(
            {"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": b"<a>" + b" " * (80 << 20)}
        ),
        "too_large",
    ),
    "bomb in an EPUB": ("a.epub", lambda: book(**{"OEBPS/one.xhtml": b" " * (80 << 20)}), "too_large"),
    "entries that overlap": ("a.zip", overlapping, "too_large"),
    "PDF of a header": ("a.pdf", lambda: b"%PDF-1.7\n%%EOF\n", "corrupt"),
    "PDF of noise": ("a.pdf", lambda: b"%PDF-1.7\n" + bytes(range(256)) * 40, "corrupt"),
    "PDF with a page tree without end": ("a.pdf", lambda: deep_pages(4000), "no_text"),
    "huge picture": ("a.png", lambda: png_of(60_000, 60_000), "no_text"),
    "NUL bytes": ("a.txt", lambda: bytes(4000), "unsupported_type"),
    "nothing but blanks": ("a.csv", lambda: b" \n\t\r\n" * 50, "empty"),
    "a mark and nothing": ("a.txt", lambda: b"\xef\xbb\xbf", "empty"),
}


@pytest.mark.parametrize("family", REFUSED)
def test_what_is_refused_says_why(tmp_path: Path, family: str) -> None:
    filename, made, code = REFUSED[family]
    assert refused(tmp_path, made(), filename).code == code


# What is read, the words that are kept, and what must not be there.
READ: dict[str, tuple[str, Callable[[], bytes], str, str]] = {
    "an archive in an archive without end": ("a.zip", quine, "One sentence.", "\0"),
    "XML of another file": (
        "a.xml",
        lambda: (
            b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a><b>One sentence.</b><c>&x;</c></a>'
        ),
        "One sentence.",
        "root:",
    ),
    "a program in a PDF": (
        "a.pdf",
        lambda: page_with(
            "BT /F 12 Tf 50 700 Td (One sentence.) Tj ET",
            catalogue="/OpenAction << /S /JavaScript /JS (app.alert(1)) >> /AA << /WC << /S /Launch >> >>",
        ),
        "One sentence.",
        "alert",
    ),
    "macros": (
        "a.docm",
        lambda: zipped(
            {
                "word/document.xml": b"<document><body><p><r><t>One sentence.</t></r></p></body></document>",
                "word/vbaProject.bin": OLE + b"Shell(calc)" * 90,
            }
        ),
        "One sentence.",
        "Shell",
    ),
    "macros in a sheet": (
        "a.xlsm",
        lambda: added(workbook(), {"xl/vbaProject.bin": OLE + b"Shell(calc)" * 90}),
        "North | 1234.5",
        "Shell",
    ),
    "formulas in a table": (
        "a.csv",
        lambda: b"a,b\n=1+1,@SUM(A1)\n+x,-y\nOne sentence.,z\n",
        "=1+1,@SUM(A1)",
        "\0",
    ),
    "names that climb": (
        "a.zip",
        lambda: zipped(
            {"../../../etc/cron.d/x": b"One sentence.", "/etc/passwd": b"Two.", "C:\\x\\..\\y.txt": b"Three."}
        ),
        "etc/cron.d/x",
        "..",
    ),
    "names that deceive": (
        "a.zip",
        lambda: zipped({"invoice\u202efdp.exe.txt": b"One sentence.", "a\x1b[31m.txt": b"Two."}),
        "One sentence.",
        "\u202e",
    ),
    "deep XML": ("a.xml", lambda: b"<a>" * 200 + b"One sentence." + b"</a>" * 200, "One sentence.", "\0"),
    "deep JSON": ("a.json", lambda: b'{"a":' * 200 + b'"One sentence."' + b"}" * 200, "One sentence.", "\0"),
    "deep RTF": (
        "a.rtf",
        lambda: b"{\\rtf1 " + b"{" * 20_000 + b"One sentence." + b"}" * 20_001,
        "One sentence.",
        "\0",
    ),
    "deep TeX": (
        "a.tex",
        lambda: b"\\documentclass{a}\\begin{document}" + b"{" * 5000 + b"One sentence." + b"}" * 5000,
        "One sentence.",
        "\0",
    ),
    "TeX that reads and runs": (
        "a.tex",
        lambda: b"\\documentclass{a}\\begin{document}\\input{/etc/passwd}\\write18{id}One sentence.",
        "One sentence.",
        "root:",
    ),
    "macros of TeX without end": (
        "a.tex",
        lambda: b"\\documentclass{a}\\begin{document}\\def\\a{\\a\\a}\\a One sentence.\\end{document}",
        "One sentence.",
        "\0",
    ),
    "a page that fetches": (
        "a.html",
        lambda: (
            b"<html><body><img src=http://127.0.0.1/x><link href=file:///etc/passwd><iframe src=//a>"
            b"</iframe><p>One sentence.<script>fetch('/x')</script></body></html>"
        ),
        "One sentence.",
        "fetch",
    ),
    "rows that are one too wide": (
        "a.csv",
        lambda: b"a,b\n" + b",".join([b"x"] * 50_000) + b"\nOne sentence.,b\n",
        "One sentence.",
        "\0",
    ),
    "a mail without an end": (
        "a.eml",
        lambda: message().as_bytes().replace(b"--==", b"--=="),
        "Dear Bob",
        "\0",
    ),
    "a PDF with junk around": (
        "a.txt",
        lambda: b"\0" * 900 + tiny_pdf(["One sentence."]) + b"\xff" * 500,
        "One sentence.",
        "\0",
    ),
    "a PDF with a wrong table": (
        "a.pdf",
        lambda: tiny_pdf(["One sentence."]).replace(b"0000000", b"9990000"),
        "One sentence.",
        "\0",
    ),
    "NULs in a sentence": (
        "a.txt",
        lambda: b"One sentence.\0" + b" And some words more." * 40,
        "One sentence.\ufffd",
        "\0",
    ),
}


@pytest.mark.parametrize("family", READ)
def test_what_is_read_is_inert(tmp_path: Path, family: str) -> None:
    filename, made, words, absent = READ[family]
    text = sandboxed(tmp_path, made(), filename)
    assert words in text
    assert absent not in text
