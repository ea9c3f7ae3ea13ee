"""What a PDF holds besides its pages' text: outline, fields, attachments, columns of years, turned text."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pypdf
import pytest
from ingesting import tiny_pdf
from parsed import check_ranges, found, headers, parse_bytes
from test_parsers_office import workbook

from ingest.chunking import chunk_document
from ingest.parsers.pdf_layout import names_periods


def words(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(r"\S+", text)]


def rewritten(data: bytes) -> pypdf.PdfWriter:
    return pypdf.PdfWriter(clone_from=io.BytesIO(data))


def saved(writer: pypdf.PdfWriter) -> bytes:
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def with_objects(*objects: str) -> bytes:
    """A PDF of numbered objects, the first of which is the catalogue."""
    out = b"%PDF-1.7\n"
    offsets = []
    for number, content in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{content}\nendobj\n".encode("latin-1")
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    start = len(out)
    trailer = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n"
    return out + f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{trailer}".encode("latin-1")


def page_with(content: str, extra: str = "", *more: str, catalogue: str = "") -> bytes:
    return with_objects(
        f"<< /Type /Catalog /Pages 2 0 R {catalogue} >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        f"/Resources << /Font << /F 5 0 R >> >> {extra} >>",
        f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        *more,
    )


def test_the_outline_makes_headings(tmp_path: Path) -> None:
    writer = rewritten(tiny_pdf(["Leave", "Everyone has leave.", "Sick leave"]))
    top = writer.add_outline_item(title="1 Leave", page_number=0)
    writer.add_outline_item(title="Sick leave", page_number=2, parent=top)
    writer.add_outline_item(title="Not on this page", page_number=1)
    document = parse_bytes(tmp_path, saved(writer), "a.pdf")
    check_ranges(document)
    assert found(document, "heading") == ["Leave", "Sick leave"]
    assert [b.level for b in document.blocks if b.kind == "heading"] == [1, 2]


def test_values_of_fields_are_read_whether_drawn_or_not(tmp_path: Path) -> None:
    widget = "<< /Type /Annot /Subtype /Widget /P 3 0 R /F 4"
    data = page_with(
        "BT /F 12 Tf 50 700 Td (Name of applicant) Tj ET",
        "/Annots [6 0 R 7 0 R 8 0 R 9 0 R]",
        f"{widget} /FT /Tx /T (who) /TU (Applicant) /V (Ada Lovelace) /Rect [50 600 200 620] >>",
        f"{widget} /FT /Btn /T (agree) /V /Yes /AS /Yes /Rect [50 500 60 510] "
        "/AP << /N << /Yes 10 0 R /Off 10 0 R >> >> >>",
        f"{widget} /FT /Tx /T (pass) /Ff 8192 /V (hunter22) /Rect [50 400 200 420] >>",
        "<< /Type /Annot /Subtype /FreeText /Contents (drawn) /Rect [50 300 200 320] /P 3 0 R /F 4 "
        "/AP << /N 10 0 R >> >>",
        "<< /Type /XObject /Subtype /Form /BBox [0 0 150 20] /Resources << /Font << /F 5 0 R >> >> "
        "/Length 40 >>\nstream\nBT /F 12 Tf 2 5 Td (A note drawn on) Tj ET\nendstream",
        catalogue="/AcroForm << /Fields [6 0 R 7 0 R 8 0 R] /DR << /Font << /F 5 0 R >> >> /DA (/F 12 Tf) >>",
    )
    document = parse_bytes(tmp_path, data, "form.pdf")
    check_ranges(document)
    assert "Name of applicant" in document.text
    assert "Ada Lovelace" in document.text
    assert "agree: Yes" in document.text
    assert "A note drawn on" in document.text
    assert "hunter22" not in document.text


def test_attached_files_are_sections_of_the_last_page(tmp_path: Path) -> None:
    writer = rewritten(tiny_pdf(["First page.", "Second page."]))
    writer.add_attachment("numbers.xlsx", workbook())
    writer.add_attachment("inner.pdf", tiny_pdf(["A page within."]))
    writer.add_attachment("program", b"\x7fELF" + bytes(60))
    document = parse_bytes(tmp_path, saved(writer), "a.pdf")
    check_ranges(document)
    assert len(document.pages) == 2
    last = document.text[document.pages[1].start :]
    assert last.startswith("Second page.")
    assert "North | 1234.5 | 25%" in last
    assert "A page within." in last
    assert "Attachment: program (not read: not a type that holds text)" in last
    assert "Attachment: numbers.xlsx" in found(document, "heading")


def test_years_over_figures_are_the_header_of_their_table(tmp_path: Path) -> None:
    lines = ["(in millions) 2018 2017", "Net sales $ 32,765 $ 32,136", "Interest expense (net) 488 462"]
    content = "BT /F 10 Tf 50 700 Td 14 TL " + " ".join(
        "({}) Tj T*".format(line.replace("(", "\\(").replace(")", "\\)")) for line in lines
    )
    document = parse_bytes(tmp_path, page_with(f"{content} ET"), "a.pdf")
    assert headers(document) == ["(in millions) 2018 2017"]
    assert names_periods("December 31, 2022 December 31, 2021")
    assert names_periods("Years ended 2022 2021 2020")
    assert not names_periods("between 2017 and 2018")
    assert not names_periods("Net sales 2018 32,765")


def ruled(rows: list[list[str]], top: int = 700, *, boxes: bool = False) -> str:
    """A page's content: a table with lines between its cells, drawn as lines or as boxes."""
    drawn, width, height = "", 110, 18
    for number, row in enumerate(rows):
        y = top - height * number
        for column, cell in enumerate(row):
            x = 50 + width * column
            drawn += f"BT /F 9 Tf {x + 4} {y + 5} Td ({cell}) Tj ET\n"
            if boxes:
                drawn += f"{x} {y} {width} {height} re S\n"
    right, bottom = 50 + width * len(rows[0]), top - height * (len(rows) - 1)
    if not boxes:
        for number in range(len(rows) + 1):
            y = top + height - height * number
            drawn += f"50 {y} m {right} {y} l S\n"
        for column in range(len(rows[0]) + 1):
            x = 50 + width * column
            drawn += f"{x} {bottom} m {x} {top + height} l S\n"
    return drawn


BERTHS = [["Berth", "Length", "Remark"], ["North quay", "120 m", "open"], ["Old basin", "", "no tugs"]]


@pytest.mark.parametrize("boxes", [True, False])
def test_a_ruled_table_has_cells_rows_and_a_header(tmp_path: Path, boxes: bool) -> None:
    content = "BT /F 9 Tf 50 740 Td (All berths of the harbour:) Tj ET\n" + ruled(BERTHS, boxes=boxes)
    document = parse_bytes(tmp_path, page_with(content + "BT /F 9 Tf 50 600 Td (The end.) Tj ET"), "a.pdf")
    check_ranges(document)
    rows = ["Berth | Length | Remark", "North quay | 120 m | open", "Old basin | | no tugs"]
    assert found(document, "table_row") == rows
    assert headers(document) == rows[:1]
    assert document.text.split() == f"All berths of the harbour: {' '.join(rows)} The end.".split()


def test_a_ruled_table_that_goes_on_keeps_its_header(tmp_path: Path) -> None:
    writer = pypdf.PdfWriter()
    for rows in (BERTHS, [["South quay", "90 m", "closed"], ["Fish dock", "40 m", "open"]], BERTHS):
        writer.append(io.BytesIO(page_with(ruled(rows))))
    document = parse_bytes(tmp_path, saved(writer), "a.pdf")
    assert len(document.pages) == 3
    assert headers(document) == ["Berth | Length | Remark"] * 2
    chunks = chunk_document(document, words, 12)
    second = next(c for c in chunks if "South quay" in document.text[c.start : c.end])
    assert "South quay" in document.text[second.start : second.start + 10]
    assert second.headings[-1] == "Berth | Length | Remark"


def test_lines_around_prose_are_no_table(tmp_path: Path) -> None:
    panels = [["A short panel of words", "Another panel"], ["", ""], ["", ""], ["", "The last one"]]
    document = parse_bytes(tmp_path, page_with(ruled(panels)), "a.pdf")
    assert found(document, "table_row") == []
    assert "A short panel of words" in document.text


def test_columns_are_read_one_after_the_other(tmp_path: Path) -> None:
    left = ["The committee shall", "meet four times a", "year and keep its", "minutes in writing."]
    right = ["Members are elected", "for a term of three", "years by the whole", "of the assembly."]
    content = "".join(
        f"BT /F 10 Tf {x} {700 - 12 * row} Td ({line}) Tj ET\n"
        for x, lines in ((50, left), (320, right))
        for row, line in enumerate(lines)
    )
    text = " ".join(parse_bytes(tmp_path, page_with(content), "a.pdf").text.split())
    assert "The committee shall meet four times a year and keep its minutes in writing." in text
    assert "Members are elected for a term of three years by the whole of the assembly." in text


def test_turned_pages_and_turned_text_are_read(tmp_path: Path) -> None:
    turned = page_with("BT /F 12 Tf 0 1 -1 0 100 100 Tm (Turned by ninety degrees) Tj ET")
    assert "Turned by ninety degrees" in parse_bytes(tmp_path, turned, "a.pdf").text
    page = page_with("BT /F 12 Tf 50 700 Td (On a page that is turned) Tj ET", "/Rotate 270")
    assert "On a page that is turned" in parse_bytes(tmp_path, page, "a.pdf").text
