"""An embedder over a sentence-transformers pipeline: prefixes, batches, token places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from rag.embedders.base import Spans, Vectors
from rag.embedders.light import LightPipeline
from rag.embedders.packed import PASS_TOKENS, PackedEncoder, passes
from rag.embedders.threads import Lanes
from rag.embedders.unigram import UnigramTokenizer
from rag.errors import Unavailable

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BATCH_TOKENS = 2048
"""Padded tokens of a batch where the pipeline itself runs; its activations stay within the caches."""
WINDOW = 256
"""Texts that are tokenised and sorted by length at a time."""


class SentenceEmbedder:
    """Embeds with one loaded pipeline; forward passes change nothing shared, so threads may call at once."""

    def __init__(
        self,
        pipeline: SentenceTransformer | LightPipeline,
        *,
        name: str,
        fingerprint: str,
        query_prefix: str,
        passage_prefix: str,
        dtype: torch.dtype,
    ) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.dtype = str(dtype).removeprefix("torch.")
        self._lanes = Lanes()
        self._prefixes = {"query": query_prefix, "passage": passage_prefix}
        self._pipeline: Any = pipeline
        self._unigram: UnigramTokenizer | None
        self._packed: PackedEncoder | None
        limit = pipeline.max_seq_length
        if isinstance(pipeline, LightPipeline):
            self._unigram, self._packed = pipeline.unigram, pipeline.packed
            dimension: int | None = pipeline.dimension
            fast = True
        else:
            pipeline.eval()
            first: Any = pipeline[0]
            self._unigram = getattr(first, "unigram", None)
            encoder = getattr(first, "auto_model", None) if self._unigram is None else first.encoder
            self._packed = PackedEncoder.of(pipeline, encoder)
            dimension = pipeline.get_embedding_dimension()
            fast = self._unigram is not None or getattr(pipeline.tokenizer, "is_fast", False)
        if not dimension or not limit:
            raise Unavailable(
                f"The embedding model {name} does not say its dimension and longest input: add "
                "`max_seq_length` to its sentence_bert_config.json.",
                code="embedder_unsupported",
            )
        self.dimension = int(dimension)
        self.max_tokens = int(limit)
        if not fast:
            raise Unavailable(
                f"The embedding model {name} has no fast tokenizer (tokenizer.json), which is needed to know "
                "where each token stands in the text.",
                code="embedder_unsupported",
            )

    @property
    def bundled(self) -> tuple[PackedEncoder, UnigramTokenizer] | None:
        """Encoder and tokenizer of the bundled model on a CPU; None of another."""
        if self._packed is None or self._unigram is None:
            return None
        return self._packed, self._unigram

    def token_spans(self, text: str) -> Spans:
        """Return start and end in code points of `text` of each token, int64[tokens, 2], without prefix and
        special tokens."""
        if self._unigram is not None:
            return self._unigram.spans(text)
        # not `encode`, which keeps the interpreter until a text of any length is done
        encoded = self._pipeline.tokenizer.backend_tokenizer.encode_batch([text], add_special_tokens=False)
        return np.array(encoded[0].offsets, dtype=np.int64).reshape(-1, 2)

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Embed passages to float32[len(texts), dimension], each of length 1."""
        return self._embed(texts, self._prefixes["passage"])

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """Embed questions to float32[len(texts), dimension], each of length 1."""
        return self._embed(texts, self._prefixes["query"])

    def embed_query(self, text: str) -> Vectors:
        """Embed one question to float32[dimension] of length 1."""
        vector: Vectors = self.embed_queries([text])[0]
        return vector

    def _embed(self, texts: Sequence[str], prefix: str) -> Vectors:
        out = np.empty((len(texts), self.dimension), dtype=np.float32)
        # a lone surrogate cannot be given to a tokenizer
        clean = [prefix + text.encode("utf-8", "replace").decode() for text in texts]
        order = sorted(range(len(clean)), key=lambda index: -len(clean[index].encode()))
        for start in range(0, len(order), WINDOW):
            window = order[start : start + WINDOW]
            if self._packed is not None:
                rows = self._ids([clean[index] for index in window])
                self._packed_into(out, self._packed, window, rows)
                continue
            counted = sorted(((self._tokens(clean[i]), i) for i in window), reverse=True)
            while counted:
                size = max(1, BATCH_TOKENS // counted[0][0])
                batch = [index for _, index in counted[:size]]
                counted = counted[size:]
                out[batch] = self._forward([clean[index] for index in batch])
        return out

    def _packed_into(
        self, out: Vectors, packed: PackedEncoder, window: list[int], rows: list[list[int]]
    ) -> None:
        """Write the vectors of `rows` to the places in `out` that `window` says."""
        lengths = [len(row) for row in rows]

        def encoded(places: list[int]) -> None:
            with torch.inference_mode():
                found = _unit(packed([rows[place] for place in places]))
            out[[window[place] for place in places]] = found

        self._lanes.map(encoded, list(passes(lengths, self._lanes.size(sum(lengths), PASS_TOKENS))))

    def _ids(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text, special tokens included, as the pipeline cuts them."""
        if self._unigram is not None:
            return [self._unigram.encode(text, self.max_tokens) for text in texts]
        features = self._pipeline.preprocess(texts)
        kept = features["attention_mask"].bool()
        return [ids[mask].tolist() for ids, mask in zip(features["input_ids"], kept, strict=True)]

    def _tokens(self, text: str) -> int:
        if self._unigram is not None:
            return len(self._unigram.encode(text, self.max_tokens))
        return min(len(self._pipeline.tokenizer.backend_tokenizer.encode(text).ids), self.max_tokens)

    def _forward(self, texts: list[str]) -> Vectors:
        with torch.inference_mode():
            features = self._pipeline.preprocess(texts)
            device = self._pipeline.device
            moved = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in features.items()}
            vectors = self._pipeline.forward(moved)["sentence_embedding"].float().cpu()
        return _unit(vectors)


def _unit(vectors: torch.Tensor) -> Vectors:
    result: Vectors = functional.normalize(vectors, dim=1, eps=1e-12).numpy()
    return result
