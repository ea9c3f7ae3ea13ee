"""What one document may cost its reader."""

from __future__ import annotations

from dataclasses import dataclass

from ingest.ocr import NO_OCR, Ocr, find_ocr
from rag.settings import Settings


@dataclass(frozen=True, slots=True)
class ParseLimits:
    """What one document may cost: wall seconds, bytes of address space, code points of text, pages."""

    seconds: float = 120.0
    memory_bytes: int = 1 << 30
    max_characters: int = 50_000_000
    max_pages: int = 20_000
    ocr: Ocr = NO_OCR


def limits_of(settings: Settings) -> ParseLimits:
    """What the settings let one document cost."""
    return ParseLimits(
        seconds=settings.parse_timeout_seconds,
        memory_bytes=settings.parse_memory_bytes,
        ocr=find_ocr(settings.ocr, settings.ocr_languages, settings.ocr_timeout_seconds),
    )


def helper_bytes(memory_bytes: int) -> int:
    """The memory of a second process that reads a large PDF along with one that may take so many bytes."""
    return memory_bytes // 2


def most_memory(settings: Settings) -> int:
    """Bytes that the parsers of this process may take together."""
    one = settings.parse_memory_bytes
    return settings.ingest_workers * (one + helper_bytes(one))
