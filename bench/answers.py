"""Questions through the whole service: are the answers right, and is every citation what is stored?

    python -m bench.answers --data DIR [--sets squad2 xquad …] [--limit 100] [--mode quotes] [--cache DIR]

Each set (xquad: each language) is uploaded to a fresh store, read by the ingest worker and asked by
`Answerer`. Columns: answerable questions that were answered; gold answer inside the citations, and inside the
answer's own words with `--mode answer` (prose, or the best sentence; `prose` alone beside it), each of all
answerable ones; unanswerable questions that were refused; citations whose text is the stored document's text
at their offsets, read back afresh. Only the vectors come from a cache.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from api.answers import ask
from api.commands.ingest import add_files, find_files, read_all
from api.loaders import Loaders
from api.schemas import QueryRequest
from api.wiring import Service
from bench.corpora import VectorCache
from bench.quotes import records
from rag.answering import Answer, DoneEvent
from rag.embedders import Embedder, load_embedder
from rag.embedders.base import Vectors
from rag.evaluation.metrics import holds
from rag.settings import Settings
from rag.store.repositories import Documents


class CachingEmbedder:
    """The embedder that it is given, with vectors kept on disk; threads may share it."""

    def __init__(self, inner: Embedder, folder: Path) -> None:
        self._inner = inner
        self._folder = folder
        self._own = threading.local()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _cache(self) -> VectorCache:
        if not hasattr(self._own, "cache"):
            self._own.cache = VectorCache(self._folder, self._inner)
        cache: VectorCache = self._own.cache
        return cache

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """As `Embedder.embed_passages`."""
        return self._cache().passages(texts)

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """As `Embedder.embed_queries`."""
        return self._cache().queries(texts)

    def embed_query(self, text: str) -> Vectors:
        """As `Embedder.embed_query`."""
        vector: Vectors = self._cache().queries([text])[0]
        return vector


@contextmanager
def library(files: Path, embedder: Embedder) -> Iterator[Service]:
    """A service on a fresh store that has read the files of a folder."""
    with tempfile.TemporaryDirectory(prefix="longleaf-") as folder:
        settings = Settings(_env_file=None, data_dir=Path(folder))
        service = Service(settings, Loaders(embedder=lambda _settings: embedder))
        try:
            service.start(ingest=False)
            found, _ = find_files([files])
            read_all(service, add_files(service, found, "default"))
            yield service
        finally:
            service.stop()


def answer(service: Service, question: str, mode: str, collection: str = "default") -> Answer:
    """The answer to a question."""
    asked = QueryRequest.model_validate({"question": question, "mode": mode, "collection": collection})
    for event in ask(service, asked, threading.Event()):
        if isinstance(event, DoneEvent):
            return event.answer
    raise RuntimeError("the answer ended without its last event")


def exact(service: Service, answers: Sequence[Answer]) -> tuple[int, int]:
    """How many of all citations are the stored text at their offsets, and how many there are."""
    citations = [citation for each in answers for citation in (*each.citations, *each.context.closest)]
    with service.db.read() as session:
        documents = Documents(session, service.scope)
        texts = {name: documents.text(name) for name in {citation.document_id for citation in citations}}
    right = sum(
        texts[c.document_id][c.start_char_index : c.end_char_index] == c.cited_text != "" for c in citations
    )
    return right, len(citations)


def share(values: Sequence[bool]) -> str:
    """A share to three places, blank of nothing."""
    return f"{statistics.fmean(values):.3f}" if values else ""


def main() -> None:
    """Print a row for each collection, and the totals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=os.environ.get("LONGLEAF_EVAL_DATA"))
    parser.add_argument("--sets", nargs="+", default=["squad2", "squad_pt", "xquad"])
    parser.add_argument("--mode", choices=["quotes", "answer"], default="quotes")
    parser.add_argument("--languages", nargs="+", help="of xquad; by default all")
    parser.add_argument("--part", choices=["fit", "check", "all"], default="check")
    parser.add_argument("--limit", type=int, default=100, help="questions of each language")
    parser.add_argument("--cache", type=Path, default=Path("/tmp/longleaf-bench"))  # noqa: S108
    args = parser.parse_args()
    if args.data is None:
        parser.error("give --data DIR or set LONGLEAF_EVAL_DATA")
    embedder = CachingEmbedder(load_embedder(Settings()), args.cache)
    columns = ("n", "answered", "cited", "wrote", "prose", "own", "none", "refused", "citations", "ms")
    print(f"{'group':<10}" + "".join(f"{name:>10}" for name in columns))
    all_right = all_made = 0
    for name in args.sets:
        docs = Path(args.data) / name / ("haystacks" if name == "niah" else "docs")
        for folder in sorted(p for p in docs.iterdir() if p.is_dir()) or [docs]:
            language = folder.name if folder != docs else None
            if language and args.languages and language not in args.languages:
                continue
            asked = records(Path(args.data) / name, args.part, args.limit)
            asked = [r for r in asked if language in (None, r["language"])]
            with library(folder, embedder) as service:
                started = time.perf_counter()
                answers = [answer(service, r["question"], args.mode) for r in asked]
                milliseconds = (time.perf_counter() - started) * 1000 / len(asked)
                right, made = exact(service, answers)
            all_right, all_made = all_right + right, all_made + made
            there = [(r, a) for r, a in zip(asked, answers, strict=True) if r["answerable"]]
            absent = [a for r, a in zip(asked, answers, strict=True) if not r["answerable"]]
            cells = (
                str(len(there)),
                share([a.answer_status == "answered" for _, a in there]),
                share([any(holds(c.cited_text, r["answers"]) for c in a.citations) for r, a in there]),
                share([a.answer_kind == "prose" for _, a in there]),
                share([a.answer_kind == "prose" and holds(a.answer, r["answers"]) for r, a in there]),
                share(
                    [
                        a.answer_kind in {"prose", "sentence"} and holds(a.answer, r["answers"])
                        for r, a in there
                    ]
                ),
                str(len(absent)),
                share([a.answer_status != "answered" for a in absent]),
                f"{right}/{made}",
                f"{milliseconds:.0f}",
            )
            print(f"{language or name:<10}" + "".join(f"{cell:>10}" for cell in cells), flush=True)
    print(f"citations equal to stored text: {all_right}/{all_made}")


if __name__ == "__main__":
    main()
