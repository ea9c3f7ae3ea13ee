"""Reranking: the few best chunks read once more, by their sentences or by a cross-encoder of the user's.

Off unless the settings name one: what it brings and what it costs is in docs/evaluation.md.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rag.errors import Unavailable
from rag.sentences import sentence_spans
from rag.settings import Settings

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

    from rag.embedders import Embedder

Floats = NDArray[np.float32]

SENTENCE_WEIGHT = np.float32(0.75)
"""What a standard deviation of the best sentence's similarity counts beside the fused score."""
MOST_SENTENCES = 16
"""Sentences of one chunk that are embedded; further ones are left to the chunk's own vector."""


class Reranker(Protocol):
    """Scores passages for a question; threads may share it."""

    depth: int
    """How many of the best candidates are worth its time."""

    def scores(self, question: str, texts: Sequence[str], fused: Floats, spread: float) -> Floats:
        """Return float32[len(texts)], higher is better, comparable with nothing else.

        `fused` holds the scores that the texts have so far, `spread` the standard deviation of the
        collection's similarities to the question. Raises Unavailable.
        """
        ...


class SentenceReranker:
    """The fused score, and how near the best sentence of a chunk comes to the question."""

    depth = 5

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def scores(self, question: str, texts: Sequence[str], fused: Floats, spread: float) -> Floats:
        """As `Reranker.scores`."""
        sentences, owners = [], []
        for owner, text in enumerate(texts):
            spans = sentence_spans(text)[:MOST_SENTENCES] or [(0, len(text))]
            sentences += [" ".join(text[start:end].split()) for start, end in spans]
            owners += [owner] * len(spans)
        if not sentences:
            return fused
        near = self._embedder.embed_passages(sentences) @ self._embedder.embed_query(question)
        best = np.full(len(texts), -1, dtype=np.float32)
        np.maximum.at(best, owners, near)
        result: Floats = fused + SENTENCE_WEIGHT * best / np.float32(spread)
        return result


class CrossEncoderReranker:
    """A sentence-transformers cross-encoder from a folder or the local cache, opened on first use."""

    depth = 20

    def __init__(self, name: str, device: str = "auto") -> None:
        self._name = name
        self._device = None if device == "auto" else device
        self._model: CrossEncoder | None = None
        self._lock = threading.Lock()

    def scores(self, question: str, texts: Sequence[str], fused: Floats, spread: float) -> Floats:
        """As `Reranker.scores`; what was fused before has no say."""
        del fused, spread
        clean = [_encodable(text) for text in texts]
        asked = _encodable(question)
        with self._lock:
            values: Any = self._open().predict([(asked, text) for text in clean], show_progress_bar=False)
        result: Floats = np.asarray(values, dtype=np.float32)
        if result.shape != (len(texts),):
            raise Unavailable(
                f"The reranker {self._name} gives {result.shape[-1]} numbers a passage: LONGLEAF_RERANKER "
                "takes a cross-encoder with one.",
                code="reranker_unsupported",
            )
        return result

    def _open(self) -> CrossEncoder:
        if self._model is None:
            # the libraries read these when they are imported, which is why they are set before
            os.environ["HF_HUB_OFFLINE"] = "1"
            os.environ["TRANSFORMERS_OFFLINE"] = "1"
            from sentence_transformers import CrossEncoder  # noqa: PLC0415

            folder = Path(self._name).expanduser()
            try:
                self._model = CrossEncoder(
                    str(folder) if folder.is_dir() else self._name,
                    device=self._device,
                    local_files_only=True,
                    trust_remote_code=False,
                )
            except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
                raise Unavailable(
                    f"The reranker {self._name!r} of LONGLEAF_RERANKER does not load: {error}. Name a "
                    "folder, or a hub id that is in the local cache; nothing is downloaded.",
                    code="reranker_missing",
                ) from error
        return self._model


def load_reranker(settings: Settings, embedder: Embedder) -> Reranker | None:
    """Return what `settings.reranker` names: nothing, `sentences`, or a cross-encoder, opened when needed."""
    if not settings.reranker:
        return None
    if settings.reranker == "sentences":
        return SentenceReranker(embedder)
    return CrossEncoderReranker(settings.reranker, settings.device)


def _encodable(text: str) -> str:
    """Replace lone surrogates, which no tokenizer takes."""
    return text.encode("utf-8", "replace").decode()
