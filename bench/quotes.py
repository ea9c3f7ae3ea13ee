"""Do the quotes hold the answer? Gold answers inside at most two quotes, per language, and what it costs.

    python -m bench.quotes --data DIR [--sets xquad squad2 …] [--top-k 20] [--limit 200] [--cache DIR] [--fit]

Every set is one collection (xquad: one a language), searched, packed and quoted by the service's own parts.
Questions and documents are split in two by the hash of the document's name: `--part fit` is what the weights
may be fitted to, `--part check` what they are judged by. Sentences are embedded from a cache if `--cache` is
given; latency is then measured on the first twenty questions without it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.corpora import LongleafChunker, Piece, VectorCache
from model import Engine
from rag.embedders import Embedder, load_embedder
from rag.evaluation.metrics import holds
from rag.framing import frame_for
from rag.fusion import fuse, order
from rag.index.collection import CollectionIndex, IndexedDocument
from rag.packing import Pack, Passage, pack_retrieved
from rag.quotable import candidate_sentences
from rag.quote_features import Floats, add_similarity, features, promising
from rag.quoting import Evidence, Quoter
from rag.retrieval import Candidate
from rag.sentences import sentence_spans
from rag.settings import Settings


class CachedEmbedder:
    """An embedder whose vectors are kept on disk."""

    def __init__(self, cache: VectorCache) -> None:
        self._cache = cache

    def embed_passages(self, texts: Sequence[str]) -> Floats:
        """As `Embedder.embed_passages`."""
        return self._cache.passages(texts)

    def embed_query(self, text: str) -> Floats:
        """As `Embedder.embed_query`."""
        vector: Floats = self._cache.queries([text])[0]
        return vector


@dataclass(frozen=True)
class Asked:
    """One question of a set and what the service made of it."""

    group: str
    record: dict[str, Any]
    candidates: list[Candidate]
    pack: Pack
    evidence: Evidence
    seconds: float


class Collection:
    """One corpus in memory, with the same index, fusion, packing and quoting as the service."""

    def __init__(self, pieces: Sequence[Piece], texts: dict[str, str], embedder: CachedEmbedder) -> None:
        self._pieces = list(pieces)
        self._texts = texts
        self._embedder = embedder
        self._index = CollectionIndex()
        vectors = embedder.embed_passages([piece.embedded for piece in pieces])
        indexed = [piece.indexed for piece in pieces]
        self._index.apply([IndexedDocument("all", 1, np.arange(len(pieces)), vectors, indexed)])

    def search(self, question: str, top_k: int) -> list[Candidate]:
        """The best chunks, as `Retriever.search` gives them."""
        hits = self._index.search(question, self._embedder.embed_query(question), 200)
        scores = fuse(hits)
        return [
            self._candidate(
                int(hits.ids[at]), float(scores[at]), float(hits.dense[at]), float(hits.lexical[at])
            )
            for at in order(hits, scores)[:top_k]
        ]

    def _candidate(self, number: int, score: float, dense: float, lexical: float) -> Candidate:
        piece = self._pieces[number]
        return Candidate(
            chunk_id=number,
            document_id=piece.document,
            document_title=Path(piece.document).stem,
            filename=piece.document,
            generation=1,
            start=piece.start,
            end=piece.end,
            page_start=None,
            page_end=None,
            headings=(),
            text=self._texts[piece.document][piece.start : piece.end],
            tokens=0,
            score=score,
            dense_rank=None,
            dense_score=dense,
            lexical_rank=None,
            lexical_score=lexical,
        )


def passages(candidates: Sequence[Candidate]) -> list[Passage]:
    """Candidates as the packer takes them."""
    return [
        Passage(c.document_id, c.generation, c.document_title, c.start, c.end, c.text, c.score, (c.chunk_id,))
        for c in candidates
    ]


def in_part(document: str, part: str) -> bool:
    """Whether a document belongs to the half to fit on or the half to check on; a translation goes with its
    source."""
    name = document.rsplit("/", 1)[-1]
    half = "fit" if hashlib.blake2b(name.encode()).digest()[0] % 2 else "check"
    return part in ("all", half)


def records(folder: Path, part: str, limit: int) -> list[dict[str, Any]]:
    """Questions of a set in a fixed random order, at most `limit` of each language."""
    lines = [json.loads(line) for line in (folder / "questions.jsonl").open(encoding="utf-8")]
    lines.sort(key=lambda r: hashlib.blake2b(str(r["id"]).split("-")[-1].encode()).digest())
    taken: dict[str, int] = {}
    out = []
    for record in lines:
        document = record["doc"] if isinstance(record["doc"], str) else record["doc"][0]
        language = record.get("language", "")
        if in_part(document, part) and taken.get(language, 0) < limit:
            taken[language] = taken.get(language, 0) + 1
            out.append(record)
    return out


def collections(
    data: Path, name: str, chunker: LongleafChunker, embedder: CachedEmbedder
) -> Iterator[tuple[str, Collection]]:
    """The collections of a set by group name: one, or one a language. Their documents are plain text in
    UTF-8."""
    docs = data / name / ("haystacks" if name == "niah" else "docs")
    folders = sorted(p for p in docs.iterdir() if p.is_dir()) if name == "xquad" else [docs]
    for folder in folders:
        paths = {p.relative_to(docs).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
        pieces = [piece for document, path in paths.items() for piece in chunker(path, document)]
        texts = {document: path.read_bytes().decode("utf-8") for document, path in paths.items()}
        group = f"{name}-{folder.name}" if name == "xquad" else name
        yield group, Collection(pieces, texts, embedder)


def ask(
    args: argparse.Namespace, name: str, chunker: LongleafChunker, embedder: CachedEmbedder, engine: Engine
) -> Iterator[Asked]:
    """Every question of a set through search, packing and quoting."""
    asked = records(args.data / name, args.part, args.limit)
    quoter = Quoter(embedder, sentence_spans)
    for group, collection in collections(args.data, name, chunker, embedder):
        for record in asked:
            if name == "xquad" and not group.endswith("-" + record["language"]):
                continue
            candidates = collection.search(record["question"], args.top_k)
            packed = pack(candidates, engine, args.budget)
            start = time.perf_counter()
            evidence = quoter.evidence(record["question"], packed.segments, candidates)
            yield Asked(group, record, candidates, packed, evidence, time.perf_counter() - start)


def pack(candidates: Sequence[Candidate], engine: Engine, budget: int) -> Pack:
    """The candidates packed to the budget, in the generator's tokens."""
    frame = frame_for(c.text for c in candidates)
    return pack_retrieved(passages(candidates), engine.tokenizer, frame, budget, sentence_spans)


def report(results: Sequence[Asked]) -> None:
    """The table: one row a group."""
    print(f"{'group':<12}{'n':>5}{'first':>8}{'two':>8}{'chars':>7}{'quotes':>8}{'packed':>8}")
    answerable = [each for each in results if each.record["answerable"]]
    groups = list(dict.fromkeys(each.group for each in answerable))
    sets = dict.fromkeys(group.split("-")[0] for group in groups)
    for group in [*groups, *(name for name in sets if name not in groups)]:
        mine = [each for each in answerable if group in (each.group, each.group.split("-")[0])]
        quotes = [[quote.text for quote in each.evidence.quotes] for each in mine]
        golds = [each.record["answers"] for each in mine]
        first = statistics.fmean(bool(q) and holds(q[0], g) for q, g in zip(quotes, golds, strict=True))
        two = statistics.fmean(any(holds(t, g) for t in q) for q, g in zip(quotes, golds, strict=True))
        chars = statistics.fmean(len(t) for q in quotes for t in q)
        packed = statistics.fmean(
            any(holds(s.passage.text, e.record["answers"]) for s in e.pack.segments) for e in mine
        )
        each = statistics.fmean(len(q) for q in quotes)
        print(f"{group:<12}{len(mine):>5}{first:>8.3f}{two:>8.3f}{chars:>7.0f}{each:>8.2f}{packed:>8.3f}")


def fit(
    results: Sequence[Asked], embedder: CachedEmbedder, columns: Sequence[int], rounds: int = 300
) -> Floats:
    """Weights that make the sentences holding the evidence likeliest: a softmax a question, cross-entropy,
    Adam."""
    import torch  # noqa: PLC0415

    tables, golds = [], []
    for each in results:
        spans = [e for e in each.record["evidence"] if "start" in e]
        sentences = candidate_sentences(each.pack.segments, each.candidates, sentence_spans)
        if not sentences or not spans:
            continue
        table = features(each.record["question"], sentences, each.candidates)
        chosen = promising(table)
        similarity = np.full(len(sentences), np.nan, dtype=np.float32)
        asked = embedder.embed_query(each.record["question"])
        similarity[chosen] = embedder.embed_passages([sentences[i].text for i in chosen]) @ asked
        add_similarity(table, similarity, sentences)
        gold = [
            any(s.document_id == e["doc"] and s.start < e["end"] and e["start"] < s.end for e in spans)
            for s in (sentences[i] for i in chosen)
        ]
        if any(gold):
            tables.append(torch.tensor(table[chosen][:, list(columns)]))
            golds.append(torch.tensor(gold))
    spread = torch.cat(tables).std(0) + 1e-6
    weights = torch.zeros(len(columns), requires_grad=True)
    optimiser = torch.optim.Adam([weights], lr=0.05)
    for _ in range(rounds):
        optimiser.zero_grad()
        losses = [
            torch.logsumexp(scores, 0) - torch.logsumexp(scores[gold], 0)
            for scores, gold in (
                (table / spread @ weights, gold) for table, gold in zip(tables, golds, strict=True)
            )
        ]
        loss = torch.stack(losses).mean() + 1e-3 * weights.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    result: Floats = (weights.detach() / spread).numpy()
    return result


def latency(results: Sequence[Asked], embedder: Embedder) -> None:
    """Milliseconds of quoting with nothing cached, over the first twenty questions."""
    quoter = Quoter(embedder, sentence_spans)
    times = []
    for each in results[:20]:
        start = time.perf_counter()
        quoter.evidence(each.record["question"], each.pack.segments, each.candidates)
        times.append((time.perf_counter() - start) * 1000)
    middle, longest = statistics.median(times), max(times)
    print(f"quoting: median {middle:.0f} ms, longest {longest:.0f} ms of {len(times)} questions")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=os.environ.get("LONGLEAF_EVAL_DATA"))
    parser.add_argument("--sets", nargs="+", default=["xquad", "squad2"])
    parser.add_argument("--part", choices=["fit", "check", "all"], default="all")
    parser.add_argument("--top-k", type=int, default=20)
    parser.add_argument("--budget", type=int, default=7600)
    parser.add_argument("--limit", type=int, default=100_000)
    parser.add_argument("--cache", type=Path, default=Path("/tmp/longleaf-bench"))  # noqa: S108
    parser.add_argument("--fit", action="store_true")
    args = parser.parse_args()
    if args.data is None:
        parser.error("give --data DIR or set LONGLEAF_EVAL_DATA")
    settings = Settings()
    embedder = load_embedder(settings)
    chunker = LongleafChunker(embedder, settings.chunk_tokens)
    cached = CachedEmbedder(VectorCache(args.cache, embedder))
    engine = Engine.load("auto")
    results = [each for name in args.sets for each in ask(args, name, chunker, cached, engine)]
    print(
        f"{embedder.name} in {embedder.dtype}, {engine.name}, {os.cpu_count()} cores, {platform.processor()}"
    )
    report(results)
    latency(results, embedder)
    if args.fit:
        columns = range(9)
        print("weights", np.round(fit(results, cached, columns), 2).tolist())
        cheap = [column for column in columns if column not in (0, 3, 4)]
        print("without similarities", np.round(fit(results, cached, cheap), 2).tolist())


if __name__ == "__main__":
    main()
