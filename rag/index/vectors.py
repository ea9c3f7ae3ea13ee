"""Inner-product search over blocks of vectors: exact while they are few, coded and then exact when many."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rag.index.blocks import PART, TRAINING, Block, Codebook, Floats, Ids, Rows, inner, merge
from rag.index.rows import ascending

__all__ = ["Floats", "Ids", "Kind", "Looking", "VectorIndex"]

Kind = Literal["auto", "flat", "pq"]

SAMPLE = 1000
"""Vectors of a collection that `background` looks at, as many more or less as drawing brings."""
SLACK = 32
"""Rows beyond those asked for that a scan brings: mostly they show that no other can be among the best."""
MANY = 50_000
"""Vectors from which on `auto` codes them; an exact scan of so many takes 2 to 5 ms, as memory has time."""
CODED_FROM = 4096
"""Smaller blocks are always scanned exactly."""
WIDTH, EACH = 500, 10
"""Candidates that the codes choose for one search: at least so many, and so many for each result."""
CHEAPER = 8
"""Codes that are added up and refined in the time of one exact product."""
MERGE_AT, SMALLEST, LARGEST = 8, 512, 1 << 16
"""So many neighbouring blocks of one size class become one, but none of more than LARGEST rows: a document's
removal copies its block."""
PROBES = 32
"""Stored vectors that are asked for to measure recall."""


class VectorIndex:
    """Unit vectors by chunk id. A change puts new blocks in place; a copy shares them and changes apart."""

    def __init__(self, kind: Kind = "auto", blocks: Sequence[Block] = ()) -> None:
        self.kind: Kind = kind
        self.blocks: tuple[Block, ...] = tuple(blocks)
        nothing = np.zeros(0, dtype=np.int64), np.zeros((0, 0), dtype=np.float16)
        self._background: tuple[tuple[Block, ...], int, Ids, NDArray[np.float16]] = ((), -1, *nothing)

    def __len__(self) -> int:
        return sum(len(block) for block in self.blocks)

    def copy(self) -> VectorIndex:
        """Return an index of the same vectors that can be changed while this one is searched."""
        return VectorIndex(self.kind, self.blocks)

    @property
    def codebook(self) -> Codebook | None:
        """The quantiser of the coded blocks, None while all are scanned exactly."""
        return next((block.codebook for block in self.blocks if block.codebook is not None), None)

    @property
    def in_use(self) -> str:
        """What a search does now: `flat` or `pq`."""
        return "flat" if self.codebook is None else "pq"

    def add(self, ids: Ids, vectors: NDArray[np.floating]) -> None:
        """Add `vectors` [n, dimension] under `ids`, which must be new.

        Raises ValueError when the dimension is not that of the vectors already here.
        """
        if not len(ids):
            return
        if self.blocks and vectors.shape[1] != self.blocks[0].exact.d:
            raise ValueError(f"vectors of {vectors.shape[1]} numbers in an index of {self.blocks[0].exact.d}")
        self._arrange([*self.blocks, Block.of(ids, vectors)])

    def remove(self, ids: Ids) -> None:
        """Remove the vectors of `ids` for good; unknown ones are ignored."""
        if len(ids):
            gone = np.unique(ids)
            kept = (block.without(gone) for block in self.blocks)
            self.blocks = tuple(block for block in kept if len(block))

    def search(self, query: Floats, k: int, allowed: Ids | None = None) -> tuple[Ids, Floats]:
        """Return ids and inner products of the `k` nearest to `query`, among the ids `allowed` if given.

        Among `allowed` they are the exact nearest, however many are allowed.
        """
        looking = self.looking(query, k, allowed)
        looking.work()
        return looking.found()

    def looking(self, query: Floats, k: int, allowed: Ids | None = None) -> Looking:
        """The same for several threads together."""
        return Looking(self.blocks, query, k, allowed)

    def exact(self, query: Floats, k: int) -> Ids:
        """Return the ids of the exact `k` nearest, by a scan of everything."""
        plain = VectorIndex(blocks=[Block(b.ids, b.exact) for b in self.blocks])
        return plain.search(query, k)[0]

    def recall(self, k: int = 10) -> float:
        """Return which share of the exact `k` nearest a search finds, for `PROBES` of the stored vectors."""
        if self.codebook is None:
            return 1.0
        total = len(self)
        places = np.unique(np.linspace(0, total - 1, PROBES).astype(np.int64))
        hits = 0
        for query in self._at(places):
            hits += len(np.intersect1d(self.search(query, k)[0], self.exact(query, k)))
        return hits / (len(places) * min(k, total))

    def scores(self, query: Floats, ids: Ids) -> Floats:
        """Return the inner product of `query` with each of `ids`; all must be here."""
        if not len(ids) or not self.blocks:
            return np.zeros(len(ids), dtype=np.float32)
        held = np.zeros((len(ids), self.blocks[0].exact.d), dtype=np.float16)
        order = np.argsort(ids)
        for block in self.blocks:
            places, rows = block.find(ids[order])
            if len(places):
                held[order[places]] = block.vectors[rows]
        return inner(held, query)

    def background(self, query: Floats, chunks: int) -> tuple[Ids, Floats]:
        """Return ids, ascending, and inner products with `query` of a sample: what no match looks like.

        A chunk is drawn by its id, with a chance of `SAMPLE` in `chunks`, which is the size of the whole
        collection: so the samples of its parts make up that of the whole.
        """
        blocks, of, ids, sample = self._background
        if blocks is not self.blocks or of != chunks:
            below = np.uint64(min((SAMPLE << 64) // max(1, chunks), (1 << 64) - 1))
            drawn = [(block, block.sampled(below)) for block in self.blocks]
            ids = np.concatenate([np.zeros(0, dtype=np.int64), *(block.ids[rows] for block, rows in drawn)])
            order = np.argsort(ids)
            vectors = [block.vectors[rows] for block, rows in drawn]
            sample = np.concatenate(vectors)[order] if vectors else np.zeros((0, len(query)), np.float16)
            ids = ids[order]
            self._background = self.blocks, chunks, ids, sample
        return ids, inner(sample, query)

    def ids(self) -> Ids:
        """Return the ids of all vectors, in no particular order."""
        return np.concatenate([np.zeros(0, dtype=np.int64), *(block.ids for block in self.blocks)])

    def _at(self, places: NDArray[np.int64]) -> Floats:
        """Return the vectors at `places`, ascending, of all blocks laid end to end."""
        parts, first = [], 0
        for block in self.blocks:
            own = places[(places >= first) & (places < first + len(block))] - first
            parts.append(block.vectors[own].astype(np.float32))
            first += len(block)
        return np.concatenate(parts)

    def _arrange(self, blocks: list[Block]) -> None:
        """Merge neighbours of one size class, and code what is to be coded."""
        codebook = self.codebook or self._trained(blocks)
        if codebook is not None and max(map(len, blocks)) < CODED_FROM:
            blocks = [merge(blocks, codebook)]  # a codebook lives as long as a block has its codes
        while (run := _run(blocks)) is not None:
            blocks[run] = [merge(blocks[run], codebook)]
        if codebook is not None:
            blocks = [block.coded(codebook) if len(block) >= CODED_FROM else block for block in blocks]
        self.blocks = tuple(blocks)

    def _trained(self, blocks: Sequence[Block]) -> Codebook | None:
        total, dimension = sum(len(block) for block in blocks), int(blocks[0].exact.d)
        enough = CODED_FROM if self.kind == "pq" else MANY
        if self.kind == "flat" or total < enough or dimension % (2 * PART):
            return None
        everything = VectorIndex(blocks=blocks)
        return Codebook.train(everything._at(np.arange(0, total, max(1, total // TRAINING))))


@dataclass(frozen=True, eq=False)
class _Scan:
    """What a scan of one block brought: `rows` and what they seem to score; any other of the rows `among`
    scores no more than `least`, nearly."""

    block: Block
    rows: Rows
    scores: Floats
    among: Rows | None = None
    least: float = -math.inf


class Looking:
    """A search that several threads may do parts of: each calls `work`, and when all have returned one calls
    `found`."""

    def __init__(self, blocks: Sequence[Block], query: Floats, k: int, allowed: Ids | None = None) -> None:
        self._query = np.ascontiguousarray(query, dtype=np.float32)
        self._k = k
        self._wanted = None if allowed is None else ascending(allowed)
        coded = [block for block in blocks if allowed is None and block.codebook is not None]
        plain = [block for block in blocks if allowed is not None or block.codebook is None]
        # from the largest on, so that nobody is left with one at the end; the coded are refined together
        parts = [coded, *([block] for block in sorted(plain, key=len, reverse=True))]
        self._left = deque(parts if k > 0 else ())
        self.reading = sum(map(len, plain)) + sum(map(len, coded)) // CHEAPER
        """Vectors that are read, or codes that take as long."""
        self._scans: list[_Scan] = []

    def work(self) -> None:
        """Search blocks until none is left to begin with."""
        while True:
            try:
                blocks = self._left.popleft()
            except IndexError:
                return
            if blocks and self._wanted is None and blocks[0].codebook is not None:
                self._scans += _refined(blocks, self._query, max(WIDTH, EACH * self._k))
                continue
            for block in blocks:
                rows = None if self._wanted is None else block.among(self._wanted)
                if rows is None or len(rows):
                    self._scans.append(self._scanned(block, rows))

    def _scanned(self, block: Block, among: Rows | None) -> _Scan:
        near, scores = block.nearest(self._query, self._k + SLACK, among)
        rest = (len(block) if among is None else len(among)) > len(near)
        return _Scan(block, near, scores, among, float(scores.min()) if rest else -math.inf)

    def found(self) -> tuple[Ids, Floats]:
        """Return ids and inner products, best first, equal ones by id.

        Which these are depends on the vectors alone and not on how they lie in blocks: scans score nearly
        exactly, so what seems good enough is scored again. Where a block may have more of the same worth
        than its scan brought, all of them are fetched.
        """
        if not self._scans:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
        # rounding of a sum of products of unit vectors' numbers (Higham 2002, section 3.1), doubled
        doubt = len(self._query) * 2.0**-22 * max(1.0, float(np.linalg.norm(self._query)))
        least = _kth(np.concatenate([scan.scores for scan in self._scans]), self._k) - 2 * doubt
        rows = [scan.rows[scan.scores >= least] for scan in self._scans]
        ids, scores = self._exact(rows)
        least = _kth(scores, self._k) - doubt
        if any(scan.least >= least for scan in self._scans):
            more = zip(self._scans, rows, strict=True)
            rows = [
                scan.block.above(self._query, least - doubt, scan.among) if scan.least >= least else own
                for scan, own in more
            ]
            ids, scores = self._exact(rows)
        order = np.lexsort((ids, -scores))[: self._k]
        return ids[order], scores[order]

    def _exact(self, rows: Sequence[Rows]) -> tuple[Ids, Floats]:
        parts = list(zip(self._scans, rows, strict=True))
        ids = np.concatenate([scan.block.ids[own] for scan, own in parts])
        return ids, np.concatenate([scan.block.scores(self._query, own) for scan, own in parts])


def _kth(scores: Floats, k: int) -> float:
    """The k-th best, -infinity where there are fewer."""
    return float(np.partition(scores, len(scores) - k)[len(scores) - k]) if len(scores) >= k else -math.inf


def _refined(blocks: Sequence[Block], query: Floats, width: int) -> list[_Scan]:
    """Score exactly the `width` rows of coded blocks that seem best by their codes.

    FAISS takes three times as long for 2,000 as for 200, so each block is asked for twice its share, and
    again where that was not all it has among the best: which rows these are depends on no block.
    """
    if not blocks:
        return []
    total = sum(map(len, blocks))
    chosen = [block.likely(query, min(width, 2 * width * len(block) // total + SLACK)) for block in blocks]
    least = _kth(np.concatenate([scores for _, scores in chosen]), width)
    for at, (block, (rows, scores)) in enumerate(zip(blocks, chosen, strict=True)):
        if len(rows) < min(width, len(block)) and scores.min() >= least:
            chosen[at] = block.likely(query, width)
    least = _kth(np.concatenate([scores for _, scores in chosen]), width)
    return [
        _Scan(block, kept, block.scores(query, kept))
        for block, (rows, scores) in zip(blocks, chosen, strict=True)
        if len(kept := rows[scores >= least])
    ]


def _run(blocks: Sequence[Block]) -> slice | None:
    """Find `MERGE_AT` neighbours of one size class that make no block of more than LARGEST rows."""
    classes = [
        -1
        if len(block) * MERGE_AT > LARGEST
        else int(math.log(max(len(block), SMALLEST) / SMALLEST, MERGE_AT) + 1e-9)
        for block in blocks
    ]
    for first in range(len(blocks) - MERGE_AT + 1):
        own = classes[first : first + MERGE_AT]
        if own[0] >= 0 and all(each == own[0] for each in own):
            return slice(first, first + MERGE_AT)
    return None
