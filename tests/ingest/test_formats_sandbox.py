"""Every format in the confined process: its libraries load and read there; files of other programs."""

from __future__ import annotations

import io
from pathlib import Path

import docx
import openpyxl
import pytest
from parsed import check_ranges, found, headers
from test_fuzz_parsers import SEEDS
from test_parsers_office import opendocument
from test_parsers_pdf import page_with, ruled, words

from ingest.chunking import chunk_document, embedding_text
from ingest.errors import ParseError
from ingest.limits import ParseLimits
from ingest.ocr import find_ocr
from ingest.sandbox import parse_document

FOLDER = Path(__file__).resolve().parents[1] / "data" / "formats"
LIMITS = ParseLimits(seconds=60, memory_bytes=512 << 20, ocr=find_ocr("auto", "eng", 60.0))


@pytest.mark.parametrize("filename", SEEDS)
def test_every_format_is_read_in_the_sandbox(tmp_path: Path, filename: str) -> None:
    path = tmp_path / "blob"
    path.write_bytes(SEEDS[filename]())
    document = parse_document(path, filename, LIMITS)
    check_ranges(document)
    assert document.text.strip()
    assert document.media_type != "text/plain" or filename.endswith((".txt", ".py"))


def test_an_outlook_message_has_its_people_text_and_attachments() -> None:
    document = parse_document(FOLDER / "fake-email-attachment.msg", "a.msg", LIMITS)
    check_ranges(document)
    assert (document.media_type, document.title) == (
        "application/vnd.ms-outlook",
        "Fake email with attachment",
    )
    assert 'From: "Mallori Harrell" <mallori@unstructured.io>' in document.text
    assert "Here's the attachments!" in document.text
    assert found(document, "heading")[-1] == "Attachment: fake-attachment.txt"
    assert document.text.endswith("Hey this is a fake attachment!")


@pytest.mark.parametrize(
    ("filename", "header"),
    [
        ("stanley-cups.xlsx", "Team | Location | Stanley Cups"),
        ("fake-power-point-table.pptx", "Column 1 | Column 2 | Column 3"),
        ("fake.odt", "Header row | Mon | Wed | Fri"),
    ],
)
def test_tables_of_other_programs_have_their_headers(filename: str, header: str) -> None:
    document = parse_document(FOLDER / filename, filename, LIMITS)
    check_ranges(document)
    assert headers(document)[0] == header


FEES = [
    "Berth | Length | Fee per day",
    "North quay | 120 m | 840 euros",
    "South quay | 90 m | 610 euros",
    "Old basin | 60 m | 275 euros",
]
SAID = (
    "must book a berth at least 48 hours before they arrive.",
    "Boats under 10 metres pay nothing.",
    "delivered by barge on Tuesdays and Fridays.",
)


@pytest.mark.parametrize(
    ("filename", "note", "pages"),
    [
        ("harbour.docx", True, 0),
        ("harbour.epub", True, 0),
        ("harbour.html", True, 0),
        ("harbour.tex", True, 0),
        ("harbour.rst", True, 0),
        ("harbour-docbook.xml", True, 0),
        ("harbour-pandoc.rtf", True, 0),
        ("harbour.rtf", True, 0),
        ("harbour.odt", True, 0),
        ("harbour.fodt", True, 0),
        ("harbour.pptx", True, 5),
        ("harbour.odp", True, 5),
    ],
)
def test_files_of_other_programs_are_read_whole(filename: str, note: bool, pages: int) -> None:
    document = parse_document(FOLDER / filename, filename, LIMITS)
    check_ranges(document)
    plain = " ".join(document.text.split())
    assert all(words in plain for words in SAID)
    assert ("In winter only on Fridays." in plain) == note
    assert found(document, "table_row") == FEES
    assert headers(document) == FEES[:1]
    named = [heading for heading in found(document, "heading") if heading in ("Mooring", "Fuel")]
    assert named == ["Mooring", "Fuel"]
    assert len(document.pages) == pages


def test_a_notebook_of_another_program_is_read_whole() -> None:
    document = parse_document(FOLDER / "harbour.ipynb", "harbour.ipynb", LIMITS)
    assert document.media_type == "application/x-ipynb+json"
    assert [" | ".join(row.strip("| ").split()) for row in headers(document)] == [
        "Berth | | | Length | | | Fee | per | day"
    ]
    assert "In winter only on Fridays." in document.text


@pytest.mark.parametrize("filename", ["berths.xlsx", "berths.ods"])
def test_sheets_of_another_program_have_dates_and_a_header(filename: str) -> None:
    document = parse_document(FOLDER / filename, filename, LIMITS)
    assert headers(document) == ["Berth | Length | Fee per day | From"]
    assert found(document, "table_row")[1] == "North quay | 120 | 840 | 2024-01-31"


def test_a_ruled_table_of_another_program_has_its_header_on_every_page() -> None:
    document = parse_document(FOLDER / "berths.pdf", "berths.pdf", LIMITS)
    check_ranges(document)
    assert headers(document) == ["Berth | Length | Fee per day | Remark"]
    rows = found(document, "table_row")
    assert rows[2] == "Quay 2 | 61 m | 285 euros | open all year"
    assert rows[1].endswith(
        "| closed in winter, and on days with wind from the north-west of more than eight"
    )


def test_a_pdf_of_another_program_has_headings_and_a_title() -> None:
    document = parse_document(FOLDER / "harbour.pdf", "harbour.pdf", LIMITS)
    assert document.title == "The harbour handbook"
    assert {"Mooring", "Fees", "Fuel"} <= set(found(document, "heading"))


@pytest.mark.parametrize(
    ("filename", "code"),
    [("locked.zip", "encrypted"), ("locked-aes.zip", "encrypted"), ("berths.xls", "unsupported_type")],
)
def test_what_other_programs_lock_or_wrote_long_ago_is_named(filename: str, code: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_document(FOLDER / filename, filename, LIMITS)
    assert caught.value.code == code


# A table of sixty rows in each format that has tables, cut small.
ROWS = [["Berth", "Fee", "Remark"], *([f"Quay {n}", f"{n * 5} euros", "open all year"] for n in range(60))]


def table_files() -> dict[str, bytes]:
    word = docx.Document()
    table = word.add_table(rows=len(ROWS), cols=3)
    for row, cells in zip(table.rows, ROWS, strict=True):
        for cell, value in zip(row.cells, cells, strict=True):
            cell.text = value
    word_file = io.BytesIO()
    word.save(word_file)
    book = openpyxl.Workbook()
    for cells in ROWS:
        book.active.append(cells)
    book_file = io.BytesIO()
    book.save(book_file)
    html_rows = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>" for cells in ROWS)
    odf_rows = "".join(
        "<table:table-row>"
        + "".join(f"<table:table-cell><text:p>{cell}</text:p></table:table-cell>" for cell in cells)
        + "</table:table-row>"
        for cells in ROWS
    )
    tex_rows = " \\\\ ".join(" & ".join(cells) for cells in ROWS)
    rst_line = "=========  ==========  ==============\n"
    rst_rows = ["  ".join(f"{c:{w}}" for c, w in zip(r, (9, 10, 14), strict=True)) for r in ROWS]
    return {
        "a.docx": word_file.getvalue(),
        "a.xlsx": book_file.getvalue(),
        "a.csv": "\n".join(",".join(cells) for cells in ROWS).encode(),
        "a.tsv": "\n".join("\t".join(cells) for cells in ROWS).encode(),
        "a.html": f"<html><body><table>{html_rows}</table></body></html>".encode(),
        "a.eml": b"Message-ID: <1@a>\nSubject: x\nContent-Type: text/html\n\n<table>"
        + f"{html_rows}</table>".encode(),
        "a.md": (
            "| Berth | Fee | Remark |\n|---|---|---|\n" + "".join(f"| {' | '.join(c)} |\n" for c in ROWS[1:])
        ).encode(),
        "a.odt": opendocument("text", f"<office:text><table:table>{odf_rows}</table:table></office:text>"),
        "a.tex": (
            "\\documentclass{a}\\begin{document}\\begin{tabular}{lll}"
            f"{tex_rows}\\end{{tabular}}\\end{{document}}"
        ).encode(),
        "a.rst": (
            rst_line + rst_rows[0] + "\n" + rst_line + "\n".join(rst_rows[1:]) + "\n" + rst_line
        ).encode(),
        "a.rtf": b"{\\rtf1 "
        + b"".join(b"\\trowd " + b"".join(c.encode() + b"\\cell " for c in r) + b"\\row\n" for r in ROWS)
        + b"}",
        "a.pdf": page_with(ruled(ROWS[:30])),
    }


@pytest.mark.parametrize("filename", table_files())
def test_every_chunk_of_a_table_has_its_header(tmp_path: Path, filename: str) -> None:
    path = tmp_path / "blob"
    path.write_bytes(table_files()[filename])
    document = parse_document(path, filename, LIMITS)
    chunks = chunk_document(document, words, 40)
    assert len(chunks) > 3
    for chunk in chunks:
        said = embedding_text(chunk, document.text, None)
        assert all(name in said for name in ROWS[0]), chunk
