"""What each parser makes of its format: one canonical text, its structure as ranges of it."""

from __future__ import annotations

import codecs
from pathlib import Path

import docx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingesting import tiny_pdf
from parsed import check_ranges, found, headers, parse, parse_bytes

from ingest.errors import ParseError
from ingest.parsers import html, markdown, text
from ingest.parsers.base import Block, DocumentAssembler, assemble
from ingest.parsers.decoding import decode
from ingest.parsers.hyphens import Vocabulary, join_hyphens
from ingest.parsers.legibility import legibility
from ingest.parsers.pdf_layout import Line, is_table_row

# PDF


def test_pdf_pages_are_ranges_that_tile_the_text(tmp_path: Path) -> None:
    lines = ["The first page.", "", "The third page says more.", "The end."]
    document = parse_bytes(tmp_path, tiny_pdf(lines), "a.pdf")
    check_ranges(document)
    assert [document.text[p.start : p.end].strip() for p in document.pages] == lines
    assert document.media_type == "application/pdf"


def test_the_demo_pdf_has_its_headings_and_pages() -> None:
    root = Path(__file__).resolve().parents[2]
    document = parse(root / "demo/documents/irs-manual-2.3.59.pdf")
    check_ranges(document)
    assert len(document.pages) >= 3
    assert found(document, "heading")
    assert legibility(document.text) > 0.95


@pytest.mark.parametrize(
    ("lines", "joined"),
    [
        (["The regu\ufffe", "lation holds."], "The regulation"),
        (["the Anglo\ufffe", "Saxon world"], "the Anglo-Saxon"),
        (["a well\ufffe", "known case, well-known"], "a well-known"),
        (["from 1990\ufffe", "2000 on"], "from 1990-2000"),
    ],
)
def test_words_that_a_line_end_parted_are_joined(lines: list[str], joined: str) -> None:
    assert join_hyphens([Line(line) for line in lines], Vocabulary())[0].text.startswith(joined)


def test_a_row_of_figures_is_a_table_row() -> None:
    assert is_table_row("Net sales $ 32,765 $ 32,136 $ 26,497")
    assert is_table_row("Interest expense (net) 488 462 (12)")
    assert not is_table_row("In 2019 sales rose by 5 percent over 2018.")
    assert not is_table_row("Part II")


def test_legibility_tells_text_from_noise() -> None:
    sentence = "The committee shall meet four times a year and keep minutes."
    assert legibility(sentence) == 1.0
    assert legibility("") == 0.0
    assert legibility("\ufffd" * 40) < 0.1
    assert legibility(" ".join(sentence.replace(" ", ""))) < 0.2
    assert legibility(sentence.replace(" ", "")) < 0.2


# DOCX


def test_docx_has_headings_lists_tables_and_no_markup(tmp_path: Path) -> None:
    made = docx.Document()
    made.add_heading("Leave", level=1)
    made.add_paragraph("Everyone has 30 days of leave <b>each</b> year.")
    made.add_heading("Sick leave", level=2)
    made.add_paragraph("Tell your manager.", style="List Bullet")
    made.add_paragraph("See a doctor.", style="List Bullet")
    table = made.add_table(rows=2, cols=2)
    for cell, value in zip(
        (c for row in table.rows for c in row.cells), ["Year", "Days", "2024", "30"], strict=True
    ):
        cell.text = value
    made.core_properties.title = "Handbook"
    made.save(str(tmp_path / "a.docx"))
    document = parse(tmp_path / "a.docx")
    check_ranges(document)
    assert document.title == "Handbook"
    assert document.pages == ()
    assert found(document, "heading") == ["Leave", "Sick leave"]
    assert [b.level for b in document.blocks if b.kind == "heading"] == [1, 2]
    assert found(document, "list_item") == ["Tell your manager.", "See a doctor."]
    assert found(document, "table_row") == ["Year | Days", "2024 | 30"]
    assert headers(document) == ["Year | Days"]
    assert found(document, "paragraph") == ["Everyone has 30 days of leave <b>each</b> year."]


# HTML


def test_html_is_its_visible_text() -> None:
    page = """<html><head><title>Rates &amp; fees</title><style>p{}</style></head><body>
    <script>steal()</script>
    <h1>Rates</h1><p>One <b>bold</b>\n word&nbsp;here.<br>Next line.</p><ul><li>first</li><li>second</li></ul>
    <table><tr><th>Year</th><th>Rate</th></tr><tr><td>2024</td><td>4 %</td></tr></table>
    <pre>a = 1\n  b = 2</pre><div style="display:none">hidden orders</div><p hidden>more</p></body></html>"""
    document = assemble(html.read(page.encode()))
    check_ranges(document)
    assert document.title == "Rates & fees"
    assert found(document, "heading") == ["Rates"]
    assert found(document, "paragraph") == ["One bold word here.\nNext line."]
    assert found(document, "list_item") == ["first", "second"]
    assert found(document, "table_row") == ["Year | Rate", "2024 | 4 %"]
    assert headers(document) == ["Year | Rate"]
    assert found(document, "code") == ["a = 1\n  b = 2"]
    assert "steal" not in document.text
    assert "hidden" not in document.text


def test_html_takes_the_encoding_it_declares() -> None:
    page = '<html><head><meta charset="windows-1251"></head><body><p>Привет</p></body></html>'
    assert assemble(html.read(page.encode("cp1251"))).text == "Привет"


def test_html_left_open_loses_nothing() -> None:
    document = assemble(html.read(b"<html><table><tr><td>alpha<td>beta<div>gamma"))
    assert all(word in document.text for word in ("alpha", "beta", "gamma"))


# Markdown and plain text: the file itself


def test_markdown_source_stays_and_its_parts_are_found() -> None:
    source = (
        "---\ntitle: The guide\n---\n# Setup\r\n\r\nFirst **step**.\n\n- one\n- two\n\n"
        "| a | b |\n|---|---|\n| 1 | 2 |\n\n```\ncode\n```\n\nLower\n-----\n\nText."
    )
    document = assemble(markdown.read(source))
    check_ranges(document)
    assert document.text == source
    assert document.title == "The guide"
    assert found(document, "heading") == ["# Setup", "Lower\n-----"]
    assert [b.level for b in document.blocks if b.kind == "heading"] == [1, 2]
    assert found(document, "list_item") == ["- one", "- two"]
    assert found(document, "table_row") == ["| a | b |", "| 1 | 2 |"]
    assert headers(document) == ["| a | b |"]
    assert "```\ncode\n```" in found(document, "code")


def test_plain_text_has_chapters_paragraphs_and_items() -> None:
    source = "CHAPTER I. The Rain\n\nIt rained. It\nrained all day.\n\n- one\n- two\n\nREMARKS\n\nNone."
    document = assemble(text.read(source))
    check_ranges(document)
    assert document.text == source
    assert found(document, "heading") == ["CHAPTER I. The Rain", "REMARKS"]
    assert found(document, "paragraph") == ["It rained. It\nrained all day.", "None."]
    assert found(document, "list_item") == ["- one", "- two"]


@given(st.text())
def test_any_text_stays_as_it_is(source: str) -> None:
    for read in (text.read, markdown.read):
        document = assemble(read(source))
        assert document.text == source
        check_ranges(document)


# Encodings

GERMAN = "Die Straßenverhältnisse waren für große Lastzüge äußerst schwierig. " * 5
RUSSIAN = "Все люди рождаются свободными и равными в своём достоинстве и правах. " * 5
JAPANESE = "すべての人間は、生まれながらにして自由であり、尊厳と権利とについて平等である。" * 5
CHINESE = "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。" * 5


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (GERMAN, "utf-8"),
        (GERMAN, "utf-8-sig"),
        (GERMAN, "utf-16"),
        (GERMAN, "utf-16-le"),
        (GERMAN, "utf-16-be"),
        (GERMAN, "utf-32"),
        (GERMAN, "utf-32-le"),
        (GERMAN, "cp1252"),
        (GERMAN, "iso8859_15"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8_r"),
        (RUSSIAN, "utf-16-be"),
        ("Plain English, wide.", "utf-16-le"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
        (JAPANESE, "iso2022_jp"),
        (CHINESE, "gb18030"),
        ("Grüße aus Köln.", "cp1252"),
        ("a plain line\r\nand another\n", "ascii"),
    ],
)
def test_usual_encodings_give_the_very_text(content: str, encoding: str) -> None:
    assert decode(content.encode(encoding)).text == content


def test_a_nul_becomes_one_replacement_character(tmp_path: Path) -> None:
    document = parse_bytes(tmp_path, b"alpha\x00beta" + b" and some more words" * 9, "a.txt")
    assert document.text == "alpha\ufffdbeta" + " and some more words" * 9


def test_damaged_utf8_is_read_around_the_damage() -> None:
    damaged = GERMAN.encode()[:-1] + b"\xff end"
    assert decode(damaged).text == GERMAN[:-1] + "\ufffd end"


@pytest.mark.parametrize("content", [bytes(range(256)) * 8, bytes(1000), codecs.BOM_UTF16_LE + b"\x00\xd8a"])
def test_what_is_no_text_is_refused(content: bytes) -> None:
    with pytest.raises(ParseError) as caught:
        decode(content)
    assert caught.value.code in ("unsupported_type", "corrupt")


# Putting pages together


@pytest.mark.parametrize(
    "blocks", [[Block("paragraph", 0, 9)], [Block("code", 2, 4), Block("code", 3, 5)], [Block("code", 2, 2)]]
)
def test_blocks_that_do_not_fit_are_refused(blocks: list[Block]) -> None:
    assembler = DocumentAssembler("text/plain", None, paged=False)
    assembler.add_text("12345")
    with pytest.raises(ValueError, match="does not fit"):
        assembler.end_page(blocks)
