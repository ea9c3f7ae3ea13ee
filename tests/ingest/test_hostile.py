"""Broken, locked and hostile files through the real sandbox: each ends as it should, within its limit."""

from __future__ import annotations

import time
import zipfile
from pathlib import Path

import pytest

from ingest.chunking import chunk_document
from ingest.errors import ParseError
from ingest.limits import ParseLimits
from ingest.sandbox import parse_document

FOLDER = Path(__file__).resolve().parents[1] / "data" / "hostile"
LIMITS = ParseLimits(seconds=30)

# Words that are really in the file, as its viewer shows them.
READY = {
    "poppler-91414-0-53.pdf": "foobar",
    "object-stream-self-ref.pdf": "Potato",
    "pages-loop.pdf": "Potato",
    "append-xref-loop.pdf": "Potato 29",
    "xref_command_missing.pdf": "Reduced test-case",
    "issue9105_reduced.pdf": "Issue 9105",
    "ContentStreamCycleType3insideType3.pdf": "ab",
    "testOptionalHyphen.pdf": "optionalhyphen",
    "french_diacritics.pdf": "ç Ç é É è È",
    "vertical.pdf": "日本語",
    "noembed-sjis.pdf": "あいうえお",
    "ArabicCIDTrueType.pdf": "انواع الخطوط العربية",
    "fake-bold-sample.pdf": "BOLD TEXT SAMPLE",
    "docx-hdrftr.docx": "First header para",
    "docx-tables.docx": "Header Col 1 | Header Col 2",
    "docx_rich_cells.docx": "Column A | Column B",
    "footnotes.docx": "snoska",
    "testFrameset.docx": "Document with frameset",
    "testExternalRefs.docx": "[Image placeholder]",
    "html_rich_table_cells.html": "Mallard | Ponds, lakes, rivers | Quack",
    "three_tables.html": "Row 1, Cell 1 | Row 1, Cell 2",
    "testHTML_charset_utf16le.html": "This is a sample text",
    "russian.cp866.txt": "Лошадка, везущая хворосту воз.",
    "english.cp500.txt": "IntelliStation POWER",
    "umlauts-non-utf8.md": "äöüß",
    "eml_with_attachment.eml": "This is a test attachment file.",
    "fake-email-utf-16.eml": "This is a test email to use for unit tests.",
}

FAILED = {
    "password.pdf": "encrypted",
    "saslprep-r6.pdf": "encrypted",
    "testWORD_protected_passtika.docx": "encrypted",
    "issue-335b.pdf": "corrupt",
    "issue-141a.pdf": "corrupt",
    "15316.fuzz.pdf": "corrupt",
    "16172.fuzz.pdf": "corrupt",
    "37740.fuzz.pdf": "corrupt",
    "operator_list_cycle.pdf": "no_text",
    "issue17554.pdf": "no_text",
    "empty.pdf": "no_text",
    "testAltChunkHTML.docx": "empty",
}


def words(text: str) -> list[tuple[int, int]]:
    return [(at, at + 1) for at, char in enumerate(text) if not char.isspace()]


def test_every_file_is_expected_to_be_something() -> None:
    assert {p.name for p in FOLDER.iterdir()} - {"NOTICE.md"} == READY.keys() | FAILED.keys()


@pytest.mark.parametrize("name", READY)
def test_what_can_be_read_is_read(name: str) -> None:
    document = parse_document(FOLDER / name, name, LIMITS)
    assert READY[name] in document.text
    assert "\ufffd" not in document.text
    chunks = chunk_document(document, words)
    assert "".join(document.text[chunk.start : chunk.end] for chunk in chunks) == document.text
    assert "".join(document.text[page.start : page.end] for page in document.pages) in ("", document.text)


@pytest.mark.parametrize("name", FAILED)
def test_what_cannot_be_read_fails_with_its_reason(name: str) -> None:
    began = time.monotonic()
    with pytest.raises(ParseError) as caught:
        parse_document(FOLDER / name, name, LIMITS)
    assert caught.value.code == FAILED[name]
    assert len(caught.value.detail) > 20
    assert time.monotonic() - began < LIMITS.seconds + 5


def made_bomb(tmp_path: Path, size: int) -> Path:
    path = tmp_path / "bomb.docx"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("word/document.xml", "w") as part,
    ):
        for _ in range(size >> 20):
            part.write(b"a" * (1 << 20))
    return path


def test_a_container_that_grows_without_measure_is_refused(tmp_path: Path) -> None:
    path = made_bomb(tmp_path, 100 << 20)
    with pytest.raises(ParseError) as caught:
        parse_document(path, path.name, LIMITS)
    assert caught.value.code == "too_large"
    assert "100 MiB" in caught.value.detail


def test_a_container_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    path = made_bomb(tmp_path, 100 << 20)
    honest = path.read_bytes()
    # The uncompressed size stands in the central directory, 24 bytes after its signature (APPNOTE 4.3.12).
    at = honest.rindex(b"PK\x01\x02") + 24
    path.write_bytes(honest[:at] + (1000).to_bytes(4, "little") + honest[at + 4 :])
    with pytest.raises(ParseError) as caught:
        parse_document(path, path.name, LIMITS)
    assert caught.value.code in ("corrupt", "too_large")


@pytest.mark.parametrize(
    ("filename", "content"),
    [
        ("divs.html", b"<div>" * 20_000 + b"One sentence." + b"</div>" * 20_000),
        ("quotes.md", b"> " * 20_000 + b"One sentence."),
        ("lists.md", b"".join(b" " * n + b"- a\n" for n in range(500)) + b"\nOne sentence."),
        ("line.txt", b"One sentence. " * 80_000),
        ("brackets.md", b"[" * 100_000 + b"One sentence." + b"]" * 100_000),
        ("wide.html", b"<table><tr>" + b"<td>One sentence." * 20_000),
        ("spaces.txt", b" " * 1_000_000 + b"One sentence." + b" " * 1_000_000),
        ("comments.html", b"<!--" * 50_000 + b"--><html><p>One sentence."),
    ],
)
def test_deep_long_and_wide_files_are_read_within_the_limit(
    tmp_path: Path, filename: str, content: bytes
) -> None:
    path = tmp_path / "blob"
    path.write_bytes(content)
    document = parse_document(path, filename, LIMITS)
    assert "One sentence." in document.text
    assert sum(chunk.end - chunk.start for chunk in chunk_document(document, words)) == len(document.text)
