"""Citations: a quote tied to its place in a stored document, checked against the stored text before it is
sent."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PageRange:
    """One page of a document: its number from 1, and its range `[start, end)` of the text in code points."""

    number: int
    start: int
    end: int


@dataclass(frozen=True)
class Citation:
    """A verbatim quote: `cited_text` is the stored text's range `[start_char_index, end_char_index)`.

    `id` counts from 1 inside one answer; offsets are Unicode code points; `page_number` is 1-based and None
    for formats without pages; `score` is the chance, from 0 to 1, that the quote holds what was asked.
    """

    id: int
    document_id: str
    document_title: str
    filename: str
    page_number: int | None
    start_char_index: int
    end_char_index: int
    cited_text: str
    chunk_id: int
    score: float

    def as_dict(self) -> dict[str, Any]:
        """The citation as the API shows it; chunk ids are written `chk_<id>`."""
        return {**asdict(self), "chunk_id": f"chk_{self.chunk_id}"}


def page_at(pages: Sequence[PageRange], offset: int) -> PageRange | None:
    """The page that holds `offset`; between two pages, the one before; None without pages.

    `pages` are in order of their start.
    """
    at = bisect_right([page.start for page in pages], offset)
    return pages[max(0, at - 1)] if pages else None


def verified(
    citations: Sequence[Citation], stored: Mapping[tuple[str, int, int], str]
) -> tuple[Citation, ...]:
    """The citations whose text is what is stored at their offsets, numbered anew from 1.

    `stored` holds the slice of the live text for each (document_id, start, end); one that is missing, because
    the document is gone, counts as a mismatch. A mismatch is logged, by place and never by content, and left
    out.
    """
    kept: list[Citation] = []
    for citation in citations:
        place = (citation.document_id, citation.start_char_index, citation.end_char_index)
        if stored.get(place) == citation.cited_text and citation.cited_text:
            kept.append(Citation(**{**asdict(citation), "id": len(kept) + 1}))
        else:
            log.warning("citation dropped: %s [%d, %d) is not the stored text", *place)
    return tuple(kept)
