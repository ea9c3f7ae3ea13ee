"""Answers that were given: shown again, and made again to see whether they would be the same."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from api import schemas
from api.access import Reads
from api.answers import body_of, tokens_of
from api.fields import answer_id as checked_id
from api.routes.shared import problems
from api.sse import iterate_in_thread, unless_gone
from api.wiring import Service

if TYPE_CHECKING:
    from rag.replay import Replay

router = APIRouter(prefix="/answers", tags=["questions"])

_MISSING = problems(s404="There is no such answer.")
_REPLAYED: dict[int | str, dict[str, Any]] = {
    200: {
        "model": schemas.QueryResponse | schemas.Replayed,
        "description": "The bytes of the first response where nothing is different; else what is.",
    },
    **_MISSING,
}


@router.get("/{id}", response_model=schemas.StoredAnswer, responses=_MISSING, summary="Show an answer")
def get_answer(service: Reads, id: str) -> dict[str, Any]:
    """An answer that was given before; its words are there while the documents that were read for it are."""
    from rag.kept import stored  # noqa: PLC0415 (the start does not wait for models)

    return stored(service.db, service.scope, checked_id(id), service.asker)


@router.post("/{id}/replay", response_class=JSONResponse, responses=_REPLAYED, summary="Answer again")
async def replay_answer(request: Request, service: Reads, id: str) -> Response:
    """Ask an answer's question again with all that it was asked with.

    Where nothing is different the body is that of the first response, byte for byte, with its timings. A
    client that closes the connection stops the work.
    """
    checked = checked_id(id)
    work = iterate_in_thread(service.answers, lambda cancel: _again(service, checked, cancel))
    return JSONResponse(await unless_gone(request.receive, _only(work)))


async def _only(work: AsyncGenerator[dict[str, Any]]) -> dict[str, Any]:
    try:
        return await anext(work)
    finally:
        await work.aclose()


def _again(service: Service, answer_id: str, cancel: threading.Event) -> Iterator[dict[str, Any]]:
    from rag.kept import stored  # noqa: PLC0415
    from rag.replay import replay  # noqa: PLC0415

    before = stored(service.db, service.scope, answer_id, service.asker)
    found = replay(service.answerer.wait(), service.scope, answer_id, cancel)
    if found is not None:
        service.deed.tokens += 0 if found.answer is None else tokens_of(found.answer)
        yield _body(answer_id, before, found)


def _body(answer_id: str, before: dict[str, Any], found: Replay) -> dict[str, Any]:
    now = None if found.answer is None else body_of(found.answer)
    if now is not None and not found.changed:
        return now
    whole = schemas.Replayed.model_validate(
        {"answer_id": answer_id, "changed": list(found.changed), "before": before, "now": now}
    )
    return whole.model_dump(mode="json")
