"""Pages as pictures, in the real child: what is drawn there, and that boxes lie on the very words."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

import pypdf
import pytest
from ingesting import tiny_pdf
from PIL import Image, ImageDraw, ImageFont
from pypdf.generic import RectangleObject

from ingest.errors import ParseError
from ingest.limits import ParseLimits
from ingest.ocr import Ocr, find_ocr
from ingest.page_pictures import PagePicture, draw_page, find_on_page
from ingest.parsers.placing import Passage
from ingest.sandbox import parse_document

DATA = Path(__file__).resolve().parents[1] / "data"
PLAIN = ParseLimits(seconds=60)
DARK = 140


@pytest.fixture(scope="module")
def ocr() -> Ocr:
    found = find_ocr("auto", "eng", 60.0)
    assert found.folder, found.remedy
    return found


def stored(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "blob"
    path.write_bytes(content)
    return path


def drawn(path: Path, number: int = 1, width: int = 1200) -> Image.Image:
    found = draw_page(path, path.name, number, width, PLAIN)
    picture = Image.open(io.BytesIO(found.content))
    assert picture.format == "WEBP"
    assert picture.size == (found.width, found.height)
    return picture.convert("L")


def page_text(path: Path, number: int, limits: ParseLimits = PLAIN) -> str:
    document = parse_document(path, path.name, limits)
    page = document.pages[number - 1]
    return document.text[page.start : page.end]


def pointed(path: Path, number: int, passage: str, limits: ParseLimits = PLAIN) -> PagePicture:
    text = page_text(path, number, limits)
    start = text.index(passage)
    return find_on_page(path, path.name, number, Passage(text, start, start + len(passage)), limits)


def dark(picture: Image.Image) -> int:
    return sum(picture.histogram()[:DARK])


def without(picture: Image.Image, found: PagePicture, grown: int = 2) -> Image.Image:
    """The picture with everything in the boxes made white."""
    left = picture.copy()
    draw = ImageDraw.Draw(left)
    for box in found.boxes:
        corners = (
            box.left * left.width,
            box.top * left.height,
            box.right * left.width,
            box.bottom * left.height,
        )
        draw.rectangle(
            [corners[0] - grown, corners[1] - grown, corners[2] + grown, corners[3] + grown], fill=255
        )
    return left


def read_in(picture: Image.Image, found: PagePicture, ocr: Ocr) -> str:
    """What Tesseract reads in the boxes, each cut out of the picture."""
    import tesserocr  # noqa: PLC0415

    read = []
    with tesserocr.PyTessBaseAPI(path=ocr.folder, lang="eng", psm=tesserocr.PSM.SINGLE_LINE) as engine:
        for box in found.boxes:
            cut = picture.crop((
                round(box.left * picture.width), round(box.top * picture.height),
                round(box.right * picture.width), round(box.bottom * picture.height),
            ))  # fmt: skip
            sheet = Image.new("L", (cut.width + 40, cut.height + 40), 255)
            sheet.paste(cut, (20, 20))
            engine.SetImage(sheet.resize((sheet.width * 2, sheet.height * 2)))
            read.append(engine.GetUTF8Text().strip())
    return " ".join(read)


@pytest.mark.parametrize("turned", [0, 90, 180, 270])
def test_boxes_cover_the_words_and_nothing_else(tmp_path: Path, turned: int) -> None:
    reader = pypdf.PdfReader(io.BytesIO(tiny_pdf(["By the river stood a mill of grey stone."])))
    page = reader.pages[0]
    page.cropbox = RectangleObject((36, 300, 500, 780))
    page.rotate(turned)
    writer = pypdf.PdfWriter()
    writer.add_page(page)
    buffer = io.BytesIO()
    writer.write(buffer)
    path = stored(tmp_path, buffer.getvalue())
    picture = drawn(path)
    assert picture.size == (1200, 1241 if turned in (0, 180) else 1160)
    whole = pointed(path, 1, "By the river stood a mill of grey stone.")
    assert len(whole.boxes) == 1
    assert (whole.width, whole.height) == ((464, 480) if turned in (0, 180) else (480, 464))
    assert dark(picture) > 500
    assert dark(without(picture, whole)) == 0
    part = pointed(path, 1, "a mill of grey")
    remains = dark(without(picture, part))
    assert 0.3 * dark(picture) < remains < 0.8 * dark(picture)


def test_what_stands_in_the_boxes_is_the_passage(ocr: Ocr) -> None:
    path = DATA / "formats" / "harbour.pdf"
    text = page_text(path, 1)
    passages = [line for line in text.split("\n") if 20 <= len(line) <= 60][:6]
    assert len(passages) >= 3
    picture = drawn(path, 1, 2000)
    for passage in passages:
        found = pointed(path, 1, passage)
        read = read_in(picture, found, ocr)
        assert _letters(read) == _letters(passage)


def _letters(text: str) -> str:
    return "".join(each for each in text.lower() if each.isalnum())


def scan(lines: list[str]) -> Image.Image:
    image = Image.new("RGB", (1000, 120 + 60 * len(lines)), "white")
    draw = ImageDraw.Draw(image)
    for row, line in enumerate(lines):
        draw.text((60, 50 + 60 * row), line, fill="black", font=ImageFont.load_default(size=40))
    return image


@pytest.mark.parametrize("kind", ["PDF", "PNG", "TIFF"])
def test_a_scan_is_pointed_at_by_ocr(tmp_path: Path, ocr: Ocr, kind: str) -> None:
    lines = ["The committee shall meet four times", "a year and keep written minutes."]
    buffer = io.BytesIO()
    scan(lines).save(buffer, kind)
    path = stored(tmp_path, buffer.getvalue())
    reads = ParseLimits(seconds=60, ocr=ocr)
    found = pointed(path, 1, "written minutes.", reads)
    assert len(found.boxes) == 1
    assert _letters(read_in(drawn(path), found, ocr)) == "writtenminutes"
    text = page_text(path, 1, reads)
    blind = find_on_page(path, path.name, 1, Passage(text, 0, 20), PLAIN)
    assert blind.boxes == ()


def test_every_frame_of_a_tiff_is_a_picture(tmp_path: Path) -> None:
    frames = [scan(["one line"]), scan(["two", "lines"])]
    buffer = io.BytesIO()
    frames[0].save(buffer, "TIFF", save_all=True, append_images=frames[1:])
    path = stored(tmp_path, buffer.getvalue())
    assert [drawn(path, number).height for number in (1, 2)] == [180, 240]
    with pytest.raises(ParseError) as caught:
        draw_page(path, path.name, 3, 1200, PLAIN)
    assert caught.value.code == "corrupt"


def test_a_photograph_is_shown_as_it_was_held(tmp_path: Path, ocr: Ocr) -> None:
    lines = ["The committee shall meet four times", "a year and keep written minutes."]
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    buffer = io.BytesIO()
    scan(lines).rotate(90, expand=True).save(buffer, "JPEG", quality=95, exif=exif)
    path = stored(tmp_path, buffer.getvalue())
    picture = drawn(path, width=1000)
    assert picture.size == (1000, 240)
    found = pointed(path, 1, "written minutes.", ParseLimits(seconds=60, ocr=ocr))
    assert (found.width, found.height) == (1000, 240)
    assert _letters(read_in(picture, found, ocr)) == "writtenminutes"


def test_a_file_that_is_attached_is_not_on_the_page(tmp_path: Path) -> None:
    writer = pypdf.PdfWriter(io.BytesIO(tiny_pdf(["A letter about the harbour."])))
    writer.add_attachment("tides.txt", b"High water stands at noon.")
    buffer = io.BytesIO()
    writer.write(buffer)
    path = stored(tmp_path, buffer.getvalue())
    assert pointed(path, 1, "High water stands at noon.").boxes == ()
    assert len(pointed(path, 1, "about the harbour").boxes) == 1


def test_a_page_that_is_endlessly_long_or_wide_is_drawn_small(tmp_path: Path) -> None:
    long = stored(tmp_path, tiny_pdf(["word"], width=3))
    picture = drawn(long)
    assert picture.height <= 4 * 1200
    assert picture.width < 30


@pytest.mark.parametrize(
    ("content", "number", "code"),
    [
        (b"plain text, no page", 1, "unsupported_type"),
        (tiny_pdf(["one"]), 2, "corrupt"),
        (tiny_pdf(["one"]), 0, "corrupt"),
        (b"%PDF-1.4\nnothing", 1, "corrupt"),
        (b"\x89PNG\r\n\x1a\nnothing", 1, "corrupt"),
        ((DATA / "hostile" / "password.pdf").read_bytes(), 1, "encrypted"),
    ],
)
def test_what_cannot_be_drawn_says_so(tmp_path: Path, content: bytes, number: int, code: str) -> None:
    path = stored(tmp_path, content)
    for work in (
        lambda: draw_page(path, "file", number, 800, PLAIN),
        lambda: find_on_page(path, "file", number, Passage("one", 0, 3), PLAIN),
    ):
        with pytest.raises(ParseError) as caught:
            work()
        assert caught.value.code == code


@pytest.mark.parametrize("path", sorted((DATA / "hostile").glob("*.pdf")), ids=lambda path: str(path.stem))
def test_hostile_files_are_drawn_or_refused(path: Path) -> None:
    limits = ParseLimits(seconds=10, memory_bytes=512 << 20)
    found = None
    with suppress(ParseError):
        found = draw_page(path, path.name, 1, 800, limits)
    assert found is None or (0 < found.width <= 800 and 0 < len(found.content) < 4 << 20)
