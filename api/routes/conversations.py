"""Conversations: one's own, and those that others of the workspace have shared."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from api import conversing, schemas
from api.access import Reads
from api.routes.shared import problems
from api.serialize import conversation as shown
from api.wiring import Service
from rag.inert import inert
from rag.store.repositories import Conversations

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
    limit: Annotated[int, Query(ge=1, le=500, description="How many at most.")] = 100,
    cursor: Annotated[
        str | None,
        Query(pattern=r"^cnv_[0-9a-hjkmnp-tv-z]{26}$", description="`next_cursor` of the page before."),
    ] = None,
) -> schemas.ConversationList:
    """One's own conversations, newest first."""
    with service.db.read() as session:
        rows = _of(session, service).list(limit=limit + 1, before=cursor)
    more = rows[limit - 1].id if len(rows) > limit else None
    return schemas.ConversationList(
        conversations=[shown(row, conversing.owner_of(service)) for row in rows[:limit]], next_cursor=more
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
        row = _of(session, service).create(collection.id, body.title or "")
    service.deed.of(row.id)
    return shown(row, conversing.owner_of(service))


@router.get(
    "/{id}",
    response_model=schemas.WholeConversation,
    summary="Show a conversation",
    responses=problems(s404=_MISSING),
)
def get_conversation(service: Reads, id: str) -> schemas.WholeConversation:
    """A conversation with its answers; the words of each are there while the documents that were read are."""
    row, answers = conversing.whole(service, id)
    about = shown(row, conversing.owner_of(service))
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
        row = _of(session, service).change(id, title=body.title, shared=body.shared)
    return shown(row, conversing.owner_of(service))


@router.delete(
    "/{id}",
    status_code=204,
    summary="Delete a conversation",
    responses=problems(s403=_OTHERS, s404=_MISSING),
)
def delete(service: Reads, id: str) -> None:
    """Delete it with its questions and answers. When this returns nothing of it is in the database."""
    with service.db.session() as session:
        _of(session, service).delete(id)
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


def _of(session: Any, service: Service) -> Conversations:
    return Conversations(session, service.scope, conversing.owner_of(service))


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
