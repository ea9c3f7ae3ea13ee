"""What reading the best chunks once more brings, and what it takes: sentences, likelihood, cross-encoder.

    python -m bench.reranking --data DIR --cache DIR --sets squad2,xquad,tatqa --limit 100
    python -m bench.reranking --data DIR --cache DIR --reranker FOLDER

`sentences` is `LONGLEAF_RERANKER=sentences`. `likelihood` orders the first four by how likely the bundled
generator finds the question after the passage, mean log-probability of a token (Ponte and Croft 1998 with
today's models). `--reranker` adds a sentence-transformers cross-encoder. Questions are those whose hash comes
first. Milliseconds are medians of the step alone, everything embedded afresh; run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.corpora import Corpus, LongleafChunker, VectorCache, load
from bench.retrieval import CUTS, DEPTH, grade, relevant
from model import Engine
from rag import fusion
from rag.embedders import load_embedder
from rag.evaluation.intervals import paired
from rag.index.analysis import NAMES_END
from rag.index.collection import CollectionIndex, IndexedDocument
from rag.index.vectors import Floats
from rag.rerank import CrossEncoderReranker, Reranker, SentenceReranker
from rag.settings import Settings


class LikelihoodReranker:
    """How likely a generator finds the question after the passage."""

    depth = 4

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def scores(self, question: str, texts: Sequence[str], fused: Floats, spread: float) -> Floats:
        """As `Reranker.scores`."""
        del fused, spread
        asked = self._engine.tokenizer.encode(f"\n\nQuestion: {question}")
        found = []
        for text in texts:
            ids = self._engine.tokenizer.encode(text)
            found.append(float(self._engine.score([*ids, *asked], len(ids)).mean()))
        return np.array(found, dtype=np.float32)


def measure(corpus: Corpus, cache: VectorCache, rerankers: dict[str, Reranker], limit: int) -> None:
    """Print one line for each reranker."""
    passages = cache.passages([piece.embedded for piece in corpus.pieces])
    index = CollectionIndex()
    ids = np.arange(len(corpus.pieces), dtype=np.int64)
    index.apply([IndexedDocument("all", 1, ids, passages, [piece.indexed for piece in corpus.pieces])])
    texts = [piece.indexed.partition(NAMES_END)[2] for piece in corpus.pieces]
    asked = sorted(corpus.questions, key=lambda q: hashlib.sha256(q.text.encode()).digest())[:limit]
    vectors = cache.queries([question.text for question in asked])
    values: dict[str, list[list[float]]] = {name: [] for name in ("none", *rerankers)}
    times: dict[str, list[float]] = {name: [] for name in rerankers}
    for question, vector in zip(asked, vectors, strict=True):
        hits = index.search(question.text, vector, DEPTH)
        fused = fusion.fuse(hits)
        places = fusion.order(hits, fused)[: CUTS[-1]]
        pieces = [int(hits.ids[place]) for place in places]
        spread = max(float(hits.background.std()), fusion.SMALLEST_SPREAD)
        orders = {"none": pieces}
        for name, reranker in rerankers.items():
            first = pieces[: reranker.depth]
            began = time.perf_counter()
            scores = reranker.scores(
                question.text, [texts[at] for at in first], fused[places[: len(first)]], spread
            )
            times[name].append((time.perf_counter() - began) * 1000)
            moved = [first[at] for at in np.argsort(-scores, kind="stable")]
            orders[name] = moved + pieces[len(first) :]
        for name, ordered in orders.items():
            found = [relevant(corpus.pieces[at], question) for at in ordered]
            values[name].append(grade(corpus, question, found))
    plain = np.array(values["none"])
    for name, rows in values.items():
        table = np.array(rows)
        cells = " ".join(f"{value:.3f}" for value in table.mean(axis=0)[:3])
        gain = paired(plain[:, 0], table[:, 0])
        took = f"{statistics.median(times[name]):7.0f} ms" if name in times else ""
        print(
            f"{corpus.name:12} {len(asked):4} {name:14} {cells:18} "
            f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] p {gain.p:.3f} {took}",
            flush=True,
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the evaluation sets")
    parser.add_argument("--cache", type=Path, required=True, help="folder for vectors between runs")
    parser.add_argument("--sets", default="squad2,tatqa,cranfield", help="comma-separated names")
    parser.add_argument("--limit", type=int, default=100, help="questions of each corpus")
    parser.add_argument("--likelihood", action="store_true", help="add the generator's likelihood")
    parser.add_argument("--reranker", default="", help="add a cross-encoder: folder or hub id")
    options = parser.parse_args()
    embedder = load_embedder(Settings())
    cache = VectorCache(options.cache, embedder)
    rerankers: dict[str, Reranker] = {"sentences": SentenceReranker(embedder)}
    if options.likelihood:
        rerankers["likelihood"] = LikelihoodReranker(Engine.load("auto"))
    if options.reranker:
        rerankers["cross-encoder"] = CrossEncoderReranker(options.reranker)
    chunker = LongleafChunker(embedder, Settings().chunk_tokens)
    for name in options.sets.split(","):
        for corpus in load(options.data, name, chunker):
            measure(corpus, cache, rerankers, options.limit)


if __name__ == "__main__":
    main()
