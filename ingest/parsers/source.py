"""Where a parser's bytes come from, and what a file within files may still cost."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ingest.errors import ParseError
from ingest.ocr import INSTALL
from ingest.parsers.base import ParsedPage, Reading
from ingest.parsers.joiner import Joiner

if TYPE_CHECKING:
    from ingest.parsers.pdf_helper import Helper

MAX_DEPTH = 3
"""Files within files within files: a ZIP in a mail in a ZIP is read, what lies deeper is named only."""
MAX_MEMBERS = 2000
MAX_UNPACKED = 512 << 20
MAX_PART = 64 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """A file on disk, or the bytes of one within another; `filename` is what it is called, never a path."""

    filename: str
    content: Path | bytes

    def open(self) -> BinaryIO:
        """A stream at its start."""
        return io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content.open("rb")

    def read(self) -> bytes:
        """All bytes."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


@dataclass(slots=True)
class Budget:
    """What all files within one document may cost together."""

    members: int = MAX_MEMBERS
    unpacked: int = MAX_UNPACKED

    def take(self, size: int) -> None:
        """Counts one member of `size` bytes. Raises ParseError `too_large`."""
        self.members -= 1
        self.unpacked -= size
        if self.members < 0:
            raise ParseError(
                "too_large", f"The file holds more than {MAX_MEMBERS} files within. Upload them in parts."
            )
        if self.unpacked < 0:
            raise ParseError(
                "too_large",
                f"The files within unpack to more than {MAX_UNPACKED >> 20} MiB. Upload them in parts.",
            )


@dataclass(frozen=True, slots=True)
class Context:
    """What a parser may do besides reading its own format; `open` reads any other one."""

    open: Callable[[Source, Context], Reading]
    max_pages: int
    max_characters: int
    ocr: str = ""  # the folder of the engine's data; empty: no OCR
    ocr_languages: str = ""
    ocr_remedy: str = INSTALL
    on_ocr: Callable[[], None] = lambda: None
    helper: Helper | None = None  # reads pages of the outermost file, where that is a PDF
    depth: int = 0
    budget: Budget = field(default_factory=Budget)

    def part(self, name: str, data: bytes, joiner: Joiner, level: int, kind: str = "") -> bool:
        """Appends a file within this one as a section headed by its name; returns whether it was read.

        What cannot be read leaves a line that says so. Raises ParseError `too_large` when all files within
        are more than the document may hold.
        """
        self.budget.take(len(data))
        label = " ".join(f"{kind} {name}".split())[:300]
        page, reason = self._read(name, data)
        if page is None:
            joiner.paragraph(f"{label} ({reason})")
            return False
        joiner.heading(label, level)
        joiner.page(page, shift=level)
        if joiner.characters > self.max_characters:
            raise ParseError(
                "too_large", f"The files within hold over {self.max_characters} characters. Split the file."
            )
        return True

    def _read(self, name: str, data: bytes) -> tuple[ParsedPage | None, str]:
        if self.depth >= MAX_DEPTH:
            return None, "not read: it lies too deep inside other files"
        try:
            reading = self.open(Source(name, data), replace(self, depth=self.depth + 1, helper=None))
            whole = Joiner()
            for page in reading.pages:
                whole.page(page)
        except ParseError as error:
            if (error.code == "too_large" and self.budget.members < 0) or self.budget.unpacked < 0:
                raise
            return None, f"not read: {_REASONS.get(error.code, error.code)}"
        except RecursionError:
            return None, "not read: damaged"
        except (MemoryError, OSError):
            raise
        except Exception:  # a broken attachment must not take the message with it
            return None, "not read: damaged"
        return (whole.done(), "") if whole.characters else (None, "no text")


_REASONS = {
    "encrypted": "protected by a password",
    "no_text": "a picture without readable text",
    "corrupt": "damaged",
    "empty": "no text",
    "unsupported_type": "not a type that holds text",
    "too_large": "too large",
}
