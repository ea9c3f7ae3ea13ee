"""A million vectors: how fast and how rightly they are searched, in how much memory; and other ways to do it.

    python -m bench.store_scale --data DIR [--chunks 1000000] [--peers 100000] [--cache DIR]

The vectors are made from real ones, those of some thousand sentences of `DIR/squad2` and `DIR/niah` in the
bundled embedder. Each is a real one plus half the difference of two others, so mean, directions and spread
are those of text; questions are made alike around sentences that no stored vector was made around. Every
search is for ten neighbours, by one thread; recall is the share of the exact ten among them.

The first table has `--peers` vectors in the ways that FAISS offers, and in ours of both kinds. `add` and
`remove` are of 200 vectors, a document; where a way can't remove, a new build's time stands in brackets.
The second has `--chunks` vectors as a server holds them: built, written as a snapshot, and started from it in
a fresh process, whose memory is told: all of it, and without what is mapped from files and may be dropped.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from rag.index import snapshot
from rag.index.collection import CollectionIndex
from rag.index.vectors import Floats, Kind, VectorIndex
from rag.settings import Settings

SENTENCES = 1500
HELD_OUT = 150
QUESTIONS = 200
DOCUMENT = 200
BATCH = 2_000
K = 10
ORIGIN = snapshot.Origin("bench", "scale", "made")


def real_vectors(data: Path, cache: Path | None) -> Floats:
    """The embedded sentences, float32[sentences, dimension]."""
    kept = cache / "store_scale.npy" if cache else None
    if kept and kept.exists():
        found: Floats = np.load(kept)
        return found
    from rag.embedders import load_embedder  # noqa: PLC0415

    files = [path for name in ("squad2", "niah") for path in sorted((data / name / "docs").glob("*.txt"))]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    sentences = [s for s in re.split(r"(?<=[.!?])\s+", text) if 60 < len(s) < 240]
    vectors = load_embedder(Settings()).embed_passages(sentences[:: max(1, len(sentences) // SENTENCES)])
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, vectors)
    return vectors


def made(real: Floats, count: int, seed: int) -> NDArray[np.float16]:
    """Unit vectors around `real` ones, float16[count, dimension]."""
    rng = np.random.default_rng(seed)
    first, second, third = rng.integers(0, len(real), (3, count))
    vectors = real[first] + 0.5 * (real[second] - real[third])
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit.astype(np.float16)


def batches(real: Floats, count: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
    """Ids and vectors, some at a time."""
    for first in range(0, count, BATCH):
        size = min(BATCH, count - first)
        yield np.arange(first, first + size), made(real, size, 1 + first)


def timed(action: Callable[..., object], *given: object) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    action(*given)
    return (time.perf_counter() - began) * 1000


def asked(
    search: Callable[[Floats], Any], questions: Floats, exact: list[set[int]]
) -> tuple[list[float], float]:
    """Milliseconds of each question, and recall."""
    taken, hits = [], 0
    for question in questions[:3]:
        search(question)
    for question, right in zip(questions, exact, strict=True):
        began = time.perf_counter()
        found = search(question)
        taken.append((time.perf_counter() - began) * 1000)
        hits += len(right & {int(key) for key in found})
    return sorted(taken), hits / sum(map(len, exact))


@dataclass(frozen=True)
class Way:
    """One of FAISS's ways, by the string of its factory; `probe` sets how thoroughly it searches."""

    name: str
    factory: str
    probe: Callable[[Any], None] = lambda index: None  # noqa: ARG005
    removes: bool = True

    def build(self, vectors: Floats) -> Any:
        """Train and fill it."""
        index = faiss.index_factory(vectors.shape[1], self.factory, faiss.METRIC_INNER_PRODUCT)
        index.train(vectors[:: max(1, len(vectors) // 50_000)])
        index.add(vectors)
        self.probe(index)
        return index


def _set(**values: int) -> Callable[[Any], None]:
    def apply(index: Any) -> None:
        inner: Any = faiss.downcast_index(index.base_index) if hasattr(index, "base_index") else index
        for name, value in values.items():
            holder = {"efSearch": getattr(inner, "hnsw", None), "k_factor": index}.get(name, inner)
            setattr(holder, name, value)

    return apply


WAYS = (
    Way("flat, float32", "Flat"),
    Way("flat, float16", "SQfp16"),
    Way("PQ fast scan, refined", "PQ192x4fs,Refine(SQfp16)", _set(k_factor=100), removes=False),
    Way("HNSW, float16, ef 128", "HNSW32_SQfp16", _set(efSearch=128), removes=False),
    Way(
        "IVF-PQ, 32 probes, refined",
        "IVF1024,PQ192x4fs,Refine(SQfp16)",
        _set(nprobe=32, k_factor=100),
        removes=False,
    ),
)


def peers(real: Floats, count: int, questions: Floats) -> None:
    """Print the first table."""
    vectors = np.concatenate([rows for _, rows in batches(real, count)]).astype(np.float32)
    new = made(real, DOCUMENT, 0).astype(np.float32)
    flat = VectorIndex("flat")
    for ids, rows in batches(real, count):
        flat.add(ids, rows)
    exact = [set(flat.exact(question, K).tolist()) for question in questions]
    heads = "".join(f"{head:>8}" for head in ("MiB", "build s", "ms", "p99", "recall", "add ms"))
    print(f"\n{f'{count:,} vectors':30}{heads}{'remove':>10}")
    gone = np.arange(1000, 1000 + DOCUMENT)
    for way in WAYS:
        began = time.perf_counter()
        index = way.build(vectors)
        build = time.perf_counter() - began
        taken, recall = asked(partial(_found, index), questions, exact)
        size = len(faiss.serialize_index(index)) / 2**20
        add = timed(index.add, new)
        remove = f"({build * 1000:,.0f})"
        if way.removes:
            remove = f"{timed(index.remove_ids, faiss.IDSelectorBatch(gone)):,.1f}"
        print(Row(way.name, size, build, taken, recall, add, remove), flush=True)
    kinds: tuple[Kind, ...] = ("flat", "pq")
    for kind in kinds:
        began = time.perf_counter()
        ours = VectorIndex(kind)
        for ids, rows in batches(real, count):
            ours.add(ids, rows)
        build = time.perf_counter() - began
        taken, recall = asked(partial(_ours, ours), questions, exact)
        codes = sum(0 if block.codes is None else 2 * block.codes.nbytes for block in ours.blocks)
        size = (codes + count * (2 * real.shape[1] + 8)) / 2**20
        add = timed(ours.add, np.arange(count, count + DOCUMENT), new)
        remove = f"{timed(ours.remove, gone):,.1f}"
        print(Row(f"Longleaf, {kind}", size, build, taken, recall, add, remove), flush=True)


def _found(index: Any, question: Floats) -> NDArray[np.int64]:
    found: NDArray[np.int64] = index.search(question[None], K)[1][0]
    return found


def _ours(index: VectorIndex, question: Floats) -> NDArray[np.int64]:
    return index.search(question, K)[0]


@dataclass(frozen=True)
class Row:
    """One line of the first table."""

    name: str
    size: float
    build: float
    taken: list[float]
    recall: float
    add: float
    remove: str

    def __str__(self) -> str:
        median, high = statistics.median(self.taken), self.taken[-max(1, len(self.taken) // 100)]
        return (
            f"{self.name:30}{self.size:7.0f}{self.build:9.1f}{median:8.2f}{high:8.2f}{self.recall:8.3f}"
            f"{self.add:8.1f}{self.remove:>10}"
        )


def build_and_save(real: Floats, count: int, folder: Path) -> list[tuple[str, str]]:
    """Build a collection of documents of 200 chunks and write its snapshot; rows for the table."""
    index = CollectionIndex()
    began = time.perf_counter()
    for ids, rows in batches(real, count):
        index.vectors.add(ids, rows)
    built = time.perf_counter() - began
    for first in range(0, count, DOCUMENT):
        index.documents[f"doc_{first // DOCUMENT}"] = 1, np.arange(first, min(first + DOCUMENT, count))
    saved = timed(snapshot.save, folder, index, ORIGIN, 1) / 1000
    size = sum(path.stat().st_size for path in folder.iterdir()) / 2**20
    return [
        ("kind", index.vectors.in_use),
        ("build, vectors made besides", f"{built:.1f} s"),
        ("write the snapshot", f"{saved:.1f} s, {size:,.0f} MiB"),
    ]


def started(folder: Path, kind: Kind, real: Floats, questions: Floats) -> list[tuple[str, str]]:
    """Start from the snapshot, search, change; called in a fresh process. Rows for the table."""
    before = _resident()
    began = time.perf_counter()
    index = snapshot.load(folder, ORIGIN, kind)
    loaded = time.perf_counter() - began
    assert index is not None
    vectors = index.vectors
    vectors.search(questions[0], K)
    first = time.perf_counter() - began
    taken = sorted(timed(vectors.search, question, K) for question in questions)
    deep = sorted(timed(vectors.search, question, 200) for question in questions)
    held = _resident()
    exact = [set(vectors.exact(question, K).tolist()) for question in questions]
    recall = asked(partial(_ours, vectors), questions, exact)[1]
    total = len(vectors)
    one_in_fifty, one_in_two = (
        statistics.median(timed(vectors.search, q, K, np.arange(0, total, step)) for q in questions[:20])
        for step in (50, 2)
    )
    rows = made(real, DOCUMENT, 0)
    add = statistics.median(
        timed(vectors.add, np.arange(total + n * DOCUMENT, total + (n + 1) * DOCUMENT), rows)
        for n in range(5)
    )
    remove = statistics.median(
        timed(vectors.remove, np.arange(n, n + DOCUMENT)) for n in range(0, total // 2, total // 10)
    )
    status = timed(vectors.recall, K)
    return [
        ("start: read and checked", f"{loaded:.1f} s"),
        ("start: until the first answer", f"{first:.1f} s"),
        ("search for 10, median / p99", f"{statistics.median(taken):.1f} / {taken[-2]:.1f} ms"),
        ("search for 200, median / p99", f"{statistics.median(deep):.1f} / {deep[-2]:.1f} ms"),
        ("recall@10", f"{recall:.4f}"),
        ("one in fifty allowed (exact)", f"{one_in_fifty:.1f} ms"),
        ("one in two allowed (exact)", f"{one_in_two:.1f} ms"),
        ("a document of 200 enters", f"{add:.1f} ms"),
        ("a document of 200 leaves", f"{remove:.1f} ms"),
        ("memory: whole process", f"{held[0]:,.0f} MiB, {before[0]:,.0f} before"),
        (
            "memory: without mapped files",
            f"{held[0] - held[1]:,.0f} MiB, {before[0] - before[1]:,.0f} before",
        ),
        ("recall as `longleaf status` finds", f"{status:.0f} ms"),
    ]


def _resident() -> tuple[float, float]:
    """MiB in memory of this process, and how much of it is of files."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    whole, files = (int(re.findall(rf"{name}:\s+(\d+)", text)[0]) / 1024 for name in ("VmRSS", "RssFile"))
    return whole, files


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds `squad2` and `niah`")
    parser.add_argument("--chunks", type=int, default=1_000_000)
    parser.add_argument("--peers", type=int, default=100_000, help="vectors of the first table; 0: none")
    parser.add_argument("--cache", type=Path, help="keeps the real vectors between runs")
    options = parser.parse_args()
    real = real_vectors(options.data, options.cache)
    real, apart = real[HELD_OUT:], real[:HELD_OUT]
    questions = made(apart, QUESTIONS, 0).astype(np.float32)
    faiss.omp_set_num_threads(1)
    print(f"{platform.machine()}, FAISS {faiss.__version__}, one thread, {len(real)} real vectors")
    if options.peers:
        peers(real, options.peers, questions)
    if options.chunks:
        context = multiprocessing.get_context("spawn")
        with (
            tempfile.TemporaryDirectory() as name,
            ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as fresh,
        ):
            folder = Path(name) / "scale"
            rows = fresh.submit(build_and_save, real, options.chunks, folder).result()
            rows += fresh.submit(started, folder, "auto", real, questions).result()
        print(f"\n{options.chunks:,} vectors as a server holds them")
        for label, value in rows:
            print(f"{label:36}{value}")


if __name__ == "__main__":
    main()
