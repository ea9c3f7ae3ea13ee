"""One question's way to candidates: both legs, fusion, then the catalogue, which has the last word."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from rag.exact import Phrase, found_at, normalised, quoted_phrases
from rag.filter_sql import matching_documents
from rag.filters import Filter
from rag.fusion import SMALLEST_SPREAD, fuse, order
from rag.index.collection import CollectionIndex
from rag.index.hits import Hits, Partial
from rag.index.live import LiveIndexes
from rag.index.vectors import Floats
from rag.observing import NOBODY, Observer
from rag.store.records import LiveChunk
from rag.store.repositories import Chunks
from rag.store.repositories.texts import read_ranges
from rag.store.scope import Scope
from rag.store.session import Database

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from rag.embedders import Embedder
    from rag.rerank import Reranker
    from rag.shards.searching import ShardedIndex, Sharding

DEPTH = 200
"""Chunks that each leg contributes."""
PHRASE = np.float32(1.0)
"""What a quoted phrase of two words counts for a chunk that holds it."""
READ_FOR_PHRASES = 50
"""Of the best chunks, so many are read for quoted phrases, besides those that the index names."""


@dataclass(frozen=True)
class SearchScope:
    """Where to look: a collection of a workspace, or only its `document_ids`, or what `filters` match."""

    workspace_id: str
    collection_id: str
    document_ids: frozenset[str] | None = None
    filters: Filter | None = None


@dataclass(frozen=True)
class Candidate:
    """A chunk that may hold the answer: `text` is the document's text[start:end], in code points.

    `score` is the fused one, comparable within one search. Ranks count from 1 and are None where a leg did
    not return the chunk among its first 200. `dense_score` is the cosine; `lexical_score` the share, from
    0 to 1, of the best score that any text could have for this question.
    """

    chunk_id: int
    document_id: str
    document_title: str
    filename: str
    generation: int
    start: int
    end: int
    page_start: int | None
    page_end: int | None
    headings: tuple[str, ...]
    text: str
    tokens: int
    score: float
    dense_rank: int | None
    dense_score: float
    lexical_rank: int | None
    lexical_score: float


@dataclass(frozen=True)
class Looked:
    """What one search found, best first; `partial` says what of the collection it did not reach."""

    candidates: list[Candidate]
    partial: Partial | None = None


class Retriever:
    """Searches collections; threads may share it."""

    def __init__(
        self,
        db: Database,
        indexes: LiveIndexes,
        embedder: Embedder,
        reranker: Reranker | None = None,
        observer: Observer = NOBODY,
        *,
        sharding: Sharding | None = None,
    ) -> None:
        """With `sharding`, collections that are laid out over shards are searched there."""
        self._db = db
        self._sharding = sharding
        self._indexes = indexes
        self._embedder = embedder
        self._reranker = reranker
        self._observer = observer

    def search(self, question: str, scope: SearchScope, top_k: int = 10) -> list[Candidate]:
        """Return what `look` finds, for who takes it as it is."""
        return self.look(question, scope, top_k).candidates

    def look(self, question: str, scope: SearchScope, top_k: int = 10) -> Looked:
        """Return up to `top_k` chunks for `question`, best first.

        Everything published before the call is found, nothing deleted before it. Raises NotFound
        (`collection_not_found`), Conflict (`embedder_mismatch`) when the collection's vectors come from
        another embedding model, and Unavailable (`reranker_missing`, `reranker_unsupported`,
        `shards_unavailable`).
        """
        workspace = Scope(scope.workspace_id)
        index, seq = self._index(workspace, scope.collection_id)
        documents = scope.document_ids
        if scope.filters is not None:
            with self._observer.stage("filter"), self._db.glance() as session:
                matching = matching_documents(session, workspace, scope.collection_id, scope.filters)
            documents = matching if documents is None else documents & matching
        if top_k < 1 or index.empty or (documents is not None and not documents):
            return Looked([])
        with self._observer.stage("embed"):
            vector = self._embedder.embed_query(question)
        phrases = quoted_phrases(question)
        texts = [phrase.text for phrase in phrases]
        hits = index.search(
            question, vector, max(DEPTH, top_k), documents, phrases=texts, observer=self._observer
        )
        deep = top_k if self._reranker is None else max(top_k, self._reranker.depth)
        with self._observer.stage("fuse"):
            found = self._db.reading(
                seq,
                lambda session: self._join(session, workspace, hits, phrases, deep),
                # a statement reads chunks and texts as of one moment; looking for phrases takes several
                alone=not phrases,
            )
        if self._reranker is not None and not any(phrase.telling for phrase in phrases):
            with self._observer.stage("rerank"):
                found = _reranked(self._reranker, question, hits, found)
        return Looked(found[:top_k], hits.partial)

    def _index(self, workspace: Scope, collection_id: str) -> tuple[CollectionIndex | ShardedIndex, int]:
        """The collection's index, of vectors of this embedder: others may take their place at any moment. And
        the number of the last change that the catalogue must know of."""
        embedder = self._embedder.fingerprint
        if self._sharding is not None:
            sharded = self._sharding.find(workspace, collection_id, embedder)
            if sharded is not None:
                return sharded, sharded.seq
        while True:
            followed = self._indexes.follow_to(collection_id, workspace.workspace_id, embedder)
            if followed.index.embedder == embedder:
                return followed.index, followed.seq

    def _join(
        self, session: Session, workspace: Scope, hits: Hits, phrases: tuple[Phrase, ...], top_k: int
    ) -> list[Candidate]:
        """Keep the first `top_k` that the catalogue still has, and read their texts."""
        scores = fuse(hits)
        chunks = Chunks(session, workspace)
        if phrases:
            scores = lifted(scores, *_verbatim(session, chunks, hits, scores, phrases))
        places = order(hits, scores)
        kept: list[tuple[int, LiveChunk, str]] = []
        at = 0
        while at < len(places) and len(kept) < top_k:
            some = places[at : at + top_k]
            live = chunks.read([int(hits.ids[place]) for place in some])
            kept += [(place, *live[int(hits.ids[place])]) for place in some if int(hits.ids[place]) in live]
            at += len(some)
        return [
            Candidate(
                chunk_id=chunk.id,
                document_id=chunk.document_id,
                document_title=chunk.document_title,
                filename=chunk.filename,
                generation=chunk.generation,
                start=chunk.start,
                end=chunk.end,
                page_start=chunk.page_start,
                page_end=chunk.page_end,
                headings=chunk.headings,
                text=text,
                tokens=chunk.tokens,
                score=float(scores[place]),
                dense_rank=int(hits.dense_rank[place]) or None,
                dense_score=float(hits.dense[place]),
                lexical_rank=int(hits.lexical_rank[place]) or None,
                lexical_score=float(hits.lexical[place]),
            )
            for place, chunk, text in kept[:top_k]
        ]


def _reranked(reranker: Reranker, question: str, hits: Hits, found: list[Candidate]) -> list[Candidate]:
    """Put the first of `found` in the reranker's order; the scores stay where they are, best first."""
    first = found[: reranker.depth]
    fused = np.array([candidate.score for candidate in first], dtype=np.float32)
    spread = max(float(hits.background.std()), SMALLEST_SPREAD) if len(hits.background) else 1.0
    scores = reranker.scores(question, [candidate.text for candidate in first], fused, spread)
    places = np.argsort(-scores, kind="stable")
    moved = [replace(first[at], score=float(score)) for at, score in zip(places, fused, strict=True)]
    return moved + found[reranker.depth :]


def lifted(scores: Floats, telling: Floats, others: Floats) -> Floats:
    """Put chunks that hold telling phrases before all else, those with most of them first; others gain some.

    Scores stay of the same size, since they say how good the best chunk is: the lift is just above it.
    """
    helped: Floats = scores + PHRASE * others
    above = helped.max(initial=0.0) + 0.01 * telling + 0.0001 * helped
    raised: Floats = np.where(telling > 0, above, helped).astype(np.float32)
    return raised


def _verbatim(
    session: Session, chunks: Chunks, hits: Hits, scores: Floats, phrases: tuple[Phrase, ...]
) -> tuple[Floats, Floats]:
    """Count for each of `hits.ids` the telling and the other phrases that begin in it, in the stored text.

    A phrase may run on into the next chunk.
    """
    counts = np.zeros((2, len(hits.ids)), dtype=np.float32)
    best = hits.ids[order(hits, scores)[:READ_FOR_PHRASES]]
    wanted = np.unique(np.concatenate([best, *hits.held]))
    place = {int(key): at for at, key in enumerate(hits.ids)}
    live = list(chunks.live([int(key) for key in wanted]).values())
    beyond = 2 * max(len(phrase.text) for phrase in phrases) + 20
    ranges = [(c.document_id, c.generation, c.start, c.end + beyond) for c in live]
    for chunk, text in zip(live, read_ranges(session, ranges), strict=True):
        own, whole = len(normalised(text[: chunk.end - chunk.start])), normalised(text)
        for phrase in phrases:
            if 0 <= found_at(phrase.text, whole) < own:
                counts[0 if phrase.telling else 1, place[chunk.id]] += 1
    return counts[0], counts[1]
