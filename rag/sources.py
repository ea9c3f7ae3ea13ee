"""Sources: what answering reads from the store, so that the steps of an answer need no database of their
own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from rag.citations import Citation, PageRange, page_at, verified
from rag.filter_sql import matching_documents
from rag.framing import clean_title
from rag.packing import Passage
from rag.quotes import Quote
from rag.recipe import Kept
from rag.retrieval import Candidate, SearchScope
from rag.store.records import DocumentRow, LiveChunk
from rag.store.repositories import Answers, Changes, Chunks, Collections, Documents
from rag.store.repositories.texts import read_pages, read_ranges, read_whole
from rag.store.scope import Scope
from rag.store.session import Database

T = TypeVar("T")
_CHARACTERS_A_TOKEN = 8
"""More characters than that a token are found in no language: a corpus longer than this times the budget is
not worth encoding to see whether it fits."""


class Sources:
    """Reads one workspace's documents for one question."""

    def __init__(self, db: Database, scope: SearchScope) -> None:
        self._db = db
        self._search = scope
        self._scope = Scope(scope.workspace_id)

    def budget(self) -> int | None:
        """The collection's most tokens of documents, None where the settings hold. Raises NotFound."""
        with self._db.read() as session:
            return Collections(session, self._scope).get(self._search.collection_id).max_context_tokens

    def whole(self, budget: int, candidates: Sequence[Candidate]) -> list[Passage] | None:
        """Every document of the scope in full, oldest first, or None when it is clear that they can't fit."""
        best: dict[str, Candidate] = {}
        for candidate in candidates:
            best.setdefault(candidate.document_id, candidate)

        def read(session: Session) -> list[Passage] | None:
            documents = Documents(session, self._scope)
            rows = self._rows(documents, session)
            if rows is None or sum(row.characters for row in rows) > budget * _CHARACTERS_A_TOKEN:
                return None
            found = []
            generations = [(row.id, row.generation) for row in rows]
            texts, all_pages = read_whole(session, generations), read_pages(session, generations)
            for row in rows:
                text, pages = texts[row.id], all_pages[row.id]
                found.append(
                    Passage(
                        row.id,
                        row.generation,
                        clean_title(row.title),
                        0,
                        len(text),
                        text,
                        best[row.id].score if row.id in best else 0.0,
                        tuple(c.chunk_id for c in candidates if c.document_id == row.id),
                        pages[0].number if pages else None,
                        pages[-1].number if pages else None,
                    )
                )
            return found

        if self._search.filters is None:
            found = self._reading(read)
        else:  # conditions on metadata hold at once, and no number tells when they changed
            with self._db.read() as session:
                found = read(session)
        return None if found is None else [passage for passage in found if passage.text.strip()]

    def _rows(self, documents: Documents, session: Any) -> list[DocumentRow] | None:
        wanted = self._search.document_ids
        if self._search.filters is not None:
            matching = matching_documents(
                session, self._scope, self._search.collection_id, self._search.filters
            )
            wanted = matching if wanted is None else wanted & matching
        if documents.count(collection_id=self._search.collection_id) > _MANY and wanted is None:
            return None
        rows = documents.live(self._search.collection_id)
        return [row for row in rows if wanted is None or row.id in wanted]

    def neighbours(self, candidates: Sequence[Candidate], best: int) -> dict[int, list[Passage]]:
        """The chunks after and before each of the `best` candidates on its page, by the candidate's chunk id.

        Documents without pages have none: their chunks end where the text parts by itself, while a page of
        tables is cut wherever a chunk is full (docs/decisions/0303-packing.md).
        """

        def read(session: Session) -> tuple[dict[int, list[LiveChunk]], dict[int, LiveChunk], dict[int, str]]:
            chunks = Chunks(session, self._scope)
            places = chunks.live([candidate.chunk_id for candidate in candidates[:best]])
            beside = {
                chunk_id: [
                    row
                    for row in reversed(
                        chunks.of_document(place.document_id, first=place.ordinal - 1, last=place.ordinal + 1)
                    )
                    if row.id != chunk_id and _share_a_page(row, place)
                ]
                for chunk_id, place in places.items()
                if place.page_start is not None
            }
            rows = {row.id: row for each in beside.values() for row in each}
            return beside, rows, chunks.texts(list(rows))

        beside, rows, texts = self._reading(read)
        known = {candidate.chunk_id: candidate.score for candidate in candidates}
        passages = {
            row.id: Passage(
                row.document_id,
                row.generation,
                clean_title(row.document_title),
                row.start,
                row.end,
                texts[row.id],
                known.get(row.id, 0.0),
                (row.id,),
                row.page_start,
                row.page_end,
            )
            for row in rows.values()
            if row.id in texts and len(texts[row.id]) == row.end - row.start
        }
        return {
            chunk_id: [passages[row.id] for row in each if row.id in passages]
            for chunk_id, each in beside.items()
        }

    def _reading(self, work: Callable[[Session], T]) -> T:
        """What `work` reads, from a replica only where it knows of all that was deleted up to now."""
        seq = 0
        if self._db.replicas is not None:
            with self._db.glance() as session:
                seq = Changes(session, self._scope).newest(self._search.collection_id)
        return self._db.reading(seq, work)

    def cite(self, quotes: Sequence[Quote], candidates: Sequence[Candidate]) -> tuple[Citation, ...]:
        """The quotes as citations, each checked against the stored text of this moment.

        A quote that has grown over the end of a page is cut to the page of its likeliest sentence, so that
        the page named is the one where the evidence stands.
        """
        about = {candidate.document_id: candidate for candidate in candidates}
        stored: dict[tuple[str, int, int], str] = {}
        proposed: list[Citation] = []
        with self._db.read() as session:
            rows = Documents(session, self._scope).many(sorted({quote.document_id for quote in quotes}))
            pages = read_pages(session, [(row.id, row.generation) for row in rows.values()])
            places: list[tuple[Quote, PageRange | None]] = []
            for quote in quotes:
                if quote.document_id not in rows:
                    continue
                own = pages[quote.document_id]
                ranges = [PageRange(page.number, page.start, page.end) for page in own]
                page = page_at(ranges, quote.seed[0])
                places.append((quote.within(page.start, page.end) if page else quote, page))
            texts = read_ranges(
                session,
                [
                    (cut.document_id, rows[cut.document_id].generation, cut.start, cut.end)
                    for cut, _ in places
                ],
            )
            for (cut, page), text in zip(places, texts, strict=True):
                stored[cut.document_id, cut.start, cut.end] = text
                proposed.append(_citation(cut, page, about[cut.document_id], len(proposed) + 1))
        return verified(proposed, stored)

    def keep(self, answer_id: str, question: str, kept: Kept) -> None:
        """Store how the answer came about, and its words while the documents that were read are there."""
        with self._db.session() as session:
            Answers(session, self._scope).add(
                question, kept.recipe, answer_id=answer_id, words=kept.words, sources=kept.sources
            )


def _share_a_page(one: LiveChunk, other: LiveChunk) -> bool:
    ends = (one.page_start, one.page_end, other.page_start, other.page_end)
    if any(page is None for page in ends):
        return False
    first, last, begins, ends_at = (page for page in ends if page is not None)
    return first <= ends_at and begins <= last


def _citation(quote: Quote, page: PageRange | None, about: Candidate, number: int) -> Citation:
    return Citation(
        id=number,
        document_id=quote.document_id,
        document_title=about.document_title,
        filename=about.filename,
        page_number=page.number if page else None,
        start_char_index=quote.start,
        end_char_index=quote.end,
        cited_text=quote.text,
        chunk_id=quote.chunk_id,
        score=round(quote.score, 6),
    )


_MANY = 1000
"""Documents from which on a collection is not even looked at for whole-corpus mode."""


def passages_of(candidates: Sequence[Candidate]) -> list[Passage]:
    """Retrieved candidates as the packer takes them."""
    return [
        Passage(
            c.document_id,
            c.generation,
            clean_title(c.document_title),
            c.start,
            c.end,
            c.text,
            c.score,
            (c.chunk_id,),
            c.page_start,
            c.page_end,
        )
        for c in candidates
        if len(c.text) == c.end - c.start
    ]
