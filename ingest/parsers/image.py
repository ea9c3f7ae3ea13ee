"""Pictures (PNG, JPEG, TIFF, WebP, GIF): their text by OCR, where that is installed."""

from __future__ import annotations

from ingest.errors import ParseError
from ingest.parsers.base import Reading
from ingest.parsers.source import Context, Source


def read(source: Source, context: Context) -> Reading:
    """A reading of a picture. Raises ParseError: `no_text` without OCR, `corrupt`, `too_large`."""
    if not context.ocr:
        raise ParseError("no_text", f"This is a picture. {context.ocr_remedy}")
    from ingest.parsers import ocr  # noqa: PLC0415  # loads the engine

    return ocr.read_picture(source, context)
