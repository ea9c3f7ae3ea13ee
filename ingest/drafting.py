"""A file made into text, pages and chunks, without a store: on whichever machine has the time for it."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ingest.chunking import Chunk, TokenSpans, chunk_document, embedding_text
from ingest.limits import limits_of
from ingest.names import choose_title
from ingest.parsers.base import PageSpan, ParsedDocument
from ingest.sandbox import parse_document
from rag.settings import Settings
from rag.store.records import ChunkDraft


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be read: the file's name, and the title that its metadata give it."""

    filename: str
    given: object = None

    def title(self, parsed: ParsedDocument) -> str:
        """What the document is shown as, and its chunks are embedded with."""
        return choose_title(self.given, parsed.title, self.filename)


def read_file(
    path: Path,
    order: Order,
    settings: Settings,
    on_progress: Callable[[int, int | None], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> ParsedDocument:
    """The document at `path`, read in a child process and fit to be stored.

    Raises ParseError, ParseCancelled; OSError where no process can be started.
    """
    parsed = parse_document(path, order.filename, limits_of(settings), on_progress, cancelled)
    if "\0" not in parsed.text:
        return parsed
    # PostgreSQL stores no NUL; the replacement is as long, so every offset stays right
    return replace(parsed, text=parsed.text.replace("\0", "\ufffd"))


def cut(parsed: ParsedDocument, order: Order, token_spans: TokenSpans, chunk_tokens: int) -> list[ChunkDraft]:
    """The document's chunks of about so many tokens, ready to be written."""
    chunks = chunk_document(parsed, token_spans, chunk_tokens)
    return list(drafts(parsed, chunks, order.title(parsed)))


def drafts(parsed: ParsedDocument, chunks: Sequence[Chunk], title: str) -> Iterator[ChunkDraft]:
    """Chunks with their pages: those of their first and last character that is no white space; for a chunk of
    white space, that of its start. `title` is what they are embedded with."""
    starts = [page.start for page in parsed.pages]
    for ordinal, chunk in enumerate(chunks):
        piece = parsed.text[chunk.start : chunk.end]
        first = chunk.start + (len(piece) - len(piece.lstrip()) if piece.strip() else 0)
        last = max(first, chunk.start + len(piece.rstrip()) - 1)
        yield ChunkDraft(
            ordinal=ordinal,
            start=chunk.start,
            end=chunk.end,
            page_start=_page_at(parsed.pages, starts, first),
            page_end=_page_at(parsed.pages, starts, last),
            headings=tuple(chunk.headings),
            tokens=chunk.tokens,
            digest=hashlib.sha256(embedding_text(chunk, parsed.text, title).encode()).digest(),
        )


def _page_at(pages: Sequence[PageSpan], starts: Sequence[int], position: int) -> int | None:
    if not pages:
        return None
    return pages[max(0, bisect_right(starts, position) - 1)].number
