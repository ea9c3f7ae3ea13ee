"""Questions: answered with checked quotes, as one JSON body or as a stream of events."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from api import schemas
from api.access import Reads
from api.answers import ask, body_of, event_of
from api.errors import problem_of
from api.routes.shared import problems
from api.sse import EventStream, ServerEvent, iterate_in_thread, stream_schema, unless_gone
from rag.answering import AnswerEvent, DoneEvent

router = APIRouter(tags=["questions"])

_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": schemas.QueryResponse,
        "description": "The answer; with `stream`, events `context`, `progress` (`read`, `total`, `cached`), "
        "`citation`, `delta` (`text`), `receipt` where asked for, then `done` with the same body as without, "
        "or `error` with a problem.",
        "content": stream_schema("context", "progress", "citation", "delta", "receipt", "done", "error"),
    },
    **problems(
        s404="There is no such collection or document.",
        s409="The collection's vectors come from another embedding model (`embedder_mismatch`).",
    ),
}


@router.post("/query", summary="Ask", response_class=JSONResponse, responses=_RESPONSES)
async def query(request: Request, service: Reads, body: schemas.QueryRequest) -> Response:
    """Answer a question from the documents, with verbatim quotes that were checked against the stored text.

    A client that closes the connection stops the work.
    """
    events = iterate_in_thread(service.answers, lambda cancel: ask(service, body, cancel))
    if body.stream or _wants_stream(request):
        # the first step is awaited, so that a question that can't be answered gets its status
        first = await unless_gone(request.receive, anext(events))
        return EventStream(
            _encoded(events),
            first=event_of(first),
            on_error=lambda error: ServerEvent("error", problem_of(error, request.url.path)),
        )
    return JSONResponse(await unless_gone(request.receive, _drain(events)))


async def _encoded(events: AsyncGenerator[AnswerEvent]) -> AsyncGenerator[ServerEvent]:
    try:
        async for event in events:
            yield event_of(event)
    finally:
        await events.aclose()


async def _drain(events: AsyncGenerator[AnswerEvent]) -> dict[str, Any]:
    try:
        async for event in events:
            if isinstance(event, DoneEvent):
                return body_of(event.answer)
    finally:
        await events.aclose()
    raise RuntimeError("the answer ended without its last event")


def _wants_stream(request: Request) -> bool:
    return "text/event-stream" in request.headers.get("accept", "")
