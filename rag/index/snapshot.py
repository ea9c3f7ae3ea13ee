"""Snapshots of a collection's index: files that save time and may be lost, damaged or old at any moment.

A snapshot is one folder: `manifest.json`, and the files of the index's parts (blocks of vectors, segments of
terms), which never change once they are written and are mapped into memory, not read. The manifest has the
digest of each file, the store's identity and the generation of each document. Whoever loads it compares these
with the files and the database, so a wrong snapshot costs time and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from rag.ids import new_id
from rag.index.blocks import Block, Codebook
from rag.index.collection import CollectionIndex
from rag.index.lexical import LexicalIndex, Segment
from rag.index.vectors import Kind, VectorIndex

FORMAT = 3
"""Raised with every change to the analysis, the arrays or the manifest."""
MANIFEST = "manifest.json"
_ARRAYS = ("ids", "lengths", "terms", "starts", "rows", "counts")


@dataclass(frozen=True)
class Origin:
    """What a snapshot belongs to; one of another store, collection or embedder is not read."""

    store: str
    collection_id: str
    embedder: str


def save(folder: Path, index: CollectionIndex, origin: Origin, seq: int) -> None:
    """Write the index to `folder`: the parts that are not there yet, then what makes them a snapshot.

    A crash leaves the older snapshot. Raises OSError.
    """
    with index.frozen():
        vectors, lexical, documents = index.vectors.copy(), index.lexical.segments, dict(index.documents)
    folder.mkdir(parents=True, exist_ok=True)
    known = _digests(folder)
    codebook = vectors.codebook
    parts: dict[str, dict[str, Any]] = {}
    for block in vectors.blocks:
        parts[block.key] = {"exact": block.exact, "ids": block.ids}
        if block.codes is not None:
            parts[block.key]["codes"] = block.codes
    if codebook is not None:
        parts[codebook.key] = {"mean": codebook.mean, "centroids": codebook.centroids}
    for segment in lexical:
        parts[segment.key] = {name: getattr(segment, name) for name in _ARRAYS}
    chunks = np.concatenate([np.zeros(0, dtype=np.int64), *(ids for _, ids in documents.values())])
    of_documents = new_id("doc")
    parts[of_documents] = {"chunks": chunks}
    files = {
        name: known.get(name) or _write(folder / name, content)
        for key, arrays in parts.items()
        for name, content in ((f"{key}.{array}", content) for array, content in arrays.items())
    }
    manifest = {
        "format": FORMAT,
        "origin": vars(origin),
        "seq": seq,
        "files": files,
        "vectors": [[block.key, block.codes is not None] for block in vectors.blocks],
        "codebook": None if codebook is None else codebook.key,
        "lexical": [segment.key for segment in lexical],
        "chunks_of_documents": of_documents,
        "documents": [[key, generation, len(ids)] for key, (generation, ids) in documents.items()],
        "measured": {"kind": vectors.in_use, "chunks": len(vectors), "recall_at_10": vectors.recall(10)},
    }
    write_manifest(folder, sealed_manifest(manifest))
    _sweep(folder, files)


def write_manifest(folder: Path, sealed: bytes) -> None:
    """Make the files in `folder` the snapshot that a manifest says, in the bytes that it has as a file.

    Raises OSError.
    """
    fresh = folder / new_id("new")
    fresh.write_bytes(sealed)
    os.replace(fresh, folder / MANIFEST)


def load(folder: Path, origin: Origin, kind: Kind = "auto") -> CollectionIndex | None:
    """Return the index that was saved, mapped from its files, or None when there is none to be trusted."""
    try:
        manifest = read_manifest(folder)
        if manifest["format"] != FORMAT or manifest["origin"] != vars(origin):
            return None
        files: dict[str, str] = manifest["files"]
        with ThreadPoolExecutor(4) as pool:
            if list(pool.map(_digest, (folder / name for name in files))) != list(files.values()):
                return None
        index = CollectionIndex(kind=kind)
        index.seq = int(manifest["seq"])
        index.vectors = _vectors(folder, manifest, kind)
        index.lexical = LexicalIndex(
            [
                Segment(**{name: _array(folder, f"{key}.{name}") for name in _ARRAYS}, key=key)
                for key in manifest["lexical"]
            ]
        )
        chunks, at = np.array(_array(folder, f"{manifest['chunks_of_documents']}.chunks")), 0
        for key, generation, count in manifest["documents"]:
            index.documents[key] = (generation, chunks[at : at + count])
            at += count
    except (OSError, ValueError, KeyError, TypeError, IndexError, RuntimeError):
        return None
    return index


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of the snapshot in `folder`. Raises OSError, and ValueError when it is damaged."""
    return parse_manifest((folder / MANIFEST).read_bytes())


def sealed_manifest(manifest: dict[str, Any]) -> bytes:
    """Return a manifest's bytes: its digest, then what it says."""
    text = json.dumps(manifest).encode()
    return json.dumps({"digest": hashlib.sha256(text).hexdigest()}).encode() + b"\n" + text


def parse_manifest(sealed: bytes) -> dict[str, Any]:
    """Return what the bytes of a manifest say. Raises ValueError when they are damaged."""
    seal, _, text = sealed.partition(b"\n")
    manifest = json.loads(text)
    if json.loads(seal) != {"digest": hashlib.sha256(text).hexdigest()} or not isinstance(manifest, dict):
        raise ValueError("the manifest of a snapshot is damaged")
    return manifest


def drop(folder: Path) -> None:
    """Remove the snapshot in `folder`, if there is one."""
    shutil.rmtree(folder, ignore_errors=True)


def purge(folder: Path, index: CollectionIndex) -> None:
    """Make the snapshot none, and remove each of its files that holds what `index` holds no more.

    Raises OSError.
    """
    with suppress(FileNotFoundError):
        (folder / MANIFEST).unlink(missing_ok=True)
        kept = kept_parts(index)
        _sweep(folder, (path.name for path in folder.iterdir() if path.name.partition(".")[0] in kept))


def kept_parts(index: CollectionIndex) -> set[str]:
    """The keys of the parts that an index is made of now, as they begin the names of files."""
    parts: list[Block | Segment] = [*index.vectors.blocks, *index.lexical.segments]
    return {part.key for part in parts}


def _vectors(folder: Path, manifest: dict[str, Any], kind: Kind) -> VectorIndex:
    codebook = None
    if (book := manifest["codebook"]) is not None:
        mean, centroids = (_array(folder, f"{book}.{name}") for name in ("mean", "centroids"))
        codebook = Codebook.of(mean, centroids, book)
    blocks = []
    for key, coded in manifest["vectors"]:
        exact = faiss.read_index(str(folder / f"{key}.exact"), faiss.IO_FLAG_MMAP_IFC)
        codes = _array(folder, f"{key}.codes") if coded else None
        blocks.append(Block(_array(folder, f"{key}.ids"), exact, codebook if coded else None, codes, key))
    return VectorIndex(kind, blocks)


def _array(folder: Path, name: str) -> Any:
    # a plain array over the mapped file: that of numpy's own kind takes ten times as long to be cut
    return np.asarray(np.load(folder / name, mmap_mode="r", allow_pickle=False))


def _write(path: Path, content: Any) -> str:
    """Write a part's file and return its digest."""
    if isinstance(content, np.ndarray):
        with path.open("wb") as stream:
            np.save(stream, content, allow_pickle=False)
    else:
        try:
            faiss.write_index(content, str(path))
        except RuntimeError as error:  # what FAISS makes of a full or read-only disk
            raise OSError(str(error)) from error
    return _digest(path)


def _digests(folder: Path) -> dict[str, str]:
    """What an intact manifest says of the files that are there: they need not be written again."""
    try:
        files = read_manifest(folder)["files"]
        return {name: digest for name, digest in files.items() if (folder / name).is_file()}
    except (OSError, ValueError, KeyError, AttributeError):
        return {}


def _sweep(folder: Path, kept: Iterable[str]) -> None:
    names = {*kept, MANIFEST}
    for path in folder.iterdir():
        if path.name not in names:
            path.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
