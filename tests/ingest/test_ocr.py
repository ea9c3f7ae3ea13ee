"""Text in pictures: read where OCR is installed, page by page; refused with the remedy where it is not."""

from __future__ import annotations

import io
from pathlib import Path

import pypdf
import pytest
from ingesting import tiny_pdf
from parsed import check_ranges, parse_bytes
from PIL import Image, ImageDraw, ImageFont

from ingest import ocr
from ingest.errors import ParseError
from ingest.limits import ParseLimits
from ingest.ocr import Ocr, find_ocr
from ingest.sandbox import parse_document

LINES = ["The committee shall meet four times", "a year and keep written minutes."]


@pytest.fixture(scope="module")
def engine() -> Ocr:
    found = find_ocr("auto", "eng", 60.0)
    assert found.folder, found.remedy
    return found


def picture(lines: list[str], turned: int = 0) -> Image.Image:
    image = Image.new("RGB", (1000, 120 + 60 * len(lines)), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=40)
    for row, line in enumerate(lines):
        draw.text((60, 50 + 60 * row), line, fill="black", font=font)
    return image.rotate(turned, expand=True)


def as_file(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def stored(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "blob"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "GIF"])
def test_a_picture_is_read_in_the_sandbox(tmp_path: Path, engine: Ocr, kind: str) -> None:
    path = stored(tmp_path, as_file(picture(LINES), kind))
    document = parse_document(path, "scan", ParseLimits(seconds=60, ocr=engine))
    check_ranges(document)
    assert " ".join(document.text.split()) == " ".join(LINES)
    assert document.media_type == f"image/{kind.lower()}"
    assert len(document.pages) == 1


def test_every_frame_of_a_tiff_is_a_page(tmp_path: Path, engine: Ocr) -> None:
    frames = [picture([line]) for line in LINES]
    data = as_file(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    document = parse_bytes(tmp_path, data, "scan.tiff", ocr=engine)
    assert [document.text[p.start : p.end].strip() for p in document.pages] == LINES


def test_only_the_pages_that_need_it_are_read_by_ocr(tmp_path: Path, engine: Ocr) -> None:
    writer = pypdf.PdfWriter()
    for data in (
        tiny_pdf(["A page with text of its own, set by a program."]),
        as_file(picture(LINES), "PDF"),
    ):
        writer.append(io.BytesIO(data))
    buffer = io.BytesIO()
    writer.write(buffer)
    path = stored(tmp_path, buffer.getvalue())
    document = parse_document(path, "a.pdf", ParseLimits(seconds=60, ocr=engine))
    check_ranges(document)
    first, second = (" ".join(document.text[p.start : p.end].split()) for p in document.pages)
    assert first == "A page with text of its own, set by a program."
    assert second == " ".join(LINES)
    without = parse_document(path, "a.pdf", ParseLimits(seconds=60))
    assert len(without.pages) == 2
    assert "committee" not in without.text


def test_a_turned_scan_is_read(tmp_path: Path, engine: Ocr) -> None:
    lines = [
        *LINES,
        "Members are elected for a term of",
        "three years by the whole assembly",
        "of the society",
    ] * 2
    data = as_file(picture(lines, turned=180), "PDF")
    assert "committee shall meet" in parse_bytes(tmp_path, data, "a.pdf", ocr=engine).text


@pytest.mark.parametrize("kind", ["PNG", "PDF"])
def test_without_ocr_the_error_says_how_to_install_it(tmp_path: Path, kind: str) -> None:
    path = stored(tmp_path, as_file(picture(LINES), kind))
    with pytest.raises(ParseError, match=r"pip install 'longleaf\[ocr\]'") as caught:
        parse_document(path, "scan", ParseLimits(seconds=60))
    assert caught.value.code == "no_text"


def test_a_picture_without_text_says_so(tmp_path: Path, engine: Ocr) -> None:
    path = stored(tmp_path, as_file(Image.new("L", (300, 300), "white"), "PNG"))
    with pytest.raises(ParseError, match="LONGLEAF_OCR_LANGUAGES") as caught:
        parse_document(path, "scan.png", ParseLimits(seconds=60, ocr=engine))
    assert caught.value.code == "no_text"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(60), "corrupt"),
        (as_file(Image.new("1", (30_000, 30_000)), "PNG"), "too_large"),
        (as_file(picture(LINES), "PNG")[:2000], "corrupt"),
    ],
)
def test_broken_and_boundless_pictures_are_refused(
    tmp_path: Path, engine: Ocr, data: bytes, code: str
) -> None:
    with pytest.raises(ParseError) as caught:
        parse_document(stored(tmp_path, data), "a.png", ParseLimits(seconds=60, ocr=engine))
    assert caught.value.code == code


def test_the_time_for_pictures_is_granted_once_they_are_read(tmp_path: Path, engine: Ocr) -> None:
    path = stored(tmp_path, as_file(picture(LINES * 20), "PNG"))
    hasty = Ocr(engine.folder, engine.languages, 0.0, engine.remedy)
    with pytest.raises(ParseError) as caught:
        parse_document(path, "a.png", ParseLimits(seconds=0.3, ocr=hasty))
    assert caught.value.code == "timeout"


def test_languages_and_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_ocr("auto", "deu, eng", 5.0).languages == "deu+eng"
    missing = find_ocr("auto", "eng+xyz", 5.0)
    assert missing.folder == ""
    assert "xyz" in missing.remedy
    assert "LONGLEAF_OCR" in find_ocr("off", "eng", 5.0).remedy
    monkeypatch.setattr(ocr, "_has_library", lambda: False)
    assert find_ocr("auto", "eng", 5.0) == Ocr()
