"""The index of one collection: vectors and terms of the same chunks, changed together."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from rag.index.beside import beside
from rag.index.blocks import Floats, Ids
from rag.index.lexical import NAMES, PAIRS, RARE, SHARE, LexicalIndex
from rag.index.rows import ascending
from rag.index.vectors import Kind, Looking, VectorIndex
from rag.observing import NOBODY, Observer

HOLDING = 50
"""Chunks that are looked at for one quoted phrase."""
APART = 20_000
"""Chunks from which on both legs are searched at the same time: each takes a millisecond there."""


@dataclass(frozen=True, eq=False)
class IndexedDocument:
    """One generation of a document, ready for the index: ids[n], vectors[n, dimension], texts as indexed."""

    document_id: str
    generation: int
    ids: Ids
    vectors: NDArray[np.floating]
    texts: list[str]


@dataclass(frozen=True, eq=False)
class Hits:
    """Both legs' chunks for one question, and both scores of every one of them.

    `ids` is the union; `dense` holds inner products; `lexical`, `rare`, `pairs` and `names` are shares from 0
    to 1 (see `lexical.Scored`), of which the leg's rank is by the first.
    Ranks count from 1, 0 where the leg did not return the chunk. `background` holds the inner products
    with a sample of the whole collection. `coverage` is the share of the question's terms, by weight, that
    the collection knows. `held` names for each phrase that was looked for the chunks that may hold it.
    """

    ids: Ids
    dense: Floats
    lexical: Floats
    rare: Floats
    pairs: Floats
    names: Floats
    dense_rank: NDArray[np.int64]
    lexical_rank: NDArray[np.int64]
    background: Floats
    coverage: float
    held: tuple[Ids, ...] = ()


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
        with self._lock.read():
            allowed = None
            if documents is not None:
                kept = [self.documents[d][1] for d in documents if d in self.documents]
                allowed = ascending(np.concatenate([np.zeros(0, dtype=np.int64), *kept]))
            looking, apart = self.vectors.looking(vector, k, allowed), len(self) >= APART
            with beside(partial(_observed, looking, observer), apart) as dense:
                with observer.stage("lexical"):
                    scored = self.lexical.score(text)
                    matching, _ = scored.best(k, allowed)
                    held = [self.lexical.score(phrase).holding(HOLDING, allowed) for phrase in phrases]
                    known = _joined([matching, *held])
                    # the other leg is not done yet: scores of chunks that are known cost no time now
                    early = known if apart else known[:0]
                    shares_early = scored.of(early)
                background = self.vectors.background(vector)
                if apart:  # words are found sooner: the rest of the vectors is searched by both
                    looking.work()
                dense()
            near, _ = looking.found()
            ids = _joined([near, known])
            place = _ranks(ids, early)
            shares = np.empty((4, len(ids)), dtype=np.float32)
            shares[:, place > 0] = shares_early[:, place[place > 0] - 1]
            shares[:, place == 0] = scored.of(ids[place == 0])
            return Hits(
                ids,
                self.vectors.scores(vector, ids),
                shares[SHARE],
                shares[RARE],
                shares[PAIRS],
                shares[NAMES],
                _ranks(ids, near),
                _ranks(ids, matching),
                background,
                scored.coverage,
                tuple(held),
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


def _joined(lists: Sequence[Ids]) -> Ids:
    """One after the other, each id once."""
    ids = lists[0]
    for more in lists[1:]:
        ids = np.concatenate([ids, more[~np.isin(more, ids)]])
    return ids


def _ranks(ids: Ids, ordered: Ids) -> NDArray[np.int64]:
    """Where each of `ids` stands in `ordered`, from 1; 0 where it does not."""
    if not len(ordered):
        return np.zeros(len(ids), dtype=np.int64)
    order = np.argsort(ordered)
    at = order[np.minimum(np.searchsorted(ordered, ids, sorter=order), len(order) - 1)]
    ranks: NDArray[np.int64] = np.where(ordered[at] == ids, at + 1, 0)
    return ranks


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
