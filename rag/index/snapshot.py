"""Snapshots of a collection's index: files that save time and may be lost, damaged or old at any moment.

A snapshot is one folder with `arrays.npz` and `manifest.json`, which holds the digest of the arrays, the
store's identity and the generation of each document. Whoever loads it compares these with the database, so
a wrong snapshot costs time and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rag.ids import new_id
from rag.index.collection import CollectionIndex
from rag.index.lexical import LexicalIndex, Segment, merge

FORMAT = 2
"""Raised with every change to the analysis, the arrays or the manifest."""


@dataclass(frozen=True)
class Origin:
    """What a snapshot belongs to; one of another store, collection or embedder is not read."""

    store: str
    collection_id: str
    embedder: str


def save(folder: Path, index: CollectionIndex, origin: Origin, seq: int) -> None:
    """Write the index to `folder`, which appears whole or not at all. Raises OSError."""
    with index.frozen():
        segment = merge(index.lexical.segments) if index.lexical.segments else None
        ids, vectors = index.vectors.dump()
        documents = dict(index.documents)
    arrays: dict[str, Any] = {"vector_ids": ids, "vectors": vectors.astype(np.float16)}
    if segment is not None:
        arrays |= {
            "ids": segment.ids,
            "lengths": segment.lengths,
            "terms": segment.terms,
            "starts": segment.starts,
            "rows": segment.rows,
            "counts": segment.counts,
        }
    arrays["document_chunks"] = np.concatenate(
        [np.zeros(0, dtype=np.int64), *(chunks for _, chunks in documents.values())]
    )
    fresh = folder.with_name(folder.name + "." + new_id("new"))
    fresh.mkdir(parents=True)
    try:
        with (fresh / "arrays.npz").open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
        manifest = {
            "format": FORMAT,
            "origin": vars(origin),
            "seq": seq,
            "digest": _digest(fresh / "arrays.npz"),
            "documents": [[key, generation, len(chunks)] for key, (generation, chunks) in documents.items()],
        }
        (fresh / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        drop(folder)
        os.replace(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def load(folder: Path, origin: Origin) -> CollectionIndex | None:
    """Return the index that was saved, or None when there is none that can be trusted."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT or manifest["origin"] != vars(origin):
            return None
        if manifest["digest"] != _digest(folder / "arrays.npz"):
            return None
        with np.load(folder / "arrays.npz", allow_pickle=False) as arrays:
            index = CollectionIndex()
            if "ids" in arrays:
                names = ("ids", "lengths", "terms", "starts", "rows", "counts")
                index.lexical = LexicalIndex([Segment(*(arrays[name] for name in names))])
            if len(arrays["vector_ids"]):
                index.vectors.add(arrays["vector_ids"], arrays["vectors"])
            chunks, at = arrays["document_chunks"], 0
            for key, generation, count in manifest["documents"]:
                index.documents[key] = (generation, chunks[at : at + count])
                at += count
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None
    return index


def drop(folder: Path) -> None:
    """Remove the snapshot in `folder`, if there is one."""
    shutil.rmtree(folder, ignore_errors=True)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
