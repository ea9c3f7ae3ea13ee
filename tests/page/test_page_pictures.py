"""A quote from a PDF opens the page as it looks, with the passage highlighted on the very words."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import pypdf
import pytest
from page_support import PHONE, Opened, Watch, file
from pdf_pages import pdf_of
from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import Locator, Page, Route, expect

from ingest.ocr import find_ocr
from tests.page.test_page_accessibility import faults
from tests.page.test_page_stories import GUIDE, QUESTION, answered

pytestmark = pytest.mark.browser
PAPER = 190  # in grey; the highlight is lighter
PHONES: dict[str, Any] = {"viewport": PHONE, "has_touch": True, "is_mobile": True, "color_scheme": "dark"}


def with_attachment(data: bytes) -> bytes:
    writer = pypdf.PdfWriter(io.BytesIO(data))
    writer.add_attachment("tides.txt", b"High water stands at the harbour wall at noon on Sundays.")
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def scanned(lines: list[str]) -> bytes:
    image = Image.new("RGB", (1240, 1754), "white")
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((120, 200 + 70 * number), line, fill="black", font=ImageFont.load_default(size=40))
    buffer = io.BytesIO()
    image.save(buffer, "PDF", resolution=150)
    return buffer.getvalue()


def opened(page: Page, data: bytes, question: str, said: str) -> Locator:
    """Ask of a PDF, and open the quote that says something; returns the quote."""
    page.set_input_files("#files", [file("guide.pdf", data, "application/pdf")])  # type: ignore[list-item]
    expect(page.locator("#docs .is-ready")).to_have_count(1, timeout=60_000)
    turn = answered(page, question)
    quote = turn.locator(".quote", has_text=said).first
    quote.locator(".quote-open").click()
    return quote


def drawn(page: Page, number: int) -> None:
    """Wait until the picture of a page is there."""
    picture = page.get_by_role("img", name=f"Page {number} as it looks")
    expect(picture).to_be_visible()
    loaded = "(image) => image.complete && image.naturalWidth > 600"
    page.wait_for_function(loaded, arg=picture.element_handle())


def read_on(page: Page, marks: Locator) -> str:
    """What Tesseract reads where the page shows a highlight, from a photograph of the window."""
    import tesserocr  # noqa: PLC0415

    ocr = find_ocr("auto", "eng", 60.0)
    assert ocr.folder, ocr.remedy
    photo = Image.open(io.BytesIO(page.screenshot(scale="device"))).convert("L")
    factor = photo.width / page.evaluate("innerWidth")
    read = []
    with tesserocr.PyTessBaseAPI(path=ocr.folder, lang="eng", psm=tesserocr.PSM.SINGLE_LINE) as engine:
        for mark in marks.all():
            box = mark.bounding_box()
            assert box is not None
            edges = (box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"])
            cut = photo.crop(tuple(round(edge * factor) for edge in edges))
            sheet = Image.new("L", (cut.width + 40, cut.height + 40), 255)
            sheet.paste(cut.point(lambda value: 255 if value > PAPER else value), (20, 20))
            engine.SetImage(sheet.resize((sheet.width * 2, sheet.height * 2), Image.Resampling.LANCZOS))
            read.append(engine.GetUTF8Text())
    return " ".join(read)


def letters(text: str) -> str:
    return "".join(each for each in text.lower() if each.isalnum())


@pytest.mark.parametrize("options", [{"device_scale_factor": 2}, {**PHONES, "device_scale_factor": 3}])
def test_the_quote_is_highlighted_on_the_picture_of_its_page(
    open_page: Opened, collection: str, options: dict[str, Any]
) -> None:
    page = open_page(collection=collection, **options)
    quote = opened(page, pdf_of(GUIDE), QUESTION, "five to twelve years")
    marks = page.locator("#reader .sheet rect")
    expect(marks.first).to_be_in_viewport()
    drawn(page, 1)
    assert letters(read_on(page, marks)) == letters(quote.locator("blockquote").inner_text())
    expect(page.locator("#reader mark")).to_be_hidden()
    assert faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= Math.min(innerWidth, screen.width)")

    larger = page.get_by_role("button", name="Larger")
    before = page.locator("#reader .sheet").bounding_box()
    larger.press("Enter")
    expect(larger).to_have_attribute("aria-pressed", "true")
    after = page.locator("#reader .sheet").bounding_box()
    assert before is not None
    assert after is not None
    assert after["width"] >= 1.9 * before["width"]
    expect(marks.first).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth <= Math.min(innerWidth, screen.width)")
    assert faults(page) == []
    larger.press("Enter")
    expect(larger).to_have_attribute("aria-pressed", "false")

    words = page.locator("#reader summary").first
    expect(words).to_have_text("Text of the page")
    words.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#reader mark")).to_be_visible()
    assert faults(page) == []
    page.get_by_role("button", name="Page 2", exact=True).click()
    expect(page.get_by_role("img", name="Page 2 as it looks")).to_be_attached()
    expect(page.locator("#reader .sheet")).to_have_count(2)


def test_a_scan_is_seen_with_its_passage(open_page: Opened, collection: str) -> None:
    lines = [
        "Minutes of the harbour board.",
        "The harbour pilot boards at the outer buoy.",
        "The board rose at noon.",
    ]
    page = open_page(collection=collection, device_scale_factor=2)
    quote = opened(page, scanned(lines), "Where does the harbour pilot board?", "outer buoy")
    marks = page.locator("#reader .sheet rect")
    expect(marks.first).to_be_in_viewport(timeout=30_000)
    drawn(page, 1)
    assert letters(read_on(page, marks)) == letters(quote.locator("blockquote").inner_text())


def test_what_is_not_on_the_page_is_marked_in_its_text(open_page: Opened, collection: str) -> None:
    page = open_page(collection=collection)
    opened(
        page,
        with_attachment(pdf_of(GUIDE[:1])),
        "When does high water stand at the harbour wall?",
        "noon on Sundays",
    )
    expect(page.locator("#reader")).to_contain_text("could not be pointed out on the picture")
    expect(page.locator("#reader mark")).to_be_in_viewport()
    expect(page.locator("#reader .sheet img")).to_be_attached()
    expect(page.locator("#reader .sheet rect")).to_have_count(0)
    assert faults(page) == []


@pytest.mark.parametrize("what", ["picture", "boxes"])
def test_where_it_cannot_be_drawn_the_text_is_shown(
    open_page: Opened, collection: str, watch: Watch, what: str
) -> None:
    watch.tolerated = ("503",)
    page = open_page(collection=collection)
    refused: Callable[[Route], None] = lambda route: route.fulfill(status=503, json={"code": "overloaded"})  # noqa: E731
    page.route(re.compile(f"/pages/1/{what}"), refused)
    opened(page, pdf_of(GUIDE), QUESTION, "five to twelve years")
    expect(page.locator("#reader mark")).to_be_visible()
    expect(page.locator("#reader .sheet")).to_have_count(0 if what == "picture" else 1)
