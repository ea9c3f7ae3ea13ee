"""Recipe: how an answer came about, in ids, offsets and numbers, and apart from it the words that are kept.

A recipe stays when its documents go: it says nothing of them but where something stood. The words (the
answer's text and the digests of what was read) are kept only while every source of theirs is live.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rag.answer import Answer, AnswerRequest, Usage
from rag.filters import parse_filter
from rag.finding import SearchStep, Turn
from rag.packing import Passage
from rag.receipts import Receipt
from rag.retrieval import SearchScope

FORMAT = 2
"""Recipes of another format are shown and not replayed."""


@dataclass(frozen=True)
class Kept:
    """What is stored of an answer. `sources`: the documents that `words` may hold something of, with their
    generations."""

    recipe: dict[str, Any]
    words: dict[str, Any]
    sources: dict[str, int]


@dataclass(frozen=True)
class State:
    """What an answer depends on beside the request: fingerprints of both models, the release, the number of
    the collection's last change."""

    model: str
    embedder: str
    sequence: int
    release: str


def release() -> str:
    """The installed version of the service; empty where it runs without being installed."""
    try:
        return version("longleaf")
    except PackageNotFoundError:
        return ""


def keep(request: AnswerRequest, answer: Answer, state: State) -> Kept:
    """What is to be stored of an answer."""
    pack, scope = answer.context.pack, request.scope
    sources = dict(answer.basis.sources)
    # An earlier answer may hold words of any document of the collection.
    behind = {**sources, scope.collection_id: 0} if request.history else sources
    recipe = {
        "format": FORMAT,
        "request": {
            "collection_id": scope.collection_id,
            "document_ids": sorted(scope.document_ids) if scope.document_ids is not None else None,
            "filters": dict(request.filters) if request.filters is not None else None,
            **{name: getattr(request, name) for name in _ASKED},
        },
        **asdict(state),
        "turns": len(request.history),
        "kind": answer.answer_kind,
        "status": answer.answer_status,
        "language": answer.language,
        "budget": pack.budget,
        "ranking": list(answer.basis.ranking),
        "segments": [[*_place(s.passage), s.tokens] for s in pack.segments],
        "dropped": [[*_place(d.passage), d.reason] for d in pack.dropped],
        "citations": [
            [
                c.document_id,
                sources[c.document_id],
                c.start_char_index,
                c.end_char_index,
                c.page_number,
                c.chunk_id,
                c.score,
            ]
            for c in answer.citations
        ],
        "evidence": answer.evidence.as_dict(),
        "usage": asdict(answer.usage),
        "timings": dict(answer.timings),
        "receipts": [asdict(receipt) for receipt in answer.receipts],
        "partial": None if answer.partial is None else answer.partial.as_dict(),
    }
    words = {
        "answer": answer.answer,
        "unsupported": list(answer.unsupported),
        "warnings": list(answer.warnings),
        "disagreements": [each.as_dict() for each in answer.disagreements],
        "searches": [asdict(search) for search in answer.searches],
        "history": [asdict(turn) for turn in request.history],
        "body": digest(json.dumps(_lasting(answer), ensure_ascii=False)),
        "passages": [digest(s.passage.text) for s in pack.segments],
    }
    return Kept(recipe, words, behind)


_ASKED = (
    "top_k",
    "max_context_tokens",
    "max_tokens",
    "temperature",
    "seed",
    "mode",
    "unsupported",
    "receipts",
    "steps",
)


def request_of(
    question: str, recipe: Mapping[str, Any], words: Mapping[str, Any], workspace_id: str
) -> AnswerRequest:
    """The request that a recipe came from; the turns before it are among the words."""
    asked = recipe["request"]
    only, filters = asked["document_ids"], asked["filters"]
    scope = SearchScope(
        workspace_id,
        asked["collection_id"],
        None if only is None else frozenset(only),
        None if filters is None else parse_filter(filters),
    )
    history = tuple(Turn(**turn) for turn in words.get("history", ()))
    return AnswerRequest(
        question, scope, filters=filters, history=history, **{name: asked[name] for name in _ASKED}
    )


def as_first(answer: Answer, answer_id: str, recipe: Mapping[str, Any], words: Mapping[str, Any]) -> Answer:
    """An answer made again, with what belongs to the first time: its id, what it took, and the receipts."""
    return replace(
        answer,
        answer_id=answer_id,
        usage=Usage(**recipe["usage"]),
        timings={name: recipe["timings"][name] for name in answer.timings},
        receipts=tuple(Receipt(**receipt) for receipt in recipe["receipts"]),
        searches=tuple(SearchStep(**each) for each in words.get("searches", ())) or answer.searches,
    )


def digest(text: str) -> str:
    """64 bits of a text's hash, to see whether it is another one."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _place(passage: Passage) -> list[Any]:
    return [passage.document_id, passage.generation, passage.start, passage.end]


def _lasting(answer: Answer) -> dict[str, Any]:
    """The body without what a second time can't repeat: its name, what it took, and the receipts, which are
    not counted again."""
    body = answer.as_dict()
    body["searches"] = [search | {"milliseconds": 0} for search in body["searches"]]
    if body["partial"] is None:  # as in answers that were kept before there were shards
        del body["partial"]
    return {name: body[name] for name in body if name not in {"answer_id", "usage", "timings", "receipts"}}
