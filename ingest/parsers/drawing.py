"""One page of a document drawn as a picture, and where on it a passage of its text stands.

Runs inside the sandbox only. PDF is drawn by PDFium with what its annotations show; pictures are scaled. A
passage is found by the letters that PDFium reads where they are drawn, on a page without such letters by OCR.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from ingest.errors import ParseError
from ingest.parsers import ocr
from ingest.parsers.pdf_drawing import open_page
from ingest.parsers.pdf_pictures import lacks_text
from ingest.parsers.placing import Passage, place
from ingest.parsers.regions import Box, Glyph, joined
from ingest.parsers.source import Context, Source
from ingest.sniff import sniff_stream

_QUALITY = 82  # of WebP: thin type stays sharp, and a page of text has a quarter of a PNG's bytes
_MAX_TALLER = 4
"""How much higher than wide a picture is at most; a longer page is drawn narrower."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A page: `picture` (WebP) of so many pixels, or nothing drawn; boxes as fractions of its size."""

    picture: bytes
    width: int
    height: int
    boxes: list[Box]


def draw(source: Source, number: int, width: int) -> Drawn:
    """Page `number` (from 1), at most so many pixels wide. Raises ParseError."""
    if _format(source) == "pdf":
        with open_page(source, number) as page:
            return _encoded(page.drawn(width, _MAX_TALLER * width))
    picture = _frame(source, number)
    picture.thumbnail((width, _MAX_TALLER * width))
    return _encoded(picture)


def find(source: Source, number: int, passage: Passage, context: Context) -> Drawn:
    """Where a passage of page `number`'s text stands on it; nothing is drawn.

    No box where the passage is not on the page: in the text of an attached file, or on a page without text
    where there is no OCR. Raises ParseError.
    """
    if _format(source) == "pdf":
        with open_page(source, number) as page:
            glyphs = list(page.glyphs())
            boxes = _boxes(glyphs, passage)
            if not boxes and context.ocr and lacks_text("".join(glyph.character for glyph in glyphs)):
                boxes = _read(page.scanned(), passage, context)
            width, height = page.size
            return Drawn(b"", round(width), round(height), boxes)
    picture = _frame(source, number)
    boxes = _read(picture, passage, context) if context.ocr else []
    return Drawn(b"", *picture.size, boxes)


def _boxes(glyphs: list[Glyph], passage: Passage) -> list[Box]:
    return joined(glyphs[i].box for i in place(passage, [glyph.character for glyph in glyphs]))


def _read(picture: Image.Image, passage: Passage, context: Context) -> list[Box]:
    return _boxes(list(_spelled(ocr.reader_for(context).words(picture))), passage)


def _spelled(words: Iterator[tuple[str, Box]]) -> Iterator[Glyph]:
    """A box for each letter of a word: its share of the word's width, as if all were as wide."""
    for word, box in words:
        for i, character in enumerate(word):
            left = box.left + (box.right - box.left) * i / len(word)
            right = box.left + (box.right - box.left) * (i + 1) / len(word)
            yield Glyph(character, Box(left, box.top, right, box.bottom))
        yield Glyph(" ", box)


def _format(source: Source) -> str:
    """`pdf` or `image`. Raises ParseError `unsupported_type`."""
    with source.open() as file:
        found = sniff_stream(file, source.filename).format
    if found not in ("pdf", "image"):
        raise ParseError("unsupported_type", "Only pages of PDF files and of pictures can be drawn.")
    return found


def _frame(source: Source, number: int) -> Image.Image:
    """A frame of a picture, in colour on white, turned as its camera says that it was held."""
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    try:
        picture: Any = Image.open(source.open())
        picture.seek(number - 1)
        return ocr.on_white(ImageOps.exif_transpose(picture)).convert("RGB")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ParseError(
            "too_large", f"The picture has over {ocr.MAX_PIXELS // 1_000_000} million pixels."
        ) from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError) as error:
        raise ParseError("corrupt", f"Page {number} cannot be drawn ({type(error).__name__}).") from error


def _encoded(picture: Image.Image) -> Drawn:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=_QUALITY, method=2)
    return Drawn(buffer.getvalue(), *picture.size, [])
