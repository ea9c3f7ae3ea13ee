"""The evaluation sets as corpora: documents as pieces, questions with the places of their evidence."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.chunking import chunk_document, embedding_text
from ingest.drafting import drafts
from ingest.limits import ParseLimits
from ingest.names import choose_title
from ingest.sandbox import parse_document
from rag.embedders import Embedder, Vectors
from rag.index.live import lexical_text


@dataclass(frozen=True)
class Piece:
    """One chunk: a range of its document, and the texts that the two legs see of it."""

    document: str
    start: int
    end: int
    pages: tuple[int, int] | None
    embedded: str
    indexed: str


@dataclass(frozen=True)
class Question:
    """A question with its relevant pieces: ranges, pages, or whole documents."""

    text: str
    spans: tuple[tuple[str, int, int], ...] = ()
    pages: tuple[tuple[str, int], ...] = ()
    documents: frozenset[str] = frozenset()


@dataclass
class Corpus:
    """One collection with its questions. `graded` corpora are scored by nDCG@10 instead of first-k shares."""

    name: str
    pieces: list[Piece] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    graded: bool = False


Chunker = Callable[[Path, str], list[Piece]]


def load(folder: Path, name: str, chunker: Chunker) -> Iterator[Corpus]:
    """Yield the corpora of the set `name` under `folder`: one, or one a language for `xquad`."""
    if (folder / name / "corpus.jsonl").exists():
        yield _graded(folder / name, name)
        return
    records = [json.loads(line) for line in (folder / name / "questions.jsonl").open(encoding="utf-8")]
    if name == "xquad":
        for language in sorted({r["language"] for r in records}):
            mine = [r for r in records if r["language"] == language]
            yield _corpus(folder / name / "docs", f"xquad-{language}", mine, chunker, prefix=f"{language}/")
    else:
        yield _corpus(folder / name / "docs", name, records, chunker)


def _corpus(
    docs: Path, name: str, records: list[dict[str, Any]], chunker: Chunker, prefix: str = ""
) -> Corpus:
    corpus = Corpus(name)
    for path in sorted(docs.rglob("*")):
        document = path.relative_to(docs).as_posix()
        if path.is_file() and document.startswith(prefix):
            corpus.pieces += chunker(path, document)
    for record in records:
        if not record["answerable"]:
            continue
        spans, pages = [], []
        for item in record["evidence"]:
            if "page" in item:
                pages.append((item["doc"], item["page"]))
            elif "start" in item:
                spans.append((item["doc"], item["start"], item["end"]))
        if spans or pages:
            corpus.questions.append(Question(record["question"], tuple(spans), tuple(pages)))
    return corpus


PAIRS = ("de-en", "es-en", "hi-en", "th-en", "ar-en", "en-de", "en-es", "en-hi", "en-th", "en-ar")
"""Languages of question and documents that are asked across."""


def cross_lingual(folder: Path, languages: dict[str, Corpus]) -> Iterator[Corpus]:
    """Yield XQuAD's questions of one language with the documents and evidence of another."""
    lines = (folder / "xquad" / "questions.jsonl").open(encoding="utf-8")
    by_id: dict[str, dict[str, dict[str, Any]]] = {}
    for record in map(json.loads, lines):
        by_id.setdefault(record["id"][3:], {})[record["language"]] = record
    for pair in PAIRS:
        asked, held = pair.split("-")
        questions = [
            Question(
                versions[asked]["question"],
                tuple((e["doc"], e["start"], e["end"]) for e in versions[held]["evidence"]),
            )
            for versions in by_id.values()
            if asked in versions and held in versions
        ]
        yield Corpus(pair, languages[held].pieces, questions)


def _graded(folder: Path, name: str) -> Corpus:
    corpus = Corpus(name, graded=True)
    for line in (folder / "corpus.jsonl").open(encoding="utf-8"):
        r = json.loads(line)
        text = f"{r['title']}\n\n{r['text']}"
        indexed = lexical_text(r["title"], r["title"], (), r["text"])
        corpus.pieces.append(Piece(r["_id"], 0, len(text), None, text, indexed))
    relevant: dict[str, set[str]] = {}
    for line in (folder / "qrels.tsv").read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        if int(grade) > 0:
            relevant.setdefault(query, set()).add(document)
    for line in (folder / "queries.jsonl").open(encoding="utf-8"):
        r = json.loads(line)
        if relevant.get(r["_id"]):
            corpus.questions.append(Question(r["text"], documents=frozenset(relevant[r["_id"]])))
    return corpus


class LongleafChunker:
    """Reads and cuts documents as ingest does: sandboxed parser, structural chunks, title and headings."""

    def __init__(self, embedder: Embedder, target_tokens: int, *, titles: bool = True) -> None:
        self._embedder = embedder
        self._target = target_tokens
        self._titles = titles

    def __call__(self, path: Path, document: str) -> list[Piece]:
        parsed = parse_document(path, path.name, ParseLimits(seconds=600, memory_bytes=4 << 30))
        title = choose_title(None, parsed.title, path.name) if self._titles else ""
        chunks = chunk_document(parsed, self._embedder.token_spans, self._target)
        pieces = []
        for chunk, draft in zip(chunks, drafts(parsed, chunks, title), strict=True):
            pages = None
            if draft.page_start is not None and draft.page_end is not None:
                pages = (draft.page_start, draft.page_end)
            text = parsed.text[chunk.start : chunk.end]
            embedded = embedding_text(chunk, parsed.text, title)
            pieces.append(
                Piece(
                    document,
                    chunk.start,
                    chunk.end,
                    pages,
                    embedded,
                    lexical_text(title, path.name, chunk.headings, text),
                )
            )
        return pieces


def plain_chunker(path: Path, document: str) -> list[Piece]:
    """Cut whole paragraphs to at most 1,200 characters, as the plain pipeline of the baselines does."""
    if path.suffix == ".pdf":
        return _plain_pdf(path, document)
    text = path.read_bytes().decode("utf-8")
    return [Piece(document, a, b, None, text[a:b], text[a:b]) for a, b in paragraphs(text)]


def _plain_pdf(path: Path, document: str) -> list[Piece]:
    import pypdfium2  # noqa: PLC0415

    pieces, at = [], 0
    with pypdfium2.PdfDocument(path) as pdf:
        for number, page in enumerate(pdf, start=1):
            text = page.get_textpage().get_text_range()
            pieces += [
                Piece(document, at + a, at + b, (number, number), text[a:b], text[a:b])
                for a, b in paragraphs(text)
            ]
            at += len(text) + 1
    return pieces


def paragraphs(text: str, limit: int = 1200) -> list[tuple[int, int]]:
    """Join paragraphs up to `limit` characters; longer ones are cut at sentence ends or spaces."""
    parts: list[tuple[int, int]] = []
    for match in re.finditer(r"\S(?:.*?\S)??(?=\s*\n\s*\n|\s*\Z)", text, re.DOTALL):
        a, b = match.span()
        while b - a > limit:
            window = text[a : a + limit]
            cut = max(window.rfind(". ") + 1, window.rfind("\n"))
            cut = cut if cut > limit // 2 else max(window.rfind(" "), limit // 2)
            parts.append((a, a + cut))
            a += cut
        parts.append((a, b))
    out: list[tuple[int, int]] = []
    for a, b in parts:
        if out and b - out[-1][0] <= limit:
            out[-1] = (out[-1][0], b)
        else:
            out.append((a, b))
    return out


class VectorCache:
    """Vectors by embedder and text, in one SQLite file: embedding is what takes the time."""

    def __init__(self, folder: Path, embedder: Embedder) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._embedder = embedder
        self._connection = sqlite3.connect(folder / "vectors.db")
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB)")

    def passages(self, texts: Sequence[str]) -> Vectors:
        """Return the passage vectors of `texts`, float32[n, dimension]."""
        return self._get(texts, "passage", self._embedder.embed_passages)

    def queries(self, texts: Sequence[str]) -> Vectors:
        """Return the query vectors of `texts`, float32[n, dimension]."""
        return self._get(texts, "query", self._embedder.embed_queries)

    def _get(self, texts: Sequence[str], kind: str, embed: Callable[[Sequence[str]], Vectors]) -> Vectors:
        out: NDArray[np.float32] = np.empty((len(texts), self._embedder.dimension), dtype=np.float32)
        keys = [self._key(kind, text) for text in texts]
        missing: list[int] = []
        for index, key in enumerate(keys):
            row = self._connection.execute("SELECT vector FROM vectors WHERE key = ?", (key,)).fetchone()
            if row is None:
                missing.append(index)
            else:
                out[index] = np.frombuffer(row[0], dtype=np.float32)
        missing.sort(key=lambda index: len(texts[index]))
        for start in range(0, len(missing), 256):
            batch = missing[start : start + 256]
            out[batch] = embed([texts[index] for index in batch])
            with self._connection:
                self._connection.executemany(
                    "INSERT OR REPLACE INTO vectors VALUES (?, ?)",
                    [(keys[index], out[index].tobytes()) for index in batch],
                )
            if len(missing) > len(batch):
                print(f"  embedded {start + len(batch)} of {len(missing)} {kind} texts", flush=True)
        return out

    def _key(self, kind: str, text: str) -> bytes:
        message = f"{self._embedder.fingerprint}\0{kind}\0{text}".encode("utf-8", "replace")
        return hashlib.blake2b(message, digest_size=16).digest()
