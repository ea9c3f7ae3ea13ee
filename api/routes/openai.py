"""OpenAI's routes: chat, completions, embeddings and models, for clients that exist already."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from threading import Event
from typing import Any

from fastapi import APIRouter, Request, Response

from api.access import Reads
from api.errors import problem_of
from api.routes.shared import problems
from api.sse import EventStream, iterate_in_thread, unless_gone
from api.v1 import chat, completions, embeddings, naming, responses
from api.v1.errors import error_of
from api.v1.events import Answered, Ended, Piece, Step
from api.v1.schemas.chat import ChatRequest
from api.v1.schemas.completions import CompletionRequest, EmbeddingRequest
from api.v1.schemas.responses import ResponseRequest
from api.v1.shape import Presenter, StreamPart, text
from api.wiring import Service

router = APIRouter(prefix="/v1", tags=["openai"])

_NO_MODEL = problems(s404="There is no such model (`model_not_found`).")


def _answers(kind: str, *, stream: bool = True) -> dict[int | str, dict[str, Any]]:
    """The documented answers of a route whose body is OpenAI's object of that kind."""
    content: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    if stream:
        members = {"event": {"type": "string"}, "data": {"type": "string"}}
        schema = {"type": "object", "properties": members, "required": ["data"]}
        content["text/event-stream"] = {"schema": schema}
    return {200: {"description": f"OpenAI's `{kind}`.", "content": content}, **_NO_MODEL}


@router.get("/models", summary="List models", responses={200: {"description": "OpenAI's list of `model`."}})
def list_models(service: Reads) -> Any:
    """The names that `model` can have: bare models, embedding models, and a name for each collection."""
    return {"object": "list", "data": [_model(each) for each in naming.models(service)]}


@router.get("/models/{model:path}", summary="Show a model", responses=_NO_MODEL)
def get_model(service: Reads, model: str) -> Any:
    """One of the names that `GET /v1/models` lists."""
    found = next((each for each in naming.models(service) if each.id == model), None)
    if found is None:
        raise naming.no_model(model)
    return _model(found)


@router.post("/chat/completions", summary="Complete a chat", responses=_answers("chat.completion"))
async def chat_completions(request: Request, service: Reads, body: ChatRequest) -> Response:
    """Answer a dialogue: from documents, with citations as annotations, or by the bare model, with tools.

    A client that closes the connection stops the work.
    """
    presenter = chat.ChatPresenter(body, str(request.base_url))
    return await _shown(
        request,
        service,
        lambda cancel: chat.steps(service, body, cancel),
        presenter,
        stream=bool(body.stream),
        choices=body.n or 1,
    )


@router.post("/completions", summary="Continue a text", responses=_answers("text_completion"))
async def text_completions(request: Request, service: Reads, body: CompletionRequest) -> Response:
    """Continue texts by the bare model, and give the log-probabilities of what was given (`echo`)."""
    presenter = completions.CompletionPresenter(body)
    return await _shown(
        request,
        service,
        lambda cancel: completions.steps(service, body, cancel),
        presenter,
        stream=bool(body.stream),
        choices=body.n or 1,
    )


@router.post("/responses", summary="Respond", responses=_answers("response"))
async def respond(request: Request, service: Reads, body: ResponseRequest) -> Response:
    """Answer as `POST /v1/chat/completions` does, in the form of OpenAI's newer API. Nothing is stored.

    A client that closes the connection stops the work.
    """
    presenter = responses.ResponsePresenter(body)

    def last(error: Exception) -> StreamPart:
        return presenter.failed(error_of(problem_of(error, request.url.path))["error"])

    return await _shown(
        request,
        service,
        lambda cancel: responses.steps(service, body, cancel),
        presenter,
        stream=bool(body.stream),
        last=last,
    )


@router.post("/embeddings", summary="Make vectors", responses=_answers("list", stream=False))
async def make_embeddings(request: Request, service: Reads, body: EmbeddingRequest) -> Response:
    """Vectors of length 1 of texts, by the model that searches."""
    work = iterate_in_thread(service.answers, lambda cancel: embeddings.embed(service, body, cancel))
    return _json(await unless_gone(request.receive, _only(work)))


async def _shown(
    request: Request,
    service: Service,
    work: Callable[[Event], Iterator[Step]],
    presenter: Presenter,
    *,
    stream: bool,
    choices: int = 1,
    last: Callable[[Exception], StreamPart] | None = None,
) -> Response:
    steps = iterate_in_thread(
        service.answers,
        lambda cancel: _counted(service, service.metrics.generating(work(cancel)), choices),
    )
    if stream:
        # The first step is awaited, so that what can't be answered gets its status.
        first = await unless_gone(request.receive, anext(steps))
        return EventStream(_parts(first, steps, presenter), on_error=last or _last_part(request))
    return _json(await unless_gone(request.receive, _whole(steps, presenter)))


def _counted(service: Service, steps: Iterator[Step], choices: int) -> Iterator[Step]:
    """The steps, with the tokens of the bare model noted; an answer from documents notes its own.

    A prompt is counted once for its `choices`; of what is broken off, the pieces of text.
    """
    before, pieces, from_documents = service.deed.tokens, 0, False
    try:
        for step in steps:
            match step:
                case Answered():
                    from_documents = True
                case Piece():
                    pieces += 1
                case Ended(choice=choice, usage=usage) if not from_documents:
                    read = usage.prompt if choice % choices == 0 else 0
                    service.deed.tokens += read + usage.completion
            yield step
    finally:
        if service.deed.tokens == before:
            service.deed.tokens += pieces


async def _parts(
    first: Step, steps: AsyncGenerator[Step], presenter: Presenter
) -> AsyncGenerator[StreamPart]:
    try:
        for part in presenter.take(first):
            yield part
        async for step in steps:
            for part in presenter.take(step):
                yield part
        for part in presenter.close():
            yield part
    finally:
        await steps.aclose()


async def _whole(steps: AsyncGenerator[Step], presenter: Presenter) -> dict[str, Any]:
    try:
        async for step in steps:
            for _ in presenter.take(step):
                pass
        return presenter.body()
    finally:
        await steps.aclose()


async def _only(work: AsyncGenerator[dict[str, Any]]) -> dict[str, Any]:
    try:
        return await anext(work)
    finally:
        await work.aclose()


def _last_part(request: Request) -> Callable[[Exception], StreamPart]:
    return lambda error: StreamPart(error_of(problem_of(error, request.url.path)))


def _json(body: dict[str, Any]) -> Response:
    return Response(text(body), media_type="application/json")


def _model(named: naming.Named) -> dict[str, Any]:
    created = 0 if named.created is None else int(named.created.timestamp())
    return {"id": named.id, "object": "model", "created": created, "owned_by": named.owner}
