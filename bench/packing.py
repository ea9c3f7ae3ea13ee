"""Is the evidence in what is read? By budget, beside the plain pipeline, and with parts of packing left out.

    python -m bench.packing --data DIR --cache DIR [--sets financebench multihop …] [--budgets 2048 8192]
    python -m bench.packing --data DIR --cache DIR --sets financebench --ablate
    python -m bench.packing --data DIR --cache DIR --dialogues

Documents go through ingest into a store; questions through the service's own search, finding and packing, in
the tokens of the bundled generator. The plain pipeline: chunks of 1,200 characters, dense search by the same
embedder, best first while they fit. `found`: a character of every place that is needed (of one, where one is
enough) is read. `held`: the whole passage, or half of the page, is. Brackets: 95 % by bootstrap over
documents. `--ablate` compares ways to fill the budget; `--dialogues` asks follow-up questions in nine
languages, as they are and made whole from the conversation.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from api.wiring import Service
from bench.answers import CachingEmbedder, library
from bench.corpora import Piece, VectorCache, plain_chunker
from bench.plain import Group, groups
from model import Engine
from rag.embedders import load_embedder
from rag.evaluation.intervals import bootstrap
from rag.evaluation.library import Library
from rag.evaluation.metrics import Place, packed, touches
from rag.evaluation.questions import GoldQuestion
from rag.finding import Finder, Found, Turn
from rag.framing import frame_for
from rag.gathering import read
from rag.passages import Pack, Segment, Tokenizer, encode_passage
from rag.retrieval import SearchScope
from rag.settings import Settings
from rag.sources import Sources, passages_of
from rag.store.repositories import Collections

TOP_K = 20
T = TypeVar("T")
Packer = Callable[[Sources, Found, Tokenizer, int], Pack]


@dataclass
class Tally:
    """One way's outcomes at one budget."""

    found: list[bool] = field(default_factory=list)
    held: list[bool] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)

    def add(self, places: Sequence[Place], ranges: Sequence[Place], every: bool, tokens: int) -> None:
        """Note one question's outcome."""
        hits = [any(touches(place, each) for each in ranges) for place in places]
        self.found.append(all(hits) if every else any(hits))
        self.held.append(packed(places, ranges, every=every))
        self.tokens.append(tokens)

    def cells(self, clusters: Sequence[str]) -> str:
        """The row's cells: both shares with their intervals, and the mean of tokens read."""
        shares = [bootstrap(np.array(each, dtype=float), clusters) for each in (self.found, self.held)]
        return (
            "".join(f"  {each.value:.3f} [{each.low:.3f}, {each.high:.3f}]" for each in shares)
            + f"{statistics.fmean(self.tokens):>8.0f}"
        )


def service_pack(sources: Sources, found: Found, tokenizer: Tokenizer, budget: int) -> Pack:
    """As the service packs."""
    pack, _ = read(sources, tokenizer, found.candidates, found.further, lambda _: budget)
    return pack


class WithoutNeighbours(Sources):
    """The store without what stands around a chunk."""

    def neighbours(self, *_: object) -> dict[int, list]:  # type: ignore[type-arg]
        """None."""
        return {}


class WithoutWhole(Sources):
    """The store without whole-corpus reading."""

    def whole(self, *_: object) -> None:
        """None."""


def retrieved_ranges(pack: Pack) -> list[Place]:
    """What a pack reads."""
    return [Place(s.passage.document_id, s.passage.start, s.passage.end) for s in pack.segments]


class PlainPipeline:
    """Chunks of 1,200 characters by cosine, best first while they fit."""

    def __init__(self, group: Group, cache: VectorCache) -> None:
        docs = group.folder
        while docs.name not in ("docs", "haystacks"):
            docs = docs.parent
        self.pieces = [piece for name in group.names for piece in plain_chunker(docs / name, name)]
        self._vectors = cache.passages([piece.embedded for piece in self.pieces])
        self._cache = cache
        self._costs: dict[int, int] = {}

    def ranges(self, question: str, tokenizer: Tokenizer, budget: int) -> tuple[list[Place], int]:
        """The ranges that are read at a budget, and their tokens."""
        [vector] = self._cache.queries([question])
        taken, left = [], budget
        for place in np.argsort(-(self._vectors @ vector), kind="stable"):
            cost = self._cost(int(place), tokenizer)
            if cost > left:
                break
            left -= cost
            piece = self.pieces[place]
            taken.append(Place(piece.document, piece.start, piece.end))
        return taken, budget - left

    def _cost(self, place: int, tokenizer: Tokenizer) -> int:
        if place not in self._costs:
            piece = self.pieces[place]
            frame = frame_for([])
            around = frame.opening(Path(piece.document).stem), frame.closing
            self._costs[place] = sum(len(tokenizer.encode(text)) for text in (*around, piece.embedded))
        return self._costs[place]


def plain_places(question: GoldQuestion, pieces: Sequence[Piece], text: Mapping[str, str]) -> list[Place]:
    """Evidence in the offsets of the plain pipeline's own texts."""
    places = []
    for evidence in question.evidence:
        if evidence.start is not None and evidence.end is not None:
            places.append(Place(evidence.doc, evidence.start, evidence.end))
        elif evidence.page is not None:
            page = evidence.page
            mine = [
                p
                for p in pieces
                if p.document == evidence.doc and p.pages and p.pages[0] <= page <= p.pages[1]
            ]
            if mine:
                places.append(Place(evidence.doc, mine[0].start, mine[-1].end, page=True))
        elif evidence.text and (at := text.get(evidence.doc, "").find(evidence.text)) >= 0:
            places.append(Place(evidence.doc, at, at + len(evidence.text)))
    return places


def ways(service: Service, scope: SearchScope, ablate: bool) -> dict[str, tuple[bool, Packer]]:
    """By name: whether further searches are made, and how the budget is filled."""
    chosen: dict[str, tuple[bool, Packer]] = {"longleaf": (True, service_pack)}
    if ablate:
        plain_sources = WithoutNeighbours(service.db, scope)
        no_whole = WithoutWhole(service.db, scope)

        def without_neighbours(_: Sources, found: Found, tokenizer: Tokenizer, budget: int) -> Pack:
            return service_pack(plain_sources, found, tokenizer, budget)

        def without_further(sources: Sources, found: Found, tokenizer: Tokenizer, budget: int) -> Pack:
            return service_pack(sources, replace(found, further=[]), tokenizer, budget)

        def without_whole(_: Sources, found: Found, tokenizer: Tokenizer, budget: int) -> Pack:
            return service_pack(no_whole, found, tokenizer, budget)

        def by_rank(_: Sources, found: Found, tokenizer: Tokenizer, budget: int) -> Pack:
            return first_that_fit(found, tokenizer, budget)

        chosen |= {
            "one search": (False, service_pack),
            "no neighbours": (True, without_neighbours),
            "no further": (True, without_further),
            "no whole": (True, without_whole),
            "by rank": (True, by_rank),
        }
    return chosen


def first_that_fit(found: Found, tokenizer: Tokenizer, budget: int) -> Pack:
    """The candidates in their order while they fit, nothing merged and nothing left out."""
    passages = passages_of(found.candidates)
    frame = frame_for(passage.text for passage in passages)
    segments, left = [], budget
    for rank, passage in enumerate(passages, start=1):
        ids = encode_passage(passage, tokenizer, frame)
        if len(ids) <= left:
            left -= len(ids)
            segments.append(Segment(passage, ids, rank))
    return Pack("retrieved", budget, tuple(segments))


def scope_of(service: Service) -> SearchScope:
    """The one collection of a fresh service."""
    with service.db.read() as session:
        collection = Collections(session, service.scope).by_name("default")
    return SearchScope(service.scope.workspace_id, collection.id)


def measure(args: argparse.Namespace, group: Group, embedder: CachingEmbedder, tokenizer: Tokenizer) -> None:
    """Print the group's rows."""
    plain = PlainPipeline(group, VectorCache(args.cache, embedder._inner)) if not args.no_plain else None
    tallies: dict[tuple[str, int], Tally] = {}
    clusters: list[str] = []
    spent: dict[str, list[float]] = {"search": [], "find": [], "pack": []}
    searches: list[int] = []
    with library(group.folder, embedder) as service:
        scope = scope_of(service)
        sources = Sources(service.db, scope)
        retriever = service.retriever.wait()
        finder = Finder(retriever)
        located = Library(service.db, service.scope, scope.collection_id)
        files = {name: located.text(ids[0]) for name in group.names if (ids := located.find(name))}
        for question in group.questions:
            places = located.locate(question).places
            every = question.evidence_mode == "all"
            if not places:
                continue
            clusters.append(question.cluster)
            timed(spent["search"], lambda: retriever.look(question.question, scope, TOP_K))  # noqa: B023
            found = timed(spent["find"], lambda: finder.find(question.question, scope, TOP_K))  # noqa: B023
            once = finder.find(question.question, scope, TOP_K, steps=1)
            searches.append(len(found.searches))
            for budget in args.budgets:
                for name, (further, packer) in ways(service, scope, args.ablate).items():
                    made = found if further else once
                    pack = timed(
                        spent["pack"] if name == "longleaf" else [],
                        lambda: packer(sources, made, tokenizer, budget),  # noqa: B023
                    )
                    tally = tallies.setdefault((name, budget), Tally())
                    tally.add(places, retrieved_ranges(pack), every, pack.tokens)
                if plain is not None:
                    gold = plain_places(question, plain.pieces, files)
                    ranges, tokens = plain.ranges(question.question, tokenizer, budget)
                    tallies.setdefault(("plain", budget), Tally()).add(gold, ranges, every, tokens)
    for (name, budget), tally in sorted(tallies.items(), key=lambda item: item[0][1]):
        label = f"{group.name:<14}{len(clusters):>5}{budget:>7} {name:<14}"
        print(label + tally.cells(clusters), flush=True)
    middle = {name: statistics.median(each) for name, each in spent.items()}
    print(
        f"{group.name:<14} searches a question {statistics.fmean(searches):.2f}; median ms: one search "
        f"{middle['search']:.0f}, all of finding {middle['find']:.0f}, packing {middle['pack']:.0f}",
        flush=True,
    )


def timed(times: list[float], work: Callable[[], T]) -> T:
    """The value of `work`, its milliseconds noted."""
    began = time.perf_counter()
    value = work()
    times.append((time.perf_counter() - began) * 1000)
    return value


def dialogues(args: argparse.Namespace, embedder: CachingEmbedder) -> None:
    """Evidence in the first 4 and 10 chunks: as asked, made whole, and behind the whole last question."""
    stored = Path(__file__).with_name("dialogues.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in stored.splitlines()]
    print(f"{'dialogues':<12}{'n':>4}{'as asked':>16}{'made whole':>16}{'last question':>16}{'changed':>9}")
    sums: list[list[bool]] = []
    for group in groups(args.data, "xquad", "all", 100_000):
        language = group.folder.name
        mine = [line for line in lines if line["documents"] == language]
        asked = {question.id: question for question in group.questions}
        with library(group.folder, embedder) as service:
            scope = scope_of(service)
            located = Library(service.db, service.scope, scope.collection_id)
            finder = Finder(service.retriever.wait())
            rows: dict[str, list[list[bool]]] = {}
            for line in mine:
                gold = located.locate(asked[f"{language}-{line['xquad']}"]).places
                history = [Turn(**turn) for turn in line["history"]]
                whole = finder.find(line["question"], scope, 10, history=history, steps=1)
                both = f"{history[-1].question} {line['question']}"
                row = [whole.question != line["question"]]
                for found in (
                    finder.find(line["question"], scope, 10, steps=1),
                    whole,
                    finder.find(both, scope, 10, steps=1),
                ):
                    for cut in (4, 10):
                        ranges = [Place(c.document_id, c.start, c.end) for c in found.candidates[:cut]]
                        row.append(any(touches(a, b) for a in gold for b in ranges))
                rows.setdefault(line["language"], []).append(row)
                sums.append(row)
        for name, each in rows.items():
            _dialogue_row(name, each)
    _dialogue_row("all", sums)


def _dialogue_row(name: str, rows: list[list[bool]]) -> None:
    means = np.array(rows, dtype=float).mean(0)
    cells = [f"{means[at]:.3f} {means[at + 1]:.3f}" for at in (1, 3, 5)]
    print(
        f"{name:<12}{len(rows):>4}" + "".join(f"{cell:>16}" for cell in cells) + f"{means[0]:>9.3f}",
        flush=True,
    )


def every_group(args: argparse.Namespace) -> Iterator[Group]:
    """The groups of the named sets that have questions."""
    for name in args.sets:
        yield from (group for group in groups(args.data, name, args.part, args.limit) if group.questions)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=os.environ.get("LONGLEAF_EVAL_DATA"))
    parser.add_argument(
        "--sets", nargs="+", default=["financebench", "multihop", "longdocs", "niah", "squad2"]
    )
    parser.add_argument("--budgets", nargs="+", type=int, default=[1024, 2048, 4096, 8192])
    parser.add_argument("--part", choices=["fit", "check", "all"], default="all")
    parser.add_argument("--limit", type=int, default=100_000, help="questions of each language")
    parser.add_argument("--ablate", action="store_true", help="leave out one part of packing at a time")
    parser.add_argument("--no-plain", action="store_true", help="leave out the plain pipeline")
    parser.add_argument("--dialogues", action="store_true", help="ask the follow-up questions instead")
    parser.add_argument("--cache", type=Path, default=Path("/tmp/longleaf-bench"))  # noqa: S108
    args = parser.parse_args()
    if args.data is None:
        parser.error("give --data DIR or set LONGLEAF_EVAL_DATA")
    args.data = Path(args.data)
    embedder = CachingEmbedder(load_embedder(Settings()), args.cache)
    if args.dialogues:
        dialogues(args, embedder)
        return
    tokenizer = Engine.load("auto").tokenizer
    heads = "".join(f"  {name:<20}" for name in ("found", "held"))
    print(f"{'set':<14}{'n':>5}{'budget':>7} {'way':<14}{heads}{'tokens':>8}")
    for group in every_group(args):
        measure(args, group, embedder, tokenizer)


if __name__ == "__main__":
    main()
