"""Sources: what answering reads from the store, so that the steps of an answer need no database of their
own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rag.citations import Citation, PageRange, page_at, verified
from rag.errors import NotFound
from rag.filter_sql import matching_documents
from rag.framing import clean_title
from rag.packing import Passage
from rag.quoting import Quote
from rag.recipe import Kept
from rag.retrieval import Candidate, SearchScope
from rag.store.records import DocumentRow, LiveChunk
from rag.store.repositories import Answers, Chunks, Collections, Documents
from rag.store.scope import Scope
from rag.store.session import Database

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
        with self._db.read() as session:
            documents = Documents(session, self._scope)
            rows = self._rows(documents, session)
            if rows is None or sum(row.characters for row in rows) > budget * _CHARACTERS_A_TOKEN:
                return None
            found = []
            for row in rows:
                text = documents.text(row.id)
                pages = documents.pages(row.id)
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
        return [passage for passage in found if passage.text.strip()]

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
        with self._db.read() as session:
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
            texts = chunks.texts(list(rows))
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

    def cite(self, quotes: Sequence[Quote], candidates: Sequence[Candidate]) -> tuple[Citation, ...]:
        """The quotes as citations, each checked against the stored text of this moment.

        A quote that has grown over the end of a page is cut to the page of its likeliest sentence, so that
        the page named is the one where the evidence stands.
        """
        about = {candidate.document_id: candidate for candidate in candidates}
        stored: dict[tuple[str, int, int], str] = {}
        proposed: list[Citation] = []
        with self._db.read() as session:
            documents = Documents(session, self._scope)
            for quote in quotes:
                try:
                    page = page_at(self._pages(documents, quote.document_id), quote.seed[0])
                    cut = quote.within(page.start, page.end) if page else quote
                    [text] = documents.text_slices(cut.document_id, [(cut.start, cut.end)])
                except NotFound:
                    continue
                stored[cut.document_id, cut.start, cut.end] = text
                proposed.append(_citation(cut, page, about[cut.document_id], len(proposed) + 1))
        return verified(proposed, stored)

    @staticmethod
    def _pages(documents: Documents, document_id: str) -> list[PageRange]:
        return [PageRange(page.number, page.start, page.end) for page in documents.pages(document_id)]

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
