"""Blocks of vectors: rows that never change, scanned exactly and, coded, several times as fast.

A block holds float16, as the database does, so an exact score is that of the stored vector. FAISS holds them;
they are multiplied by our own kernel where there is one, by FAISS otherwise. Coded blocks hold a product
quantiser's codes besides (Jégou et al. 2011; four bits for two numbers), which FAISS adds up from registers
(André et al. 2017); they only choose what is then scored exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from rag.ids import new_id
from rag.index.rows import among, mixed, places

Ids = NDArray[np.int64]
Floats = NDArray[np.float32]
Rows = NDArray[np.int64]
Codes = NDArray[np.uint8]

FEW = 256
"""Rows that are gathered and multiplied; more of them are found faster by a scan with a bitmap, since FAISS
reads float16 four times as fast as NumPy."""
TRAINING = 40_000
BITS, PART = 4, 2
"""Bits of a code, and how many numbers one stands for."""


@dataclass(frozen=True, eq=False)
class Codebook:
    """A trained product quantiser over the vectors less their `mean`, which moves all scores alike."""

    mean: Floats
    quantiser: Any
    key: str = field(default_factory=lambda: new_id("book"))
    """Names this very content, for files."""

    @classmethod
    def train(cls, sample: Floats) -> Codebook:
        """Learn from float32[n, dimension], n at least 1,000, dimension even."""
        mean = sample.mean(axis=0)
        index = faiss.IndexPQ(sample.shape[1], sample.shape[1] // PART, BITS, faiss.METRIC_INNER_PRODUCT)
        with one_thread():  # which a busy machine does in seconds and with several in minutes
            index.train(sample - mean)
        return cls(mean, index)

    @classmethod
    def of(cls, mean: Floats, centroids: Floats, key: str) -> Codebook:
        """Put together what `mean` and `centroids` were of a trained one."""
        index = faiss.IndexPQ(len(mean), len(mean) // PART, BITS, faiss.METRIC_INNER_PRODUCT)
        faiss.copy_array_to_vector(np.ascontiguousarray(centroids, dtype=np.float32), index.pq.centroids)
        index.is_trained = True
        return cls(np.array(mean, dtype=np.float32), index, key)

    @property
    def centroids(self) -> Floats:
        """All centroids, flat."""
        found: Floats = faiss.vector_to_array(self.quantiser.pq.centroids)
        return found

    def encode(self, vectors: NDArray[np.float16]) -> Codes:
        """Return uint8[n, code bytes]."""
        parts = [
            self.quantiser.pq.compute_codes(vectors[first : first + 16_384].astype(np.float32) - self.mean)
            for first in range(0, len(vectors), 16_384)
        ]
        return np.concatenate(parts)

    def packed(self, codes: Codes) -> Any:
        """Return codes as FAISS scans them."""
        plain = faiss.IndexPQ(len(self.mean), len(self.mean) // PART, BITS, faiss.METRIC_INNER_PRODUCT)
        plain.pq, plain.is_trained = self.quantiser.pq, True
        plain.add_sa_codes(np.ascontiguousarray(codes))
        return faiss.IndexPQFastScan(plain)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Block:
    """Vectors by row; `exact` is a FAISS index of float16, in memory or mapped from a file."""

    ids: Ids
    exact: Any
    codebook: Codebook | None = None
    codes: Codes | None = None
    key: str = field(default_factory=lambda: new_id("vec"))
    """Names this very content, for files."""

    @classmethod
    def of(cls, ids: Ids, vectors: NDArray[np.floating]) -> Block:
        """Hold `vectors` [n, dimension] under `ids`."""
        halves = np.ascontiguousarray(vectors, dtype=np.float16)
        exact = faiss.IndexScalarQuantizer(
            halves.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        exact.add_sa_codes(halves.view(np.uint8))
        return cls(np.ascontiguousarray(ids, dtype=np.int64), exact)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def vectors(self) -> NDArray[np.float16]:
        """float16[n, dimension], a view."""
        count, dimension = int(self.exact.ntotal), int(self.exact.d)
        if not count:
            return np.zeros((0, dimension), dtype=np.float16)
        raw: Codes = faiss.rev_swig_ptr(self.exact.codes.data(), 2 * count * dimension)
        return raw.view(np.float16).reshape(count, dimension)

    def scores(self, query: Floats, rows: Rows | None = None) -> Floats:
        """Return the inner product of each vector, or of those at `rows`, with `query` (see `inner`)."""
        return inner(self.vectors, query, rows)

    @cached_property
    def _drawn(self) -> NDArray[np.uint64]:
        return mixed(self.ids)

    def sampled(self, below: np.uint64) -> Rows:
        """Return the rows whose chunks have a number below that (see `rows.mixed`)."""
        return np.flatnonzero(self._drawn < below)

    @cached_property
    def _order(self) -> tuple[Rows, Ids]:
        """Rows by ascending id, and those ids."""
        order = np.argsort(self.ids, kind="stable")
        return order, self.ids[order]

    @cached_property
    def _packed(self) -> Any:
        if self.codebook is None or self.codes is None:
            raise RuntimeError("this block has no codes")
        return self.codebook.packed(self.codes)

    def find(self, ids: Ids) -> tuple[NDArray[np.int64], Rows]:
        """Return (places in `ids`, rows) of those that are here; `ids` are ascending."""
        return places(*self._order, ids)

    def among(self, wanted: Ids) -> Rows:
        """Return the rows, ascending, of `wanted` (ascending, each once) that are here."""
        return among(*self._order, wanted)

    def coded(self, codebook: Codebook) -> Block:
        """Return the block with codes of `codebook`."""
        if self.codebook is codebook:
            return self
        return Block(self.ids, self.exact, codebook, codebook.encode(self.vectors))

    def without(self, ids: Ids) -> Block:
        """Return a block of the rows that are not of `ids`; nothing of the others stays in it."""
        _, rows = self.find(ids)
        if not len(rows):
            return self
        keep = np.ones(len(self), dtype=bool)
        keep[rows] = False
        kept = Block.of(self.ids[keep], self.vectors[keep])
        if self.codes is None:
            return kept
        return Block(kept.ids, kept.exact, self.codebook, np.ascontiguousarray(self.codes[keep]))

    def nearest(self, query: Floats, k: int, rows: Rows | None = None) -> tuple[Rows, Floats]:
        """Return rows and nearly exact inner products of the `k` best, among `rows` (ascending) if given."""
        if kernel() is not None or (rows is not None and len(rows) <= FEW):
            scores = self.scores(query, rows)
            best = np.argpartition(-scores, k)[:k] if k < len(scores) else np.arange(len(scores))
            return best if rows is None else rows[best], scores[best]
        with one_thread():
            found, places = self.exact.search(
                query.reshape(1, -1), min(k, len(self)), params=self._only(rows)
            )
        here = places[0] >= 0
        return places[0][here], found[0][here]

    def above(self, query: Floats, least: float, rows: Rows | None = None) -> Rows:
        """Return all rows whose inner product is more than `least`, among `rows` (ascending) if given."""
        if kernel() is not None:
            over = np.flatnonzero(self.scores(query, rows) > least)
            return over if rows is None else rows[over]
        with one_thread():
            _, _, found = self.exact.range_search(query.reshape(1, -1), least, params=self._only(rows))
        return np.asarray(found, dtype=np.int64)

    def _only(self, rows: Rows | None) -> Any:
        if rows is None:
            return None
        mask = np.zeros(len(self), dtype=bool)
        mask[rows] = True
        bits = np.packbits(mask, bitorder="little")
        return faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits))  # type: ignore[arg-type,call-arg]

    def likely(self, query: Floats, k: int) -> tuple[Rows, Floats]:
        """Return rows and coded inner products of the `k` that seem best; the block must be coded."""
        with one_thread():
            found, places = self._packed.search(query.reshape(1, -1), min(k, len(self)))
        here = places[0] >= 0
        return places[0][here], found[0][here]


@cache
def kernel() -> Callable[[NDArray[np.float16], Floats, Rows | None], Floats] | None:
    """The compiled product of float16 rows, None where there is none for this machine: FAISS scans then."""
    from model.native.halves import products  # noqa: PLC0415  # it brings torch, which other commands lack
    from model.native.library import library  # noqa: PLC0415

    return None if library() is None else products


def inner(vectors: NDArray[np.float16], query: Floats, rows: Rows | None = None) -> Floats:
    """Return the inner product of each of `vectors` [n, dimension], or of those at `rows`, with `query`.

    A vector's is the same to the bit wherever in a matrix it stands, which that of a matrix product is not:
    indexes with other neighbours must agree.
    """
    products, asked = kernel(), np.ascontiguousarray(query, dtype=np.float32)
    if products is not None:
        return products(vectors, asked, rows)
    some = vectors if rows is None else vectors[rows]
    found: Floats = np.einsum("ij,j->i", some.astype(np.float32), asked)
    return found


def merge(blocks: Sequence[Block], codebook: Codebook | None) -> Block:
    """Join blocks in the given order, coded if there is a codebook; codes that are there are kept."""
    joined = Block.of(
        np.concatenate([block.ids for block in blocks]), np.concatenate([block.vectors for block in blocks])
    )
    if codebook is None:
        return joined
    codes = [
        block.codes
        if block.codebook is codebook and block.codes is not None
        else codebook.encode(block.vectors)
        for block in blocks
    ]
    return Block(joined.ids, joined.exact, codebook, np.concatenate(codes))


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep OpenMP to the calling thread: for one query FAISS has no work for a second, which only spins.

    Over 20,000 vectors it takes 2 ms so, and 16 ms with a second thread on a busy machine.
    """
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
