"""An embedder that remembers what it has embedded: many questions on few documents look at the same
sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rag.embedders import Embedder
from rag.embedders.base import Vectors


class Remembering:
    """The embedder that it is given, for one thread; passages are computed once each."""

    def __init__(self, inner: Embedder) -> None:
        self._inner = inner
        self._known: dict[str, Vectors] = {}

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """As `Embedder.embed_passages`."""
        fresh = [text for text in dict.fromkeys(texts) if text not in self._known]
        if fresh:
            self._known.update(zip(fresh, self._inner.embed_passages(fresh), strict=True))
        if not texts:
            return self._inner.embed_passages([])
        return np.stack([self._known[text] for text in texts])

    def embed_query(self, text: str) -> Vectors:
        """As `Embedder.embed_query`."""
        return self._inner.embed_query(text)
