"""Texts and pages of many documents with few statements. Callers have checked whose documents they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Select, and_, bindparam, or_, select
from sqlalchemy.orm import Session

from rag.store.records import PageRow
from rag.store.scope import fetch
from rag.store.tables import TEXT_SEGMENT, Page, TextSegment

_MOST_PLACES = 128


def read_slices(
    session: Session, document_id: str, generation: int, spans: Sequence[tuple[int, int]]
) -> list[str]:
    """Slices of one generation's text; the caller has checked whose document it is."""
    return read_ranges(session, [(document_id, generation, start, end) for start, end in spans])


def read_ranges(session: Session, ranges: Sequence[tuple[str, int, int, int]]) -> list[str]:
    """Texts of (document, generation, start, end), with few statements for any number of documents.

    The caller has checked whose documents they are.
    """
    places = {
        (document_id, generation, number * TEXT_SEGMENT)
        for document_id, generation, start, end in ranges
        if end > start
        for number in range(start // TEXT_SEGMENT, (end - 1) // TEXT_SEGMENT + 1)
    }
    segments: dict[tuple[str, int], dict[int, str]] = {}
    wanted = sorted(places)
    for first in range(0, len(wanted), _MOST_PLACES):
        some = wanted[first : first + _MOST_PLACES]
        count = 1 << (len(some) - 1).bit_length()
        values = {
            f"{name}_{number}": value
            for number, place in enumerate([*some, *[("", 0, 0)] * (count - len(some))])
            for name, value in zip(("document", "generation", "start"), place, strict=True)
        }
        for document_id, generation, start, text in fetch(session, _segments_at(count), values):
            segments.setdefault((document_id, generation), {})[start // TEXT_SEGMENT] = text
    return [
        _cut(segments.get((document_id, generation), {}), start, end)
        for document_id, generation, start, end in ranges
    ]


def read_whole(session: Session, documents: Sequence[tuple[str, int]]) -> dict[str, str]:
    """The texts of (document, generation), by document; "" where there is none. The caller has checked whose
    they are, and how much it will be."""
    parts: dict[str, list[str]] = {document_id: [] for document_id, _ in documents}
    for generations in _some(documents):
        query = (
            select(TextSegment.document_id, TextSegment.generation, TextSegment.text)
            .where(TextSegment.document_id.in_(generations))
            .order_by(TextSegment.document_id, TextSegment.start)
        )
        for document_id, generation, text in session.execute(query):
            if generation == generations[document_id]:
                parts[document_id].append(text)
    return {document_id: "".join(each) for document_id, each in parts.items()}


def read_pages(session: Session, documents: Sequence[tuple[str, int]]) -> dict[str, list[PageRow]]:
    """The pages of (document, generation) in order, by document. The caller has checked whose they are."""
    pages: dict[str, list[PageRow]] = {document_id: [] for document_id, _ in documents}
    for generations in _some(documents):
        query = (
            select(Page.document_id, Page.generation, Page.number, Page.start, Page.end)
            .where(Page.document_id.in_(generations))
            .order_by(Page.document_id, Page.number)
        )
        for document_id, generation, *page in session.execute(query):
            if generation == generations[document_id]:
                pages[document_id].append(PageRow(*page))
    return pages


def _some(documents: Sequence[tuple[str, int]]) -> Iterator[dict[str, int]]:
    """So many of them at a time as SQLite takes parameters for, by their ids."""
    for first in range(0, len(documents), 500):
        yield dict(documents[first : first + 500])


@cache
def _segments_at(count: int) -> Select[*tuple[Any, ...]]:
    """Segments at so many places; to build the statement takes longer than to run it.

    One condition for each place: SQLite looks a list of rows `IN` up by walking through all texts there are.
    """
    table = TextSegment.__table__.c
    places = (
        and_(
            table.document_id == bindparam(f"document_{number}"),
            table.generation == bindparam(f"generation_{number}"),
            table.start == bindparam(f"start_{number}"),
        )
        for number in range(count)
    )
    return select(table.document_id, table.generation, table.start, table.text).where(or_(*places))


def _cut(segments: dict[int, str], start: int, end: int) -> str:
    if end <= start:
        return ""
    first, last = start // TEXT_SEGMENT, (end - 1) // TEXT_SEGMENT
    joined = "".join(segments.get(number, "") for number in range(first, last + 1))
    return joined[start - first * TEXT_SEGMENT : end - first * TEXT_SEGMENT]
