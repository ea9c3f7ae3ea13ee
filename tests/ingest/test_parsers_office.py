"""Sheets, slides, OpenDocument and books: what is kept, in which order, and what is never done."""

from __future__ import annotations

import datetime as dt
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pptx
import pytest
from parsed import check_ranges, found, headers, parse, parse_bytes
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE

from ingest.errors import ParseError
from ingest.parsers.joiner import Joiner
from ingest.parsers.tables import TableWriter

SHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def packed(parts: dict[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def repacked(data: bytes, change: Callable[[str, bytes], bytes]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return packed({name: change(name, archive.read(name)) for name in archive.namelist()})


# XLSX


def workbook() -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Sales"
    sheet.append(["Quarterly report"])
    sheet.append([])
    sheet.append(["Region", "Revenue", "Share", "Day"])
    sheet.append(["North", 1234.5, 0.25, dt.date(2024, 1, 31)])
    sheet.append(["South", 3, None, None])
    sheet["C4"].number_format = "0.0%"
    other = book.create_sheet("Rates & fees")
    other.append(["one cell"])
    book.create_sheet("Nothing")
    book.properties.title = "Numbers"
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def test_a_workbook_is_its_sheets_and_rows(tmp_path: Path) -> None:
    document = parse_bytes(tmp_path, workbook(), "numbers.xlsx")
    check_ranges(document)
    assert (document.media_type, document.title, document.pages) == (SHEET, "Numbers", ())
    assert found(document, "heading") == ["Sales", "Quarterly report", "Rates & fees", "one cell"]
    assert found(document, "table_row") == [
        "Region | Revenue | Share | Day",
        "North | 1234.5 | 25% | 2024-01-31",
        "South | 3",
    ]
    assert headers(document) == ["Region | Revenue | Share | Day"]


def test_formulas_are_shown_as_stored_and_never_computed(tmp_path: Path) -> None:
    def with_formulas(name: str, content: bytes) -> bytes:
        if name != "xl/worksheets/sheet1.xml":
            return content
        return content.replace(b"<v>1234.5</v>", b"<f>SUM(1,2)</f><v>77</v>").replace(
            b"<v>3</v>", b"<f>WEBSERVICE(&quot;http://127.0.0.1/&quot;)</f><v>8</v>"
        )

    document = parse_bytes(tmp_path, repacked(workbook(), with_formulas), "a.xlsx")
    assert "North | 77 | 25%" in document.text
    assert "South | 8" in document.text
    assert "SUM" not in document.text
    assert "WEBSERVICE" not in document.text


def test_text_that_looks_like_a_formula_stays_text(tmp_path: Path) -> None:
    source = "name,note\nbob,\"=cmd|' /C calc'!A0\"\neve,@SUM(1+1)\n"
    document = parse_bytes(tmp_path, source.encode(), "a.csv")
    assert document.text == source


def test_headers_of_several_rows_and_tables_below_each_other() -> None:
    joiner = Joiner()
    writer = TableWriter(joiner, 2)
    for row in (
        ["In millions", "", "2023"],
        ["", "Sales", "Profit"],
        [],
        ["North", "12", "3"],
        ["South", "9", "1"],
        ["West", "", "4"],
        ["In thousands", "Sales", "Loss"],
        ["North", "7", "5"],
        [],
        [],
        ["Name", "Note"],
        ["Ann", "late"],
    ):
        writer.row(row)
    writer.end()
    page = joiner.done()
    named = [page.text[b.start : b.end] for b in page.blocks if b.level]
    assert named == [
        "In millions |  | 2023",
        "| Sales | Profit",
        "In thousands | Sales | Loss",
        "Name | Note",
    ]


def test_a_sheet_that_lies_about_its_size_is_read_whole(tmp_path: Path) -> None:
    def lying(name: str, content: bytes) -> bytes:
        return content.replace(b'ref="A1:D5"', b'ref="A1:A1"') if "sheet1" in name else content

    assert "South | 3" in parse_bytes(tmp_path, repacked(workbook(), lying), "a.xlsx").text


@pytest.mark.parametrize("kind", ["xlsx", "pptx"])
def test_office_files_with_entities_are_refused(tmp_path: Path, kind: str) -> None:
    evil = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    part = {"xlsx": "xl/workbook.xml", "pptx": "ppt/presentation.xml"}[kind]
    data = workbook() if kind == "xlsx" else deck()
    hostile = repacked(data, lambda name, content: evil + content if name == part else content)
    with pytest.raises(ParseError, match="document type") as caught:
        parse_bytes(tmp_path, hostile, f"a.{kind}")
    assert caught.value.code == "corrupt"


@pytest.mark.parametrize("kind", ["xlsx", "pptx"])
def test_office_files_that_grow_without_measure_are_refused(tmp_path: Path, kind: str) -> None:
    part = {"xlsx": "xl/worksheets/sheet1.xml", "pptx": "ppt/slides/slide1.xml"}[kind]
    data = workbook() if kind == "xlsx" else deck()
    bomb = repacked(data, lambda name, content: bytes(70 << 20) if name == part else content)
    with pytest.raises(ParseError) as caught:
        parse_bytes(tmp_path, bomb, f"a.{kind}")
    assert caught.value.code == "too_large"
    assert "70 MiB" in caught.value.detail


@pytest.mark.parametrize("kind", ["xlsx", "pptx", "epub", "odt"])
def test_containers_without_their_parts_are_corrupt(tmp_path: Path, kind: str) -> None:
    mimetype = "application/vnd.oasis.opendocument.text"
    parts: dict[str, dict[str, str | bytes]] = {
        "xlsx": {"xl/workbook.xml": "<x/>", "[Content_Types].xml": "<x/>"},
        "pptx": {"ppt/presentation.xml": "<x/>", "[Content_Types].xml": "<x/>"},
        "epub": {"META-INF/container.xml": "<x/>"},
        "odt": {"mimetype": mimetype, "content.xml": "<x/>"},
    }
    with pytest.raises(ParseError) as caught:
        parse_bytes(tmp_path, packed(parts[kind]), f"a.{kind}")
    assert caught.value.code == "corrupt"


# PPTX


def deck() -> bytes:
    made = pptx.Presentation()
    slide = made.slides.add_slide(made.slide_layouts[1])
    slide.shapes.title.text = "The plan"
    slide.placeholders[1].text = "First point\nSecond point"
    slide.notes_slide.notes_text_frame.text = "Say it slowly."
    table = slide.shapes.add_table(2, 2, 0, 6_000_000, 100, 100).table
    for row, texts in enumerate([("Year", "Days"), ("2024", "30")]):
        for column, content in enumerate(texts):
            table.cell(row, column).text = content
    other = made.slides.add_slide(made.slide_layouts[6])
    group = other.shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, 10, 10).text_frame.text = "In a group"
    data = CategoryChartData()
    data.categories = ["East", "West"]
    data.add_series("2023", (19.2, 21.5))
    other.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, 0, 900_000, 100, 100, data)
    made.core_properties.title = "Strategy"
    buffer = io.BytesIO()
    made.save(buffer)
    return buffer.getvalue()


def test_a_presentation_has_a_page_for_every_slide(tmp_path: Path) -> None:
    document = parse_bytes(tmp_path, deck(), "a.pptx")
    check_ranges(document)
    assert document.title == "Strategy"
    assert len(document.pages) == 2
    first, second = (document.text[page.start : page.end] for page in document.pages)
    assert first.index("The plan") < first.index("First point") < first.index("Year | Days")
    assert first.rstrip().endswith("Say it slowly.")
    assert found(document, "heading") == ["The plan", "Notes"]
    assert "In a group" in second
    assert "| 2023\nEast | 19.2\nWest | 21.5" in second
    assert headers(document) == ["Year | Days", "| 2023"]


# OpenDocument

OFFICE = (
    'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" '
    'xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0"'
)


def opendocument(kind: str, body: str) -> bytes:
    content = f"<office:document-content {OFFICE}><office:body>{body}</office:body></office:document-content>"
    return packed({"mimetype": f"application/vnd.oasis.opendocument.{kind}", "content.xml": content})


def test_an_odt_has_headings_lists_tables_and_notes(tmp_path: Path) -> None:
    body = """<office:text><text:h text:outline-level="2">Leave</text:h>
    <text:p>Ten<text:s text:c="2"/>days<text:span> a year</text:span>.<text:note><text:note-citation>1
    </text:note-citation><text:note-body><text:p>Not on Sundays.</text:p></text:note-body></text:note> Yes.
    </text:p>
    <text:list><text:list-item><text:p>one</text:p></text:list-item></text:list>
    <table:table table:name="T"><table:table-header-rows><table:table-row><table:table-cell>
    <text:p>Year</text:p></table:table-cell><table:table-cell><text:p>Days</text:p></table:table-cell></table:table-row>
    </table:table-header-rows><table:table-row><table:table-cell table:number-columns-repeated="2">
    <text:p>7</text:p></table:table-cell></table:table-row></table:table></office:text>"""
    document = parse_bytes(tmp_path, opendocument("text", body), "a.odt")
    check_ranges(document)
    assert document.media_type == "application/vnd.oasis.opendocument.text"
    assert found(document, "heading") == ["Leave"]
    assert found(document, "paragraph") == ["Ten days a year. Yes.", "Not on Sundays."]
    assert found(document, "list_item") == ["one"]
    assert found(document, "table_row") == ["Year | Days", "7 | 7"]
    assert headers(document) == ["Year | Days"]


def test_an_ods_repeats_within_bounds(tmp_path: Path) -> None:
    cell = "<table:table-cell><text:p>{}</text:p></table:table-cell>"
    empty = '<table:table-cell table:number-columns-repeated="1048576"/>'
    rows = f"<table:table-row>{cell.format('City')}{cell.format('Rain')}{empty}</table:table-row>"
    rows += f"<table:table-row>{cell.format('Bonn')}{cell.format('30')}</table:table-row>"
    rows += '<table:table-row table:number-rows-repeated="1048576"><table:table-cell/></table:table-row>'
    body = f'<office:spreadsheet><table:table table:name="Weather">{rows}</table:table></office:spreadsheet>'
    document = parse_bytes(tmp_path, opendocument("spreadsheet", body), "a.ods")
    assert found(document, "heading") == ["Weather"]
    assert found(document, "table_row") == ["City | Rain", "Bonn | 30"]


# EPUB


def book(**changes: str | bytes) -> bytes:
    parts: dict[str, str | bytes] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container><rootfiles><rootfile full-path="OEBPS/a.opf"/></rootfiles>'
        "</container>",
        "OEBPS/a.opf": '<package xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
        "<dc:title>The Rain</dc:title></metadata>"
        '<manifest><item id="b" href="two%20b.xhtml" media-type="application/xhtml+xml"/>'
        '<item id="a" href="../OEBPS/one.xhtml" media-type="application/xhtml+xml"/>'
        '<item id="x" href="../../../etc/passwd.html" media-type="text/html"/></manifest>'
        '<spine><itemref idref="a"/><itemref idref="x"/><itemref idref="b"/></spine></package>',
        "OEBPS/one.xhtml": "<html><body><h1>One</h1><p>It rained.</p><script>x()</script></body></html>",
        "OEBPS/two b.xhtml": "<html><body><h1>Two</h1><p>It stopped.</p></body></html>",
    }
    return packed(parts | changes)


def test_a_book_is_its_chapters_in_reading_order(tmp_path: Path) -> None:
    document = parse_bytes(tmp_path, book(), "a.epub")
    check_ranges(document)
    assert (document.title, document.media_type) == ("The Rain", "application/epub+zip")
    assert document.text == "One\n\nIt rained.\n\nTwo\n\nIt stopped."
    assert found(document, "heading") == ["One", "Two"]


def test_a_locked_book_says_so(tmp_path: Path) -> None:
    lock = (
        '<encryption><EncryptedData><EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#aes256-cbc"/>'
        '<CipherData><CipherReference URI="OEBPS/one.xhtml"/></CipherData></EncryptedData></encryption>'
    )
    with pytest.raises(ParseError) as caught:
        parse_bytes(tmp_path, book(**{"META-INF/encryption.xml": lock}), "a.epub")
    assert caught.value.code == "encrypted"
    fonts = lock.replace("http://www.w3.org/2001/04/xmlenc#aes256-cbc", "http://www.idpf.org/2008/embedding")
    assert "It rained." in parse_bytes(tmp_path, book(**{"META-INF/encryption.xml": fonts}), "a.epub").text


def test_the_demo_of_a_docx_table_without_mark_gets_its_header() -> None:
    folder = Path(__file__).resolve().parents[1] / "data" / "hostile"
    assert headers(parse(folder / "docx-tables.docx"))[:1] == ["Header Col 1 | Header Col 2"]
