"""A page of a document as a picture, and where on it a passage stands: drawn in a child, within limits."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from ingest.errors import ParseError
from ingest.limits import ParseLimits
from ingest.parsers.placing import Passage
from ingest.parsers.regions import Box
from ingest.receiving import Receiver, reading_child
from ingest.wire import MAX_BOXES, WireError, read_json

MEDIA_TYPE = "image/webp"
DRAWN = frozenset({"application/pdf", "image/png", "image/jpeg", "image/tiff", "image/webp", "image/gif"})
"""The media types whose pages can be drawn."""
SECONDS = 20.0
"""What a page may take at most; OCR comes on top."""
_MAX_PICTURE = 32 << 20
_MAX_TEXT = 200_000  # a page's text goes along; no page that is read by people has more


@dataclass(frozen=True, slots=True)
class PagePicture:
    """A page of `width` and `height`: of pixels where `content` (WebP) is drawn, else of its own units, which
    are points in a PDF. `boxes` are fractions of that size, one for each line of the passage."""

    width: int
    height: int
    content: bytes = b""
    boxes: tuple[Box, ...] = ()


def draw_page(path: Path, filename: str, number: int, width: int, limits: ParseLimits) -> PagePicture:
    """Page `number` (from 1) of the file, at most so many pixels wide. Raises ParseError, OSError."""
    wanted = {"number": number, "width": width, "text": "", "start": 0, "end": 0}
    drawn = _asked(path, filename, wanted, limits)
    if not drawn.content.startswith(b"RIFF"):
        raise ParseError(
            "corrupt", f"Page {number} came without a picture; no page of this file can be drawn."
        )
    return drawn


def find_on_page(
    path: Path, filename: str, number: int, passage: Passage, limits: ParseLimits
) -> PagePicture:
    """Where a passage of page `number`'s text stands on the page.

    No boxes where it is not drawn there: in the text of an attached file, on a scan without OCR. Raises
    ParseError, OSError.
    """
    text = passage.text[:_MAX_TEXT]
    wanted = {"number": number, "width": 0, "text": text, "start": passage.start, "end": passage.end}
    return _asked(path, filename, wanted, limits)


def _asked(path: Path, filename: str, wanted: dict[str, object], limits: ParseLimits) -> PagePicture:
    limits = replace(limits, seconds=min(limits.seconds, SECONDS))
    deadline = time.monotonic() + limits.seconds
    with reading_child(path, filename, limits, {"page": wanted}) as child:
        return _Pages(child, limits, deadline).run()


class _Pages(Receiver[PagePicture]):
    """Puts a page together from its frames."""

    _drawn: PagePicture | None = None
    _content = b""

    def _frame(self, kind: str, payload: bytes) -> None:
        if kind == "D" and self._drawn is None:
            self._drawn = _measured(read_json(payload))
        elif kind == "I" and self._drawn is not None and len(self._content) < _MAX_PICTURE:
            self._content += payload
        elif kind == "Z" and self._drawn is not None:
            self._result = replace(self._drawn, content=self._content)
        else:
            raise WireError(f"frame {kind} out of place")


def _measured(body: dict[str, object]) -> PagePicture:
    """Raises WireError, ValueError, TypeError where it is not what a child sends."""
    width, height, boxes = body["width"], body["height"], body["boxes"]
    if not isinstance(width, int) or not isinstance(height, int) or min(width, height) < 1:
        raise WireError("a page without a size")
    if not isinstance(boxes, list) or len(boxes) > MAX_BOXES:
        raise WireError("boxes that are none")
    found = tuple(Box(*map(float, box)) for box in boxes)
    if not all(0 <= value <= 1 for box in found for value in box):
        raise WireError("a box that lies outside of its page")
    return PagePicture(width, height, boxes=found)
