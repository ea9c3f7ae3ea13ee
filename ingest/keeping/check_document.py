"""One document against itself: its file, and that text, pages, chunks and vectors of the live generation fit.

Text comes in rows of a fixed size from 0 on; pages, where there are any, tile it, and so do chunks. Every
chunk of a live generation has a vector of its collection's length, whose norm is 1 as far as float16 can say.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ingest.blobs import blob_name
from ingest.keeping.findings import Cure, Problem
from ingest.originals.port import Originals
from rag.errors import LongleafError
from rag.store.tables import TEXT_SEGMENT, Chunk, Document, Page, TextSegment, Version

NORM_TOLERANCE = 0.01
"""float16 keeps 11 bits of each number; the norm of a unit vector of them is off by far less than this."""

Lengths = dict[str, int]
"""How many numbers the vectors of each collection have."""

Span = tuple[int, int]


def check_file(originals: Originals, document: Document, version: Version) -> Iterator[Problem]:
    """The original of one version. Raises Unavailable, OSError other than that it is missing."""
    name = blob_name(document.id, version.generation)
    try:
        found = originals.digest(document.id, version.generation)
    except FileNotFoundError:
        yield _of(document, "file_missing", f"its original {name} is not in {originals.where}")
        return
    except LongleafError as error:
        if error.code != "file_damaged":
            raise
        yield _of(document, "file_damaged", f"its original {name} in {originals.where}: {error.detail}")
        return
    if (found.sha256, found.bytes) != (version.sha256, version.bytes):
        what = f"{found.bytes:,} bytes" if found.bytes != version.bytes else "another digest"
        yield _of(
            document,
            "file_damaged",
            f"its original {name} has {what}, not what was uploaded ({version.bytes:,} bytes)",
        )


def vector_lengths(session: Session) -> Lengths:
    """The length that most vectors of each collection have."""
    size = func.length(Chunk.vector)
    query = (
        select(Chunk.collection_id, size, func.count())
        .where(Chunk.vector.is_not(None))
        .group_by(Chunk.collection_id, size)
        .order_by(func.count())
    )
    return {collection_id: found // 2 for collection_id, found, _ in session.execute(query)}


def check_content(session: Session, document: Document, lengths: Lengths) -> Iterator[Problem]:
    """What is stored of the live generation; nothing to say of a document that has none."""
    if document.generation == 0:
        return
    yield from _text(session, document)
    pages = _pages(session, document)
    yield from _check_pages(document, pages)
    yield from _chunks(session, document, pages)
    yield from _vectors(session, document, lengths)


def _text(session: Session, document: Document) -> Iterator[Problem]:
    size = func.length(TextSegment.text)
    rows = session.execute(
        select(TextSegment.start, size)
        .where(TextSegment.document_id == document.id, TextSegment.generation == document.generation)
        .order_by(TextSegment.start)
    ).all()
    at = 0
    for number, (start, length) in enumerate(rows):
        full = length == TEXT_SEGMENT or number == len(rows) - 1
        if start != at or not full or length == 0:
            yield _of(
                document,
                "text_broken",
                f"its text has {length:,} characters from {start:,} on where it reached to {at:,}",
                "reread",
            )
            return
        at = start + length
    if at != document.characters:
        detail = f"its text has {at:,} characters, not {document.characters:,}"
        yield _of(document, "text_broken", detail, "reread")


def _pages(session: Session, document: Document) -> list[tuple[int, int, int]]:
    query = (
        select(Page.number, Page.start, Page.end)
        .where(Page.document_id == document.id, Page.generation == document.generation)
        .order_by(Page.number)
    )
    return [(number, start, end) for number, start, end in session.execute(query)]


def _check_pages(document: Document, pages: Sequence[tuple[int, int, int]]) -> Iterator[Problem]:
    spans = [(start, end) for _, start, end in pages]
    if pages and [number for number, *_ in pages] != list(range(1, len(pages) + 1)):
        yield _of(document, "pages_broken", "its pages are not numbered from 1 on", "reread")
    elif pages and (fault := _not_tiling(spans, document.characters)):
        yield _of(document, "pages_broken", f"its pages do not tile its text: {fault}", "reread")
    elif len(pages) != document.pages_total or document.pages_done != document.pages_total:
        detail = f"it has {len(pages)} pages and says {document.pages_done} of {document.pages_total}"
        yield _of(document, "counters_wrong", detail, "counters")


def _chunks(session: Session, document: Document, pages: Sequence[tuple[int, int, int]]) -> Iterator[Problem]:
    columns = (Chunk.ordinal, Chunk.start, Chunk.end, Chunk.page_start, Chunk.page_end, Chunk.collection_id)
    rows = session.execute(
        select(*columns, Chunk.tokens)
        .where(Chunk.document_id == document.id, Chunk.generation == document.generation)
        .order_by(Chunk.ordinal)
    ).all()
    if [row.ordinal for row in rows] != list(range(len(rows))):
        yield _of(document, "chunks_broken", "its chunks are not numbered from 0 on", "reread")
    elif fault := _not_tiling([(row.start, row.end) for row in rows], document.characters):
        yield _of(document, "chunks_broken", f"its chunks do not tile its text: {fault}", "reread")
    elif wrong := next((row for row in rows if _pages_wrong(row, pages)), None):
        detail = f"chunk {wrong.ordinal} names pages {wrong.page_start} to {wrong.page_end}, where it is not"
        yield _of(document, "chunks_broken", detail, "reread")
    if any(row.collection_id != document.collection_id for row in rows):
        yield _of(document, "chunks_elsewhere", "its chunks name another collection", "owner")
    if (document.chunks_done, document.chunks_total) != (len(rows), len(rows)):
        detail = f"it has {len(rows)} chunks and says {document.chunks_done} of {document.chunks_total}"
        yield _of(document, "counters_wrong", detail, "counters")


def _pages_wrong(row: Any, pages: Sequence[tuple[int, int, int]]) -> bool:
    """Whether a chunk names other pages than those on which its first and last characters can be."""
    first, last, start, end = row.page_start, row.page_end, row.start, row.end
    if not pages or first is None or last is None:
        return bool(pages) or (first, last) != (None, None)
    starts = [page[1] for page in pages]
    low, high = (bisect_right(starts, place) for place in (start, max(start, end - 1)))
    return not low <= first <= last <= high


def _vectors(session: Session, document: Document, lengths: Lengths) -> Iterator[Problem]:
    rows = session.execute(
        select(Chunk.ordinal, Chunk.vector)
        .where(Chunk.document_id == document.id, Chunk.generation == document.generation)
        .order_by(Chunk.ordinal)
    ).all()
    bad = {
        ordinal: fault
        for ordinal, packed in rows
        if (fault := vector_fault(packed, lengths.get(document.collection_id, 0)))
    }
    if bad:
        ordinal, fault = next(iter(bad.items()))
        detail = f"{len(bad)} of its {len(rows)} vectors are no good; that of chunk {ordinal} {fault}"
        yield _of(document, "vectors_broken", detail, "vectors")


def vector_fault(packed: bytes | None, length: int) -> str | None:
    """What is wrong with a stored vector that should have `length` numbers; None when nothing is."""
    if packed is None:
        return "is missing"
    if len(packed) != 2 * length or not length:
        return f"has {len(packed) / 2:g} numbers, not {length}"
    norm = float(np.linalg.norm(np.frombuffer(packed, dtype=np.float16).astype(np.float32)))
    return None if abs(norm - 1) <= NORM_TOLERANCE else f"has the norm {norm:.3f}"


def _not_tiling(spans: Sequence[Span], length: int) -> str | None:
    """Where the spans leave a gap, overlap, or miss the ends; None when they tile [0, length)."""
    if not spans:
        return "there is none" if length else None
    if spans[0][0] != 0:
        return f"the first begins at {spans[0][0]:,}"
    if spans[-1][1] != length:
        return f"the last ends at {spans[-1][1]:,} of {length:,}"
    for before, after in pairwise(spans):
        if before[1] != after[0]:
            return f"one ends at {before[1]:,} and the next begins at {after[0]:,}"
    empty = next((span for span in spans if span[0] >= span[1]), None)
    return f"one is empty at {empty[0]:,}" if empty else None


def _of(document: Document, code: str, detail: str, cure: Cure | None = None) -> Problem:
    return Problem(code, document.id, detail, cure, document.workspace_id)
