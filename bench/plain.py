"""The plain pipeline that Longleaf is held against: chunks, dense search, a prompt, a model that writes.

    python -m bench.plain --data DIR --cache DIR [--sets squad2 xquad …] [--limit 200]
    python -m bench.plain --data DIR --cache DIR --sets squad2 xquad --generate 10

Paragraphs are joined to chunks of 1,200 characters, embedded by the bundled multilingual-e5-small, and the
four nearest to the question are put before the bundled model, which writes an answer. Rows: evidence in the
first 1, 4 and 10 chunks, by dense search over such chunks and by Longleaf's own search over its own, with
intervals and the p of the difference. With `--generate N`, on N questions of each group: the gold answer
inside what the plain pipeline writes, inside Longleaf's quotes, and the median time of an answer, on the
clock and in CPU time, which other work on the machine does not change. Both are asked in turn, with no
vector of a question or sentence cached; `added` is how much longer Longleaf's median is. Only answerable
questions are asked.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from api.answers import ask
from api.schemas import QueryRequest
from api.wiring import Service
from bench.answers import CachingEmbedder, library
from bench.corpora import LongleafChunker, Piece, VectorCache, plain_chunker
from bench.quotes import CachedEmbedder, Collection, records
from model import Engine, SamplingParams, TokenEvent
from rag.answering import DoneEvent
from rag.embedders import Embedder, load_embedder
from rag.embedders.base import Vectors
from rag.evaluation.intervals import bootstrap, paired
from rag.evaluation.metrics import CUTS, Place, first_ranks, found_at, holds
from rag.evaluation.questions import GoldQuestion, load_questions
from rag.settings import Settings

READ = 4
"""Chunks that the model reads."""

_PROMPT = (
    "Answer the question in one or two sentences, using only these passages.\n\n{passages}\n\n"
    "Question: {question}"
)


class Plain:
    """Dense search over chunks of 1,200 characters, and a model that writes from the first four."""

    def __init__(
        self, pieces: Sequence[Piece], passages: Vectors, embedder: Embedder, engine: Engine
    ) -> None:
        self.pieces = list(pieces)
        self._passages = passages
        self._embedder = embedder
        self._engine = engine

    def search(self, vector: Vectors, count: int = 10) -> list[Piece]:
        """The nearest chunks to a question's vector."""
        return [self.pieces[place] for place in np.argsort(-(self._passages @ vector), kind="stable")[:count]]

    def answer(self, question: str, max_tokens: int) -> str:
        """Search, prompt, write."""
        found = self.search(self._embedder.embed_query(question), READ)
        passages = "\n\n".join(piece.embedded for piece in found)
        messages = [{"role": "user", "content": _PROMPT.format(passages=passages, question=question)}]
        params = SamplingParams(max_tokens=max_tokens, temperature=0.0, seed=0)
        events = self._engine.chat(messages, params)
        return "".join(event.text for event in events if isinstance(event, TokenEvent))


class ToldWhen(CachingEmbedder):
    """Vectors from the cache while documents are read, and none from it once `live` is set."""

    live = False

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """As `Embedder.embed_passages`."""
        return self._inner.embed_passages(texts) if self.live else super().embed_passages(texts)

    def embed_query(self, text: str) -> Vectors:
        """As `Embedder.embed_query`."""
        return self._inner.embed_query(text) if self.live else super().embed_query(text)


@dataclass
class Group:
    """A collection of documents and the answerable questions about it."""

    name: str
    folder: Path
    names: list[str]
    questions: list[GoldQuestion]


def groups(data: Path, name: str, part: str, limit: int) -> Iterator[Group]:
    """A set as one group; xquad as one a language."""
    found = load_questions(data / name)
    docs = found.folders[-1]
    wanted = {str(record["id"]) for record in records(data / name, part, limit)}
    asked = [question for question in found.questions if question.answerable and question.id in wanted]
    for folder in sorted(path for path in docs.iterdir() if path.is_dir()) or [docs]:
        mine = [each for each in asked if folder == docs or each.language == folder.name]
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        yield Group(
            name if folder == docs else f"{name} {folder.name}",
            folder,
            [path.relative_to(docs).as_posix() for path in files],
            mine,
        )


def gold_places(question: GoldQuestion, pieces: Sequence[Piece]) -> list[Place]:
    """Evidence as ranges of the pieces' own texts: offsets, or the pieces of a page or with the text."""
    places = []
    for evidence in question.evidence:
        if evidence.start is not None and evidence.end is not None:
            places.append(Place(evidence.doc, evidence.start, evidence.end))
            continue
        mine = [piece for piece in pieces if piece.document == evidence.doc]
        if evidence.page is not None:
            page = evidence.page
            mine = [piece for piece in mine if piece.pages and piece.pages[0] <= page <= piece.pages[1]]
        else:
            mine = [piece for piece in mine if holds(piece.embedded, [evidence.text or ""])]
        if mine:
            places.append(Place(evidence.doc, mine[0].start, mine[-1].end))
    return places


def found_by(
    questions: Sequence[GoldQuestion], pieces: Sequence[Piece], search: Callable[[str], Sequence[Place]]
) -> list[list[float]]:
    """For each cut, whether each question's evidence is in the first results."""
    rows: list[list[float]] = [[] for _ in CUTS]
    for question in questions:
        ranks = first_ranks(gold_places(question, pieces), search(question.question))
        for row, cut in zip(rows, CUTS, strict=True):
            row.append(float(found_at(ranks, cut, every=question.evidence_mode == "all")))
    return rows


def measure(args: argparse.Namespace, group: Group, cached: ToldWhen, engine: Engine) -> None:
    """Print the group's rows."""
    docs = group.folder
    while docs.name not in ("docs", "haystacks"):
        docs = docs.parent
    questions, clusters = group.questions, [question.cluster for question in group.questions]
    cache = VectorCache(args.cache, cached._inner)
    pieces = [piece for name in group.names for piece in plain_chunker(docs / name, name)]
    plain = Plain(pieces, cache.passages([piece.embedded for piece in pieces]), cached._inner, engine)

    def by_plain(question: str) -> list[Place]:
        best = plain.search(cache.queries([question])[0])
        return [Place(piece.document, piece.start, piece.end) for piece in best]

    chunker = LongleafChunker(cached._inner, Settings().chunk_tokens)
    own = [piece for name in group.names for piece in chunker(docs / name, name)]
    # the texts of the candidates are of no use here
    collection = Collection(own, dict.fromkeys(group.names, ""), CachedEmbedder(cache))

    def by_longleaf(question: str) -> list[Place]:
        found = collection.search(question, CUTS[-1])
        return [Place(each.document_id, each.start, each.end) for each in found]

    theirs, ours = found_by(questions, pieces, by_plain), found_by(questions, own, by_longleaf)
    for cut, before, after in zip(CUTS, theirs, ours, strict=True):
        change = paired(before, after, clusters)
        bounds = [bootstrap(each, clusters) for each in (before, after)]
        print(
            f"{group.name:<14}{len(questions):>5}  found@{cut:<3}"
            + "".join(f"{each.value:>7.3f} [{each.low:.3f}, {each.high:.3f}]" for each in bounds)
            + f"{change.value:>+8.3f}{change.p:>7.3f}"
        )
    if args.generate:
        print(f"{group.name:<14}{beside(args, group, plain, cached)}")
    sys.stdout.flush()


def beside(args: argparse.Namespace, group: Group, plain: Plain, cached: ToldWhen) -> str:
    """Both pipelines on the same questions in turn: gold answers and median times."""
    questions = group.questions[: args.generate]
    times: dict[str, list[float]] = {"plain": [], "longleaf": []}
    work: dict[str, list[float]] = {"plain": [], "longleaf": []}
    right: dict[str, list[bool]] = {"plain": [], "longleaf": []}
    cached.live = False
    with library(group.folder, cached) as service:
        _longleaf(service, "?", args.mode)  # both have answered once before the clock runs
        plain.answer("?", 8)
        cached.live = True
        for question in questions:
            for name in ("plain", "longleaf"):
                began, busy = time.perf_counter(), time.process_time()
                if name == "plain":
                    texts = [plain.answer(question.question, args.max_tokens)]
                else:
                    texts = _longleaf(service, question.question, args.mode)
                times[name].append((time.perf_counter() - began) * 1000)
                work[name].append((time.process_time() - busy) * 1000)
                right[name].append(any(holds(text, question.answers) for text in texts))
    cached.live = False
    cells = [f"{len(questions):>5}", *(f"{statistics.fmean(right[name]):>8.3f}" for name in right)]
    for measured in (times, work):
        theirs, ours = statistics.median(measured["plain"]), statistics.median(measured["longleaf"])
        cells.append(f"{theirs:>9.0f}{ours:>9.0f}{ours / theirs - 1:>+7.0%}")
    return "".join(cells)


def _longleaf(service: Service, question: str, mode: str) -> list[str]:
    """The quotes of an answer."""
    asked = QueryRequest.model_validate({"question": question, "mode": mode})
    for event in ask(service, asked, threading.Event()):
        if isinstance(event, DoneEvent):
            return [citation.cited_text for citation in event.answer.citations]
    raise RuntimeError("the answer ended without its last event")


def main() -> None:
    """Print a row for each group."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=os.environ.get("LONGLEAF_EVAL_DATA"))
    parser.add_argument("--sets", nargs="+", default=["squad2", "xquad"])
    parser.add_argument("--part", choices=["fit", "check", "all"], default="all")
    parser.add_argument("--limit", type=int, default=100_000, help="questions of each language")
    parser.add_argument("--generate", type=int, default=0, help="questions of each group that are answered")
    parser.add_argument("--max-tokens", type=int, default=Settings().max_tokens)
    parser.add_argument("--mode", default="auto", help="how Longleaf answers")
    parser.add_argument("--cache", type=Path, default=Path("/tmp/longleaf-bench"))  # noqa: S108
    args = parser.parse_args()
    if args.data is None:
        parser.error("give --data DIR or set LONGLEAF_EVAL_DATA")
    args.data = Path(args.data)
    cached = ToldWhen(load_embedder(Settings()), args.cache)
    engine = Engine.load("auto")
    print(
        f"{'group':<14}{'n':>5}  {'metric':<9}{'plain':>7}{'':<15}{'longleaf':>9}{'':<15}{'diff':>6}{'p':>7}"
    )
    if args.generate:
        head = f"{'group':<14}{'n':>5}{'wrote':>8}{'quotes':>8}"
        print(head + f"{'plain ms':>9}{'ours':>9}{'added':>7}{'CPU ms':>9}{'ours':>9}{'added':>7}")
    for name in args.sets:
        for group in groups(args.data, name, args.part, args.limit):
            if group.questions:
                measure(args, group, cached, engine)


if __name__ == "__main__":
    main()
