"""Pictures (PNG, JPEG, TIFF, WebP, GIF): known, and refused with what to do."""

from __future__ import annotations

from ingest.errors import ParseError
from ingest.parsers.base import Reading
from ingest.parsers.source import Context, Source


def read(_source: Source, _context: Context) -> Reading:
    """Raises ParseError `no_text`."""
    raise ParseError("no_text", "This is a picture. Run OCR on it and upload that.")
