"""How fast PDFs become searchable and in how much memory, beside plain ways with the same libraries.

    python -m bench.ingest --data DIR [--pdfs 7] [--chunks 192] [--service 2] [--rounds 3]

Parsing: pages a second of the sandboxed parser (start of its process included) beside pypdfium2 and pypdf,
page by page, all on the same files in turn. Embedding: chunks a second, on a seeded sample of the files'
chunks, beside sentence-transformers' `encode` on the same loaded model, and batches in document order.
Service: worker, store and embedder in a process of their own take the smallest files whole; peak memory of
that process; a parser's is in the first table (Linux counts in the size of who starts it: wrong here).
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import platform
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.costs import largest_reader, watch_readers
from ingest.chunking import chunk_document, embedding_text
from ingest.limits import ParseLimits
from ingest.parsers.base import ParsedDocument
from ingest.sandbox import parse_document
from rag.settings import MIB, Settings

IN_ORDER = 32
"""Texts in a batch of the peers: the default of sentence-transformers."""


@dataclass(frozen=True)
class Measured:
    """One way over one file: seconds, pages, characters; peaks in MiB of the process and its children."""

    seconds: float
    pages: int
    characters: int
    peak: int
    children_peak: int


def parse_ours(path: Path) -> tuple[int, int]:
    """The sandboxed parser of the service."""
    document = parse_document(path, path.name, ParseLimits())
    return len(document.pages), len(document.text)


def parse_pdfium(path: Path) -> tuple[int, int]:
    """Plain pypdfium2, page by page."""
    import pypdfium2  # noqa: PLC0415

    with pypdfium2.PdfDocument(path) as document:
        return len(document), sum(len(page.get_textpage().get_text_range()) for page in document)


def parse_pypdf(path: Path) -> tuple[int, int]:
    """Plain pypdf, page by page."""
    import pypdf  # noqa: PLC0415

    reader = pypdf.PdfReader(path)
    return len(reader.pages), sum(len(page.extract_text()) for page in reader.pages)


PARSERS: dict[str, Callable[[Path], tuple[int, int]]] = {
    "Longleaf, sandboxed": parse_ours,
    "pypdfium2": parse_pdfium,
    "pypdf": parse_pypdf,
}


def measured(name: str, path: Path) -> Measured:
    """Run one parser on one file; called in a fresh process."""
    watch_readers()
    began = time.perf_counter()
    pages, characters = PARSERS[name](path)
    seconds = time.perf_counter() - began
    return Measured(seconds, pages, characters, *_peaks())


def _peaks() -> tuple[int, int]:
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return own >> 10, max(children, largest_reader() >> 10) >> 10


def parsing(paths: Sequence[Path], rounds: int) -> None:
    """Print pages a second of each parser, the median over rounds of the whole set."""
    totals: dict[str, list[float]] = {name: [] for name in PARSERS}
    peaks: dict[str, int] = dict.fromkeys(PARSERS, 0)
    sizes: dict[str, tuple[int, int]] = {}
    with _processes() as processes:
        for _ in range(rounds):
            for name in PARSERS:
                results = [processes.submit(measured, name, path).result() for path in paths]
                totals[name].append(sum(r.seconds for r in results))
                sizes[name] = sum(r.pages for r in results), sum(r.characters for r in results)
                peaks[name] = max(peaks[name], *(r.children_peak or r.peak for r in results))
    print(f"\n{'parsing':24} {'pages':>6} {'pages/s':>8} {'characters':>11} {'peak MiB':>9}")
    for name, seconds in totals.items():
        pages, characters = sizes[name]
        rate = pages / statistics.median(seconds)
        print(f"{name:24} {pages:6} {rate:8.1f} {characters:11,} {peaks[name]:9}", flush=True)


def passages(documents: Sequence[tuple[Path, ParsedDocument]], embedder: Any, count: int) -> list[str]:
    """A seeded sample of the texts that the service embeds for these documents, in document order."""
    texts = [
        embedding_text(chunk, document.text, document.title or path.stem)
        for path, document in documents
        for chunk in chunk_document(document, embedder.token_spans, 300)
    ]
    print(f"\n{len(texts)} chunks in all, {min(count, len(texts))} drawn for embedding")
    return [
        texts[place] for place in sorted(random.Random(0).sample(range(len(texts)), min(count, len(texts))))
    ]


def embedding(paths: Sequence[Path], count: int, rounds: int) -> None:
    """Print chunks a second of the service's way and the peers', in turn; the median over rounds."""
    from rag.embedders import load_embedder  # noqa: PLC0415
    from rag.embedders.bundled import build_pipeline  # noqa: PLC0415
    from rag.embedders.precision import choose  # noqa: PLC0415
    from rag.embedders.q4file import Q4File, find_bundled  # noqa: PLC0415
    from rag.embedders.sentence import SentenceEmbedder  # noqa: PLC0415

    embedder = load_embedder(Settings())
    assert isinstance(embedder, SentenceEmbedder)
    device, dtype = choose("cpu", "auto")
    pipeline = build_pipeline(Q4File(find_bundled()), dtype, device)
    texts = passages(
        [(path, parse_document(path, path.name, ParseLimits())) for path in paths], embedder, count
    )
    tokens = sum(len(embedder.token_spans(text)) for text in texts)
    prefixed = [f"passage: {text}" for text in texts]

    def in_order() -> None:
        for first in range(0, len(prefixed), IN_ORDER):
            pipeline.encode(prefixed[first : first + IN_ORDER], show_progress_bar=False)

    ways: dict[str, Callable[[], object]] = {
        "Longleaf": lambda: embedder.embed_passages(texts),
        "encode": lambda: pipeline.encode(prefixed, batch_size=IN_ORDER, show_progress_bar=False),
        "in document order": in_order,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    embedder.embed_passages(texts[:4])
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - began)
    import torch  # noqa: PLC0415

    print(f"{embedder.name} in {embedder.dtype}, {torch.get_num_threads()} threads")
    print(f"{'embedding':24} {'chunks':>6} {'chunks/s':>8} {'tokens/s':>9} {'Longleaf x':>10}")
    base = statistics.median(seconds["Longleaf"])
    for name, taken in seconds.items():
        median = statistics.median(taken)
        print(
            f"{name:24} {len(texts):6} {len(texts) / median:8.2f} {tokens / median:9,.0f} "
            f"{median / base:10.2f}",
            flush=True,
        )


def serve(paths: Sequence[Path]) -> tuple[int, int, float, int]:
    """Ingest whole files as the server's worker does. Returns pages, chunks, seconds and the peak in MiB."""
    from ingest.uploads import NewDocument, UploadSink, accept  # noqa: PLC0415
    from ingest.worker import Worker  # noqa: PLC0415
    from rag.embedders import load_embedder  # noqa: PLC0415
    from rag.store.migrate import upgrade  # noqa: PLC0415
    from rag.store.repositories import DEFAULT_SCOPE, Collections, Documents  # noqa: PLC0415
    from rag.store.session import Database  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), database_url="")
        embedder = load_embedder(settings)
        db = Database(settings.resolved_database_url)
        upgrade(db)
        with db.session() as session:
            collection = Collections(session, DEFAULT_SCOPE).ensure("bench", embedder.fingerprint).id
        identifiers = []
        for path in paths:
            with UploadSink(settings) as sink, path.open("rb") as file:
                while part := file.read(1 << 16):
                    sink.write(part)
                new = NewDocument(sink, path.name, {})
                identifiers.append(accept(db, settings, DEFAULT_SCOPE, collection, new).document.id)
        began = time.perf_counter()
        Worker(db, settings, embedder).run_until_idle()
        seconds = time.perf_counter() - began
        with db.read() as session:
            rows = [Documents(session, DEFAULT_SCOPE).get(identifier) for identifier in identifiers]
        assert all(row.status == "ready" for row in rows), [row.error_detail for row in rows]
        db.dispose()
    return sum(r.pages_total for r in rows), sum(r.chunks_total for r in rows), seconds, _peaks()[0]


def service(paths: Sequence[Path]) -> None:
    """Print the whole way of some files and what memory it took."""
    with _processes() as processes:
        pages, chunks, seconds, own = processes.submit(serve, paths).result()
    print(f"\n{'service':24} {'pages':>6} {'chunks':>8} {'seconds':>9} {'peak MiB':>9}")
    print(f"{f'{len(paths)} files':24} {pages:6} {chunks:8} {seconds:9.1f} {own:9}")


def _processes() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1)


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds `financebench`")
    parser.add_argument(
        "--pdfs", type=int, default=1000, help="at most this many PDFs, drawn by a hash of the name"
    )
    parser.add_argument("--chunks", type=int, default=192, help="size of the sample for embedding")
    parser.add_argument("--service", type=int, default=2, help="files for the whole way, smallest first")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="parsing,embedding,service")
    options = parser.parse_args()
    every = sorted(
        (options.data / "financebench" / "docs").glob("*.pdf"),
        key=lambda path: hashlib.sha256(path.name.encode()).digest(),
    )[: options.pdfs]
    print(f"{platform.machine()}, {len(every)} PDFs, {sum(p.stat().st_size for p in every) / MIB:.1f} MiB")
    if "parsing" in options.only:
        parsing(every, options.rounds)
    if "embedding" in options.only:
        embedding(every, options.chunks, options.rounds)
    if "service" in options.only and options.service:
        service(sorted(every, key=lambda path: path.stat().st_size)[: options.service])


if __name__ == "__main__":
    main()
