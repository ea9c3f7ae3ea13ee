"""The one serializer of answers: the JSON body, the stream and the command line show the same."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from api.conversing import append, conversation_of, said_before
from api.routes.shared import search_scope
from api.schemas import QueryRequest
from api.sse import ServerEvent
from api.wiring import Service
from rag.answering import (
    Answer,
    AnswerEvent,
    AnswerRequest,
    CitationEvent,
    ContextEvent,
    DeltaEvent,
    DoneEvent,
    ProgressEvent,
    ReceiptEvent,
)
from rag.finding import Turn


def answer_request(service: Service, asked: QueryRequest) -> AnswerRequest:
    """Fill in what the request leaves to the settings. Raises NotFound, InvalidRequest, Unavailable;
    what `api.conversing.conversation_of` raises."""
    settings = service.settings
    mode = asked.mode or settings.answer_mode
    conversation = conversation_of(service, asked)
    history = tuple(Turn(turn.question, turn.answer) for turn in asked.history)
    collection = asked.collection
    if conversation is not None:
        history, collection = said_before(service, conversation), conversation.collection
        service.deed.of(conversation.id)
    return AnswerRequest(
        question=asked.question or asked.query,
        scope=search_scope(service, collection, asked.document_ids, asked.filters),
        top_k=asked.top_k,
        max_context_tokens=asked.max_context_tokens,
        max_tokens=asked.max_tokens or settings.max_tokens,
        temperature=asked.temperature,
        seed=asked.seed,
        mode="answer" if mode == "prose" else mode,
        unsupported=asked.unsupported,
        receipts=asked.receipts,
        filters=asked.filters,
        history=history,
        steps=asked.steps,
    )


def ask(service: Service, asked: QueryRequest, cancel: threading.Event) -> Iterator[AnswerEvent]:
    """Answer a question; runs in the caller's thread and stops soon after `cancel` is set.

    Raises what `answer_request` and `rag.answering.Answerer.answer` raise.
    """
    before, read = service.deed.tokens, 0
    for event in service.answerer.wait().answer(answer_request(service, asked), cancel):
        if isinstance(event, DoneEvent):
            service.deed.of(event.answer.answer_id)
            service.metrics.answered(event.answer)
            service.deed.tokens = before + tokens_of(event.answer)
            if asked.conversation_id is not None:
                question = asked.question or asked.query
                append(service, asked.conversation_id, event.answer.answer_id, question)
        elif isinstance(event, ProgressEvent):  # of an answer that is broken off, this was used
            service.deed.tokens += max(0, event.read - read)
            read = max(read, event.read)
        elif isinstance(event, DeltaEvent):
            service.deed.tokens += 1
        yield event


def tokens_of(answer: Answer) -> int:
    """What an answer has cost, in tokens of the generator."""
    usage = answer.usage
    return usage.prompt_tokens + usage.completion_tokens + usage.receipt_tokens


def body_of(answer: Answer) -> dict[str, Any]:
    """The body of `POST /query`."""
    return answer.as_dict()


def event_of(event: AnswerEvent) -> ServerEvent:
    """The server-sent event of a step."""
    match event:
        case ContextEvent():
            return ServerEvent("context", event.context.as_dict())
        case ProgressEvent():
            return ServerEvent("progress", {"read": event.read, "total": event.total, "cached": event.cached})
        case CitationEvent():
            return ServerEvent("citation", event.citation.as_dict())
        case DeltaEvent():
            return ServerEvent("delta", {"text": event.text})
        case ReceiptEvent():
            return ServerEvent("receipt", event.receipt.as_dict())
        case DoneEvent():
            return ServerEvent("done", body_of(event.answer))
