"""Embeddings: texts as vectors of the model that searches."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from api.v1.naming import check_embedder
from api.v1.schemas.completions import EmbeddingRequest
from api.wiring import Service
from rag.errors import InvalidRequest

_AT_ONCE = 16
"""Texts between two looks at whether the client is still there."""
_SPECIAL = 2
_LONGEST_PREFIX = "passage: "


def embed(service: Service, body: EmbeddingRequest, cancel: threading.Event) -> Iterator[dict[str, Any]]:
    """The answer, as the one thing that is yielded; nothing once `cancel` is set.

    Raises NotFound (`model_not_found`), InvalidRequest (`context_length_exceeded`), Unavailable.
    """
    name = check_embedder(service, body.model)
    embedder = service.embedder.wait()
    texts = [body.input] if isinstance(body.input, str) else body.input
    limit = embedder.max_tokens - _SPECIAL - len(embedder.token_spans(_LONGEST_PREFIX))
    tokens = 0
    for number, text in enumerate(texts):
        length = len(embedder.token_spans(text))
        if length > limit:
            raise InvalidRequest(
                f"input {number} has {length} tokens; this model reads {limit}: cut it in parts.",
                code="context_length_exceeded",
                extra={"param": "input"},
            )
        tokens += length
    service.deed.tokens += tokens
    work = embedder.embed_queries if body.input_type == "query" else embedder.embed_passages
    data: list[dict[str, Any]] = []
    for first in range(0, len(texts), _AT_ONCE):
        if cancel.is_set():
            return
        for vector in work(texts[first : first + _AT_ONCE]):
            shown: str | list[float] = vector.tolist()
            if body.encoding_format == "base64":
                shown = base64.b64encode(vector.astype(np.dtype("<f4")).tobytes()).decode()
            data.append({"object": "embedding", "index": len(data), "embedding": shown})
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    yield {"object": "list", "model": name, "data": data, "usage": usage}
