"""A file is what its content says, whatever its name."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from ingest.errors import ParseError
from ingest.sniff import is_markdown, sniff

PAGE = b"<!DOCTYPE html><html><body><p>Hello</p></body></html>"


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return buffer.getvalue()


@pytest.fixture
def write(tmp_path: Path):
    def write_file(content: bytes) -> Path:
        path = tmp_path / "blob"
        path.write_bytes(content)
        return path

    return write_file


@pytest.mark.parametrize(
    ("content", "filename", "expected"),
    [
        (b"%PDF-1.7\n1 0 obj", "report.txt", "pdf"),
        (b"junk before the header\n%PDF-1.4\n", "a.pdf", "pdf"),
        (b"1 0 obj\n<< /Type /Catalog >>\nendobj\n", "a.pdf", "pdf"),
        (zipped("[Content_Types].xml", "word/document.xml"), "a.pdf", "docx"),
        (zipped("[Content_Types].xml", "word/document2.xml"), "a.docx", "docx"),
        (PAGE, "page.txt", "html"),
        (b"\xef\xbb\xbf  <html>\n", "", "html"),
        ("<html><body>Grüße</body></html>".encode("utf-16"), "page", "html"),
        (b"<?xml version='1.0'?><!-- made by hand --><html>", "page", "html"),
        (b"<table><tr><td>1</td></tr></table>", "part", "html"),
        (b"<div align=center>logo</div>\n\n# Title\n\n- one\n- two\n", "README.md", "markdown"),
        (b"# Title\n\nText\n", "notes.md", "markdown"),
        (b"# Title\n\nText\n", "NOTES.MD", "markdown"),
        (b"# a comment\nkey = 1\n", "settings.conf", "text"),
        (b"From the beginning, nobody knew: it rained.\n", "story.txt", "text"),
        (b"Subject: rain\n\nIt rains.\n", "note.txt", "text"),
        ("Привет, мир".encode("cp1251"), "", "text"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "scan.pdf", "image"),
        (b"{\\rtf1 hello}", "letter.doc", "rtf"),
        (zipped("xl/workbook.xml"), "report", "xlsx"),
        (zipped("ppt/presentation.xml"), "report.zip", "pptx"),
        (zipped("META-INF/container.xml", "mimetype"), "book.zip", "epub"),
        (zipped("a.txt"), "things.zip", "zip"),
        (b"Received: from a\r\nMessage-ID: <1@a>\r\nSubject: x\r\n\r\nHi\r\n", "note.txt", "mail"),
        (b"From a@b Thu Jan  1 00:00:00 2026\nSubject: x\n\nHi\n", "inbox", "mailbox"),
        (b'{"a": 1}', "data.txt", "json"),
        (b'[{"a": 1}]', "", "json"),
        (b"[1] See the note.\n", "notes.txt", "text"),
        (b"<?xml version='1.0'?><catalog/>", "data.txt", "xml"),
        (b"% a paper\n\\documentclass{article}\n", "paper.txt", "latex"),
        (b"WEBVTT\n\n00:01.000 --> 00:02.000\nHi\n", "talk.txt", "subtitles"),
        (b"1\r\n00:00:01,000 --> 00:00:02,000\r\nHi\r\n", "", "subtitles"),
        (b"Guide\n=====\n", "guide.rst", "rst"),
        (b"a,b\n1,2\n", "data.csv", "csv"),
        (b"#!/bin/sh\necho 1\n", "run", "code"),
        (b"ID3 is a way to write who sings.\n", "tags.txt", "text"),
        (b"RIFFLE SHUFFLES\n\nOnce.\n", "cards.txt", "text"),
        (b"<b>'not a page'</b>\n", "view.tsx", "code"),
    ],
)
def test_the_content_decides(write, content: bytes, filename: str, expected: str) -> None:
    assert sniff(write(content), filename).format == expected


@pytest.mark.parametrize(
    ("content", "code", "named"),
    [
        (b"", "empty", "no bytes"),
        (b"\x1f\x8b\x08" + bytes(40), "unsupported_type", "gzip"),
        (b"\x7fELF" + bytes(60), "unsupported_type", "program"),
        (b"PK\x03\x04" + bytes(100), "corrupt", "ZIP"),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500) + "EncryptedPackage".encode("utf-16-le"),
            "encrypted",
            "password",
        ),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500) + "WordDocument".encode("utf-16-le"),
            "unsupported_type",
            "Word 97",
        ),
    ],
)
def test_what_is_refused_is_named(write, content: bytes, code: str, named: str) -> None:
    with pytest.raises(ParseError) as caught:
        sniff(write(content), "report.pdf")
    assert caught.value.code == code
    assert named in caught.value.detail


@pytest.mark.parametrize("suffix", ["docx", "xlsx", "pptx", "odt", "epub"])
def test_an_archive_named_like_a_document_is_no_document(write, suffix: str) -> None:
    with pytest.raises(ParseError) as caught:
        sniff(write(zipped("a.txt")), f"report.{suffix}")
    assert caught.value.code == "unsupported_type"
    assert suffix in caught.value.detail


def test_a_container_of_too_many_parts_is_refused(write) -> None:
    with pytest.raises(ParseError) as caught:
        sniff(write(zipped(*(f"{number}" for number in range(20_001)))), "a.docx")
    assert caught.value.code == "too_large"


def test_markdown_without_a_suffix_needs_clear_signs() -> None:
    assert is_markdown("# One\n\n- a\n- b\n\n## Two\n\n[link](x)\n", "upload")
    assert not is_markdown("# a shell comment\necho 1\n", "upload")
    assert not is_markdown("# One\n\n- a\n\n## Two\n\n- b\n", "list.txt")
