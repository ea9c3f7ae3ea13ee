"""What the rest of the service may ask of an embedding model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Spans = NDArray[np.int64]


class Embedder(Protocol):
    """Turns text into unit vectors whose inner product is the similarity; safe to share between threads."""

    @property
    def name(self) -> str:
        """A name for people, e.g. `multilingual-e5-small`."""
        ...

    @property
    def fingerprint(self) -> str:
        """Identifies weights, prefixes and pooling: one index holds vectors of one fingerprint."""
        ...

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        ...

    @property
    def max_tokens(self) -> int:
        """Longest input in tokens, special tokens included; what is beyond it is cut off."""
        ...

    @property
    def dtype(self) -> str:
        """Number format that the forward pass runs in, e.g. `float32`."""
        ...

    def token_spans(self, text: str) -> Spans:
        """Return start and end in code points of `text` of each token, int64[tokens, 2], without prefix and
        special tokens."""
        ...

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Embed passages to float32[len(texts), dimension], each of length 1."""
        ...

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """Embed questions to float32[len(texts), dimension], each of length 1."""
        ...

    def embed_query(self, text: str) -> Vectors:
        """Embed one question to float32[dimension] of length 1."""
        ...
