"""From PDF files to vectors that can be searched: the service beside the script that one would write.

    python -m bench.plain_ingest --data DIR [--files 2] [--pages 40] [--texts 96] [--rounds 3]

The script: pypdf's text of each page, joined; pieces of 1,200 characters; sentence-transformers' `encode`
with its defaults (float32, batches of 32); `faiss.IndexFlatIP`. The service: worker, confined parser, its own
chunks, the embedder in the number format that it chooses, the database, and the index that follows; so it
also stores pages, offsets and words, which the script does not. Both have the same weights. The script gets
them as a plain `transformers` model: all in float32, the table of tokens too.

Embedding: the same pieces to both, and the smallest cosine between their vectors. Whole ingest: the first
pages of some FinanceBench filings, each way from the file, in turn; models are loaded before.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import faiss
import numpy as np
import torch
from pypdf import PdfReader, PdfWriter
from sentence_transformers import SentenceTransformer
from torch import nn

from bench.costs import cpu_seconds
from ingest.uploads import NewDocument, UploadSink, accept
from ingest.worker import Worker
from rag.embedders import load_embedder
from rag.embedders.base import Embedder, Vectors
from rag.embedders.bundled import build_pipeline
from rag.embedders.q4file import Q4File, find_bundled
from rag.index.live import LiveIndexes
from rag.settings import Settings
from rag.store.migrate import upgrade
from rag.store.repositories import DEFAULT_SCOPE, Collections
from rag.store.session import Database

PIECE = 1200


def plain_pipeline() -> SentenceTransformer:
    """The bundled weights as sentence-transformers has any model: dense and in float32."""
    pipeline = build_pipeline(Q4File(find_bundled()), torch.float32, "cpu")
    embeddings: Any = cast("Any", pipeline[0]).encoder.embeddings
    table = embeddings.word_embeddings(torch.arange(len(embeddings.word_embeddings.table)))
    embeddings.word_embeddings = nn.Embedding(len(table), table.shape[1], _weight=table)
    return pipeline


def plain_text(path: Path) -> str:
    """A PDF's text by pypdf."""
    return "\n".join(page.extract_text() for page in PdfReader(path).pages)


def pieces(text: str) -> list[str]:
    """The text cut every 1,200 characters."""
    return [text[first : first + PIECE] for first in range(0, len(text), PIECE)]


def encoded(pipeline: SentenceTransformer, texts: Sequence[str]) -> Vectors:
    """What `encode` makes of passages."""
    vectors: Vectors = pipeline.encode([f"passage: {text}" for text in texts], show_progress_bar=False)
    return vectors


def script(pipeline: SentenceTransformer, paths: Sequence[Path]) -> int:
    """The whole script; returns how many vectors it made."""
    index = faiss.IndexFlatIP(pipeline.get_embedding_dimension() or 0)
    for path in paths:
        index.add(encoded(pipeline, pieces(plain_text(path))))
    return int(index.ntotal)


def service(embedder: Embedder, paths: Sequence[Path]) -> int:
    """The service's way in a store of its own; returns how many chunks can be searched."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(_env_file=None, data_dir=Path(folder))
        db = Database(settings.resolved_database_url)
        upgrade(db)
        with db.session() as session:
            collection = Collections(session, DEFAULT_SCOPE).create("bench", embedder.fingerprint).id
        indexes = LiveIndexes(db, settings)
        for path in paths:
            with UploadSink(settings) as sink:
                sink.write(path.read_bytes())
                accept(db, settings, DEFAULT_SCOPE, collection, NewDocument(sink, path.name, {}))

        def follow(key: str, _document: str) -> None:
            indexes.follow(key)

        worker = Worker(db, settings, embedder, follow)
        if worker.run_until_idle() != len(paths):
            raise SystemExit("a file was not read")
        chunks = len(indexes.follow(collection))
        db.dispose()
    return chunks


def measured(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Median wall and CPU seconds (children included) of each way, in turn."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began, spent = time.perf_counter(), cpu_seconds()
            way()
            taken[name].append((time.perf_counter() - began, cpu_seconds() - spent))
    return {
        name: (statistics.median(wall for wall, _ in runs), statistics.median(cpu for _, cpu in runs))
        for name, runs in taken.items()
    }


def table(title: str, counts: dict[str, str], times: dict[str, tuple[float, float]]) -> None:
    """Print one comparison; the first row is the one to beat."""
    base = next(iter(times))
    print(f"\n{title:28}{'':>12}{'seconds':>9}{'CPU s':>8}{'times':>8}{'by CPU':>8}")
    for name, (wall, cpu) in times.items():
        print(
            f"{name:28}{counts[name]:>12}{wall:9.2f}{cpu:8.2f}{times[base][0] / wall:8.2f}"
            f"{times[base][1] / cpu:8.2f}",
            flush=True,
        )


def first_pages(path: Path, count: int, folder: Path) -> Path:
    """A PDF of the first pages."""
    writer = PdfWriter()
    for page in PdfReader(path).pages[:count]:
        writer.add_page(page)
    target = folder / path.name
    writer.write(target)
    return target


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds `financebench`")
    parser.add_argument("--files", type=int, default=2)
    parser.add_argument("--pages", type=int, default=40)
    parser.add_argument("--texts", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    embedder, pipeline = load_embedder(Settings()), plain_pipeline()
    chosen = sorted((options.data / "financebench" / "docs").glob("*.pdf"))[: options.files]
    with tempfile.TemporaryDirectory() as name:
        paths = [first_pages(path, options.pages, Path(name)) for path in chosen]
        every = [piece for path in paths for piece in pieces(plain_text(path))]
        texts = every[:: max(1, len(every) // options.texts)][: options.texts]
        tokens = sum(len(embedder.token_spans(text)) for text in texts)
        print(
            f"{platform.machine()}, {torch.get_num_threads()} threads; {embedder.name}, ours in "
            f"{getattr(embedder, 'dtype', '?')}; {len(texts)} texts of {tokens / len(texts):.0f} tokens"
        )
        cosine = np.sum(embedder.embed_passages(texts) * encoded(pipeline, texts), axis=1).min()
        times = measured(
            {
                "sentence-transformers": lambda: encoded(pipeline, texts),
                "Longleaf": lambda: embedder.embed_passages(texts),
            },
            options.rounds,
        )
        table("embedding", {n: f"{tokens / wall:,.0f} tok/s" for n, (wall, _) in times.items()}, times)
        print(f"smallest cosine between them {cosine:.5f}")
        made: dict[str, int] = {}

        def keep(name: str, way: Callable[[], int]) -> None:
            made[name] = way()

        times = measured(
            {
                "the script": lambda: keep("the script", lambda: script(pipeline, paths)),
                "Longleaf": lambda: keep("Longleaf", lambda: service(embedder, paths)),
            },
            options.rounds,
        )
        pages = sum(len(PdfReader(path).pages) for path in paths)
        table(f"whole ingest, {pages} pages", {n: f"{made[n]} chunks" for n in times}, times)


if __name__ == "__main__":
    main()
