"""Recipe: how an answer came about, in ids, offsets and numbers, without a word of any document."""

from __future__ import annotations

from typing import Any

from rag.answer import Answer, AnswerRequest


def recipe_of(
    request: AnswerRequest, answer: Answer, *, model: str, embedder: str, sequence: int
) -> dict[str, Any]:
    """What is kept of an answer. `model` and `embedder` are fingerprints; `sequence` is the number of the
    collection's last change."""
    scope, pack = request.scope, answer.context.pack
    return {
        "collection_id": scope.collection_id,
        "document_ids": sorted(scope.document_ids) if scope.document_ids is not None else None,
        "filtered": scope.filters is not None,
        "sequence": sequence,
        "model": model,
        "embedder": embedder,
        "top_k": request.top_k,
        "max_context_tokens": request.max_context_tokens,
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "seed": request.seed,
        "mode": request.mode,
        "kind": answer.answer_kind,
        "status": answer.answer_status,
        "pack": {
            "mode": pack.mode,
            "budget": pack.budget,
            "segments": [
                [s.passage.document_id, s.passage.generation, s.passage.start, s.passage.end, s.tokens]
                for s in pack.segments
            ],
        },
        "citations": [
            [c.document_id, c.start_char_index, c.end_char_index, c.chunk_id] for c in answer.citations
        ],
    }
