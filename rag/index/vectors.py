"""Exact inner-product search by FAISS, with removal at once and filters inside the search."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Floats = NDArray[np.float32]

SAMPLE = 1000
"""Vectors that `background` looks at, spread evenly over the index."""


class VectorIndex:
    """Unit vectors by chunk id: FAISS `IndexIDMap2` over `IndexFlatIP`; the owner's lock guards it."""

    def __init__(self) -> None:
        self._index: faiss.IndexIDMap2 | None = None

    def __len__(self) -> int:
        return 0 if self._index is None else int(self._index.ntotal)

    def add(self, ids: Ids, vectors: NDArray[np.floating]) -> None:
        """Add `vectors` [n, dimension] under `ids`, which must be new.

        Raises ValueError when the dimension is not that of the vectors already here.
        """
        if not len(ids):
            return
        if self._index is None:
            self._index = faiss.IndexIDMap2(faiss.IndexFlatIP(vectors.shape[1]))
        if vectors.shape[1] != self._index.d:
            raise ValueError(f"vectors of {vectors.shape[1]} numbers in an index of {self._index.d}")
        self._index.add_with_ids(np.ascontiguousarray(vectors, dtype=np.float32), ids)

    def remove(self, ids: Ids) -> None:
        """Remove the vectors of `ids`; unknown ones are ignored."""
        if self._index is not None and len(ids):
            self._index.remove_ids(faiss.IDSelectorBatch(np.ascontiguousarray(ids)))

    def search(self, query: Floats, k: int, allowed: Ids | None = None) -> tuple[Ids, Floats]:
        """Return ids and inner products of the `k` nearest to `query`, among the ids `allowed` if given."""
        if self._index is None or not len(self) or k < 1 or (allowed is not None and not len(allowed)):
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
        parameters = None
        if allowed is not None:
            parameters = faiss.SearchParameters(  # type: ignore[call-arg]
                sel=faiss.IDSelectorBatch(np.ascontiguousarray(allowed))
            )
        with _one_thread():
            scores, ids = self._index.search(
                query.reshape(1, -1).astype(np.float32), min(k, len(self)), params=parameters
            )
        found = ids[0] >= 0
        return ids[0][found], scores[0][found]

    def scores(self, query: Floats, ids: Ids) -> Floats:
        """Return the inner product of `query` with each of `ids`; all must be here."""
        if self._index is None or not len(ids):
            return np.zeros(len(ids), dtype=np.float32)
        held: Floats = self._index.reconstruct_batch(np.ascontiguousarray(ids))
        return held @ query

    def background(self, query: Floats) -> Floats:
        """Return the inner products of `query` with a sample of the vectors: what no match looks like."""
        if self._index is None:
            return np.zeros(0, dtype=np.float32)
        total, dimension = len(self), int(self._index.d)
        flat: Any = faiss.downcast_index(self._index.index)
        stored: Floats = faiss.rev_swig_ptr(flat.get_xb(), total * dimension).reshape(total, dimension)
        return stored[:: max(1, total // SAMPLE)][:SAMPLE] @ query

    def ids(self) -> Ids:
        """Return the ids of all vectors, in no particular order."""
        if self._index is None:
            return np.zeros(0, dtype=np.int64)
        known: Ids = faiss.vector_to_array(self._index.id_map)
        return known

    def dump(self) -> tuple[Ids, Floats]:
        """Return ids and vectors, float32[n, dimension], as a snapshot keeps them."""
        ids = self.ids()
        if self._index is None or not len(ids):
            return ids, np.zeros((0, 0), dtype=np.float32)
        return ids, self._index.reconstruct_batch(ids)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep OpenMP to the calling thread: for one query FAISS has no work for a second, which only spins.

    Over 20,000 vectors it takes 2 ms so, and 16 ms with a second thread on a busy machine.
    """
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
