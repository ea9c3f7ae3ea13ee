"""The index of one collection, or of a part of it: vectors and terms of the same chunks, changed together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from rag.index.beside import beside
from rag.index.blocks import Floats, Ids
from rag.index.hits import HOLDING, Hits, Part, joined, merge, ranks
from rag.index.lexical import LexicalIndex
from rag.index.question import Question, Statistics, ids_of
from rag.index.rows import ascending
from rag.index.scoring import Sought
from rag.index.vectors import Kind, Looking, VectorIndex
from rag.observing import NOBODY, Observer

APART = 20_000
"""Vectors to be read from which on both legs are searched at the same time: each takes a millisecond there,
and to share the work takes half of one."""


@dataclass(frozen=True, eq=False)
class IndexedDocument:
    """One generation of a document, ready for the index: ids[n], vectors[n, dimension], texts as indexed."""

    document_id: str
    generation: int
    ids: Ids
    vectors: NDArray[np.floating]
    texts: list[str]


class CollectionIndex:
    """What one collection holds; many threads search while one at a time changes it.

    Readers see each change whole or not at all.
    """

    def __init__(self, lexical: LexicalIndex | None = None, kind: Kind = "auto") -> None:
        self.embedder = ""
        """Fingerprint of the embedder whose vectors are held; never another one's in the same object."""
        self.seq = 0
        """Number of the last change that it held when it was stored, 0 for one that never was."""
        self.vectors = VectorIndex(kind)
        self.lexical = lexical or LexicalIndex()
        self.documents: dict[str, tuple[int, Ids]] = {}
        self._lock = ReadWriteLock()

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to search."""
        return not len(self)

    def apply(self, added: Collection[IndexedDocument], removed: Collection[str] = ()) -> None:
        """Put the documents `added` in place of what is held of them, and drop the documents `removed`.

        All is prepared before the lock is taken, so readers hardly wait. Callers take turns.
        """
        gone = [self.documents[d] for d in {*removed, *(a.document_id for a in added)} if d in self.documents]
        gone_ids = np.concatenate([ids for _, ids in gone]) if gone else np.zeros(0, dtype=np.int64)
        lexical, vectors = LexicalIndex(self.lexical.segments), self.vectors.copy()
        if len(gone_ids):
            lexical.remove(gone_ids)
            vectors.remove(gone_ids)
        filled = [document for document in added if document.vectors.size]
        if filled:
            vectors.add(
                np.concatenate([document.ids for document in filled]),
                np.concatenate([document.vectors for document in filled]),
            )
        lexical.add(
            [int(i) for document in added for i in document.ids],
            [text for document in added for text in document.texts],
        )
        documents = dict(self.documents)
        for document_id in removed:
            documents.pop(document_id, None)
        documents |= {document.document_id: (document.generation, document.ids) for document in added}
        with self._lock.write():
            self.lexical, self.vectors, self.documents = lexical, vectors, documents

    def search(
        self,
        text: str,
        vector: Floats,
        k: int,
        documents: frozenset[str] | None = None,
        *,
        phrases: Sequence[str] = (),
        observer: Observer = NOBODY,
    ) -> Hits:
        """Return the `k` best chunks of each leg, among the given documents alone if any are given.

        Those that may hold one of the `phrases` word for word come in addition, and are named by `Hits.held`.
        The `observer` is told of both legs.
        """

        def words() -> tuple[list[Sought], Statistics]:
            sought = self._sought(Question.of(text, vector, k, phrases))
            return sought, self._counted(sought)

        with self._lock.read():
            return merge([self._part(vector, k, words, documents, observer)], k)

    def statistics(self, question: Question) -> Statistics:
        """Return what these chunks add to the weights of the question's terms."""
        with self._lock.read():
            return self._counted(self._sought(question))

    def part(
        self,
        question: Question,
        statistics: Statistics,
        documents: frozenset[str] | None = None,
        observer: Observer = NOBODY,
    ) -> Part:
        """Return what is here of a collection of which this is a part; `statistics` are those of it all."""

        def words() -> tuple[list[Sought], Statistics]:
            return self._sought(question), statistics

        with self._lock.read():
            return self._part(question.vector, question.k, words, documents, observer)

    def _sought(self, question: Question) -> list[Sought]:
        return [self.lexical.seek(terms) for terms in question.texts]

    def _counted(self, sought: Sequence[Sought]) -> Statistics:
        frequencies = tuple(each.frequency for each in sought)
        return Statistics(len(self.lexical), self.lexical.total_length, frequencies)

    def _part(
        self,
        vector: Floats,
        k: int,
        words: Callable[[], tuple[list[Sought], Statistics]],
        documents: frozenset[str] | None,
        observer: Observer,
    ) -> Part:
        """Both legs; `words` is called beside the dense one."""
        allowed = None
        if documents is not None:
            allowed = ascending(ids_of(self.documents[d][1] for d in documents if d in self.documents))
        looking = self.vectors.looking(vector, k, allowed)
        apart = looking.reading >= APART
        with beside(partial(_observed, looking, observer), apart) as dense:
            with observer.stage("lexical"):
                sought, counted = words()
                scored, *others = [
                    each.scored(counted.chunks, counted.length, frequency)
                    for each, frequency in zip(sought, counted.frequencies, strict=True)
                ]
                matching = scored.best(k, allowed)
                held = tuple(each.holding(HOLDING, allowed) for each in others)
                known = joined([matching.ids, *(leg.ids for leg in held)])
                # the other leg is not done yet: scores of chunks that are known cost no time now
                early = known if apart else known[:0]
                shares_early = scored.of(early)
            sample, background = self.vectors.background(vector, counted.chunks)
            if apart:  # words are found sooner: the rest of the vectors is searched by both
                looking.work()
            dense()
        near, scores = looking.found()
        ids = joined([near, known])
        place = ranks(ids, early)
        shares = np.empty((4, len(ids)), dtype=np.float32)
        shares[:, place > 0] = shares_early[:, place[place > 0] - 1]
        shares[:, place == 0] = scored.of(ids[place == 0])
        return Part(
            ids,
            np.concatenate([scores, self.vectors.scores(vector, ids[len(near) :])]),
            shares,
            len(near),
            matching,
            held,
            sample,
            background,
            scored.coverage,
        )

    def generations(self) -> Mapping[str, int]:
        """Return the generation that is held of each document."""
        return {document: generation for document, (generation, _) in self.documents.items()}

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Hold changes back while a snapshot is taken."""
        with self._lock.read():
            yield


def _observed(looking: Looking, observer: Observer) -> None:
    with observer.stage("dense"):
        looking.work()


class ReadWriteLock:
    """Many readers or one writer; a waiting writer goes before new readers, so it is never starved."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._readers = 0
        self._writing = False
        self._waiting = 0

    @contextmanager
    def read(self) -> Iterator[None]:
        """Share the lock; not to be taken twice by one thread."""
        with self._condition:
            self._condition.wait_for(lambda: not self._writing and not self._waiting)
            self._readers += 1
        try:
            yield
        finally:
            with self._condition:
                self._readers -= 1
                self._condition.notify_all()

    @contextmanager
    def write(self) -> Iterator[None]:
        """Hold the lock alone."""
        with self._condition:
            self._waiting += 1
            self._condition.wait_for(lambda: not self._writing and not self._readers)
            self._waiting -= 1
            self._writing = True
        try:
            yield
        finally:
            with self._condition:
                self._writing = False
                self._condition.notify_all()
