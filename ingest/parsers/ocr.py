"""Text of pictures by Tesseract: paragraphs and rows in the order in which its layout analysis reads them."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from ingest.errors import ParseError
from ingest.parsers.base import ParsedPage, Reading
from ingest.parsers.builder import Piece, collapse, join_pieces
from ingest.parsers.hyphens import LINE_END_HYPHEN, Vocabulary, join_hyphens
from ingest.parsers.pdf_layout import Line, is_table_row
from ingest.parsers.regions import Box
from ingest.parsers.source import Context, Source

DPI = 200
"""Resolution at which pages are drawn: body text of 10 points has letters of about 28 pixels."""
MAX_PIXELS = 80_000_000
_MAX_SIDE = 6000
_MIN_CONFIDENCE = 30.0
_SHORT, _SURE = 4, 75.0  # stains read as a letter or two

Image.MAX_IMAGE_PIXELS = MAX_PIXELS


def reader_for(context: Context) -> Reader:
    """The reader of this process; loading its data takes a tenth of a second."""
    context.on_ocr()
    return _loaded(context.ocr, context.ocr_languages)


class Reader:
    """Tesseract with its data loaded."""

    def __init__(self, folder: str, languages: str) -> None:
        import tesserocr  # noqa: PLC0415  # an extra

        has_osd = (Path(folder) / "osd.traineddata").is_file()
        mode = tesserocr.PSM.AUTO_OSD if has_osd else tesserocr.PSM.AUTO
        self._levels = tesserocr.RIL
        self._api = tesserocr.PyTessBaseAPI(path=folder, lang=languages, psm=mode)
        self._words = Vocabulary()

    def page(self, picture: Image.Image, dpi: int = DPI) -> ParsedPage:
        """The text of a picture."""
        if not self._recognises(_flat(picture), dpi):
            return ParsedPage("")
        pieces: list[Piece] = []
        for paragraph in self._paragraphs():
            pieces += self._pieces(paragraph)
        return join_pieces(pieces)

    def words(self, picture: Image.Image, dpi: int = DPI) -> Iterator[tuple[str, Box]]:
        """The words of a picture, where they stand on it, in the order in which they are read."""
        picture = _flat(picture)
        if not self._recognises(picture, dpi):
            return
        wide, high = picture.size
        found: Any = self._api.GetIterator()
        while found is not None:
            try:
                word = (found.GetUTF8Text(self._levels.WORD) or "").strip()
                at = found.BoundingBox(self._levels.WORD)
            except RuntimeError:  # a block without text
                word, at = "", None
            if word and at is not None:
                yield word, Box(at[0] / wide, at[1] / high, at[2] / wide, at[3] / high)
            if not found.Next(self._levels.WORD):
                break

    def _recognises(self, picture: Image.Image, dpi: int) -> bool:
        self._api.SetImage(picture)
        self._api.SetSourceResolution(dpi)
        return bool(self._api.Recognize())

    def _paragraphs(self) -> Iterator[list[Line]]:
        """The lines of each paragraph; what is hardly more than guessed is left out."""
        found: Any = self._api.GetIterator()
        lines: list[Line] = []
        while found is not None:
            try:
                text = found.GetUTF8Text(self._levels.TEXTLINE) or ""
                short = sum(map(str.isalnum, text)) < _SHORT
                sure = found.Confidence(self._levels.TEXTLINE) >= (_SURE if short else _MIN_CONFIDENCE)
            except RuntimeError:  # a block without text
                text, sure = "", False
            if lines and found.IsAtBeginningOf(self._levels.PARA):
                yield lines
                lines = []
            if sure and text.strip():
                lines.append(Line(text.strip()))
            if not found.Next(self._levels.TEXTLINE):
                break
        if lines:
            yield lines

    def _pieces(self, lines: list[Line]) -> Iterator[Piece]:
        for line in lines[:-1]:
            if line.text.endswith("-") and line.text[-2:-1].isalpha():
                line.text = line.text[:-1] + LINE_END_HYPHEN
        prose: list[str] = []
        for line in join_hyphens(lines, self._words):
            text = collapse(line.text, keep_breaks=False)
            if is_table_row(text):
                yield Piece("paragraph", "\n".join(prose))
                prose = []
                yield Piece("table_row", text)
            else:
                prose.append(text)
        yield Piece("paragraph", "\n".join(prose))


def on_white(picture: Image.Image) -> Image.Image:
    """The picture; what is transparent of it is white."""
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return picture
    picture = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)


def _flat(picture: Image.Image) -> Image.Image:
    """In grey, on white, and no larger than Tesseract is asked to take."""
    picture = on_white(picture).convert("L")
    if max(picture.size) > _MAX_SIDE:
        picture.thumbnail((_MAX_SIDE, _MAX_SIDE))
    return picture


@functools.lru_cache(maxsize=1)
def _loaded(folder: str, languages: str) -> Reader:
    return Reader(folder, languages)


def read_picture(source: Source, context: Context) -> Reading:
    """A picture as a document: a page for each frame of a TIFF, one page for any other.

    Raises ParseError `corrupt`, `too_large`.
    """
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    try:
        picture = Image.open(source.open())
        frames = int(getattr(picture, "n_frames", 1)) if picture.format == "TIFF" else 1
        media_type = Image.MIME.get(picture.format or "", "image/png")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large() from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise ParseError("corrupt", f"The picture does not open ({type(error).__name__}).") from error
    if frames > context.max_pages:
        raise ParseError("too_large", f"The picture has {frames} pages, the limit is {context.max_pages}.")
    return Reading(media_type, None, frames, _frames(picture, frames, context))


def _frames(picture: Image.Image, count: int, context: Context) -> Iterator[ParsedPage]:
    reader = reader_for(context)
    for number in range(count):
        try:
            picture.seek(number)
            stated = picture.info.get("dpi", (0, 0))[0]
            yield reader.page(picture, int(stated) if 70 <= stated <= 1200 else 300)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise _too_large() from error
        except (OSError, ValueError, SyntaxError, EOFError, TypeError, IndexError) as error:
            if number == 0:
                raise ParseError(
                    "corrupt", f"The picture is damaged ({type(error).__name__}). Save it again."
                ) from error
            yield ParsedPage("")


def _too_large() -> ParseError:
    return ParseError(
        "too_large", f"The picture has over {MAX_PIXELS // 1_000_000} million pixels. Scale it down."
    )
