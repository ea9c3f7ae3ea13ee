"""What one document may cost its reader."""

from __future__ import annotations

from dataclasses import dataclass

from ingest.ocr import NO_OCR, Ocr


@dataclass(frozen=True, slots=True)
class ParseLimits:
    """What one document may cost: wall seconds, bytes of address space, code points of text, pages."""

    seconds: float = 120.0
    memory_bytes: int = 1 << 30
    max_characters: int = 50_000_000
    max_pages: int = 20_000
    ocr: Ocr = NO_OCR
