"""Conversations: one's own, and those that others of the workspace have shared."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from api import conversing, schemas
from api.access import Reads
from api.fields import id_pattern
from api.routes.shared import Limit, page, problems
from api.serialize import conversation as shown
from rag.inert import inert

router = APIRouter(prefix="/conversations", tags=["conversations"])

_MISSING = "There is no such conversation, or it is not yours and not shared."
_OTHERS = "It is somebody else's (`forbidden`)."
_EXPORTED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "All of it, as an attachment.",
        "content": {"application/json": {}, "text/markdown": {"schema": {"type": "string"}}},
    },
    **problems(s404=_MISSING),
}


@router.get("", response_model=schemas.ConversationList, summary="List conversations")
def list_conversations(
    service: Reads,
    limit: Limit = 100,
    cursor: Annotated[
        str | None,
        Query(pattern=id_pattern("cnv"), description="`next_cursor` of the page before."),
    ] = None,
) -> schemas.ConversationList:
    """One's own conversations, newest first."""
    with service.db.read() as session:
        rows = conversing.conversations(session, service).list(limit=limit + 1, before=cursor)
    found, after = page(rows, limit)
    return schemas.ConversationList(
        conversations=[shown(row, service.asker) for row in found], next_cursor=after
    )


@router.post(
    "",
    status_code=201,
    response_model=schemas.Conversation,
    summary="Begin a conversation",
    responses=problems(s404="There is no such collection."),
)
def create(service: Reads, body: schemas.NewConversation) -> schemas.Conversation:
    """Begin an empty one; `POST /query` takes its id as `conversation_id`."""
    collection = service.collection(body.collection)
    with service.db.session() as session:
        row = conversing.conversations(session, service).create(collection.id, body.title or "")
    service.deed.of(row.id)
    return shown(row, service.asker)


@router.get(
    "/{id}",
    response_model=schemas.WholeConversation,
    summary="Show a conversation",
    responses=problems(s404=_MISSING),
)
def get_conversation(service: Reads, id: str) -> schemas.WholeConversation:
    """A conversation with its answers; the words of each are there while the documents that were read are."""
    row, answers = conversing.whole(service, id)
    about = shown(row, service.asker)
    return schemas.WholeConversation.model_validate({**about.model_dump(), "answers": answers})


@router.patch(
    "/{id}",
    response_model=schemas.Conversation,
    summary="Rename or share a conversation",
    responses=problems(s403=_OTHERS, s404=_MISSING),
)
def change(service: Reads, id: str, body: schemas.ConversationChange) -> schemas.Conversation:
    """Rename it; or let everybody of the workspace who sees its collection read it, by its id, or no more."""
    with service.db.session() as session:
        row = conversing.conversations(session, service).change(id, title=body.title, shared=body.shared)
    return shown(row, service.asker)


@router.delete(
    "/{id}",
    status_code=204,
    summary="Delete a conversation",
    responses=problems(s403=_OTHERS, s404=_MISSING),
)
def delete(service: Reads, id: str) -> None:
    """Delete it with its questions and answers. When this returns nothing of it is in the database."""
    with service.db.session() as session:
        conversing.conversations(session, service).delete(id)
    service.db.scrub()


@router.get("/{id}/export", response_class=Response, summary="Export a conversation", responses=_EXPORTED)
def export(
    service: Reads,
    id: str,
    format: Annotated[Literal["json", "markdown"], Query(description="`json` or `markdown`.")] = "json",
) -> Response:
    """All of it as a file: JSON as of `GET /conversations/{id}`, or Markdown to be read."""
    found = get_conversation(service, id)
    if format == "json":
        content, kind, suffix = found.model_dump_json(indent=2), "application/json", "json"
    else:
        content, kind, suffix = _markdown(found), "text/markdown; charset=utf-8", "md"
    headers = {
        "Content-Disposition": f'attachment; filename="{found.id}.{suffix}"',
        "Cache-Control": "no-store",
    }
    return Response(content, media_type=kind, headers=headers)


def _markdown(found: schemas.WholeConversation) -> str:
    """Text of documents and questions stands in it as text, and never as Markdown."""
    parts = [
        f"# {_line(found.title) or found.id}",
        f"{found.collection}, {found.created_at:%Y-%m-%d %H:%M} UTC",
    ]
    for answer in found.answers:
        parts.append(f"## {_line(answer.question)}")
        parts.append(
            "_The documents that were read for this answer are gone._"
            if answer.withdrawn
            else _text(answer.answer or "")
        )
        for each in answer.citations:
            page = "" if each.page_number is None else f", page {each.page_number}"
            parts.append(f"> [{each.id}] {_text(each.cited_text)}\n>\n> {_line(each.document_title)}{page}")
    return "\n\n".join(parts) + "\n"


def _line(text: str) -> str:
    return inert(" ".join(text.split()))


def _text(text: str) -> str:
    return "  \n".join(inert(line) for line in text.strip().splitlines())
