"""Kept: a stored answer as it can be shown today: its numbers always, its words while their sources exist."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rag.answer import Usage
from rag.clock import STEPS
from rag.errors import NotFound
from rag.store.records import AnswerRow, DocumentRow, FeedbackRow
from rag.store.repositories import Answers, Collections, Documents, Feedback
from rag.store.scope import Scope
from rag.store.session import Database


def stored(db: Database, scope: Scope, answer_id: str, owner: str = "") -> dict[str, Any]:
    """A stored answer as the API shows it, with what `owner` (the id of a key or user) says of it.

    `withdrawn` says that its words are gone, because a document that they may come from was deleted or read
    anew. Citations are those whose text still stands where it stood. Raises NotFound (`answer_not_found`).
    """
    with db.read() as session:
        row = Answers(session, scope).get(answer_id)
        recipe, words = row.recipe, row.words or {}
        documents = Documents(session, scope)
        about = documents.many(sorted({each[0] for each in recipe["citations"]}))
        asked = recipe.get("request", recipe)
        return {
            "answer_id": row.id,
            "created_at": row.created_at,
            "question": row.question,
            "collection": _name(Collections(session, scope), asked["collection_id"]),
            "withdrawn": row.words is None,
            "answer": words.get("answer"),
            "answer_kind": recipe["kind"],
            "answer_status": recipe["status"],
            "unsupported": words.get("unsupported", []),
            "language": recipe.get("language"),
            "warnings": words.get("warnings", []),
            "citations": _citations(row, documents, about),
            "receipts": recipe.get("receipts", []),
            "disagreements": words.get("disagreements", []),
            "searches": words.get("searches", []),
            "partial": recipe.get("partial"),
            "evidence": recipe.get("evidence"),
            "usage": Usage(**recipe["usage"]).as_dict() if "usage" in recipe else None,
            "timings": {name: recipe["timings"].get(name) for name in STEPS} if "timings" in recipe else {},
            "model": recipe["model"],
            "embedder": recipe["embedder"],
            "feedback": _said(Feedback(session, scope, owner).own(answer_id) if owner else None),
        }


def _said(row: FeedbackRow | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {
        "correct": row.correct,
        "comment": row.comment,
        "wrong_citations": list(row.wrong_citations),
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def _name(collections: Collections, collection_id: str) -> str | None:
    try:
        return collections.get(collection_id).name
    except NotFound:
        return None


def _citations(
    row: AnswerRow, documents: Documents, about: Mapping[str, DocumentRow]
) -> list[dict[str, Any]]:
    if "format" not in row.recipe:
        return []
    shown = []
    for number, place in enumerate(row.recipe["citations"], start=1):
        document_id, generation, start, end, page, chunk_id, score = place
        document = about.get(document_id)
        if document is None or document.generation != generation:
            continue
        [text] = documents.text_slices(document_id, [(start, end)])
        shown.append(
            {
                "id": number,
                "document_id": document_id,
                "document_title": document.title,
                "filename": document.filename,
                "page_number": page,
                "start_char_index": start,
                "end_char_index": end,
                "cited_text": text,
                "chunk_id": f"chk_{chunk_id}",
                "score": score,
            }
        )
    return shown
