"""Answers from documents, asked through OpenAI's parameters: the same answerer as `POST /query`."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from api.answers import ask, body_of
from api.schemas import QueryRequest
from api.v1.events import Answered, Ended, Mark, Piece, Started, Step, Usage
from api.v1.failures import in_form
from api.wiring import Service
from rag.answer import Answer, ContextEvent, DeltaEvent, DoneEvent
from rag.errors import InvalidRequest

_MARK = re.compile(r"\[(\d{1,6})\]")
_MOST_TOKENS = 8192
_NAMES = {"": "messages", "question": "messages", "history": "messages"}


def refuse(given: Mapping[str, Any]) -> None:
    """Refuse what answers from documents cannot be asked for.

    Args:
        given: values by parameter; null and empty ones count as left out.
    """
    wrong = next(
        (name for name, value in given.items() if value not in (None, False, 0, [], {}, (), "")), None
    )
    if wrong is not None:
        raise InvalidRequest(
            f"{wrong} is not possible in answers from documents, which are quotes and sentences that quotes "
            "support; ask longleaf/raw for it.",
            code="unsupported_parameter",
            extra={"param": wrong},
        )


def question(values: Mapping[str, Any], most: int | None) -> QueryRequest:
    """The question as `POST /query` takes it. Raises InvalidRequest, with OpenAI's name of the parameter."""
    kept = {name: value for name, value in values.items() if value is not None}
    if most is not None:
        kept["max_tokens"] = min(most, _MOST_TOKENS)
    return in_form(QueryRequest, kept, _NAMES)


def answer(service: Service, asked: QueryRequest, cancel: threading.Event) -> Iterator[Step]:
    """Steps of an answer. Raises as `api.answers.ask`."""
    for event in ask(service, asked, cancel):
        match event:
            case ContextEvent():
                yield Started()
            case DeltaEvent(text=text):
                yield Piece(0, text)
            case DoneEvent(answer=whole):
                yield Answered(marks(whole), body_of(whole))
                usage = whole.usage
                yield Ended(
                    0, "stop", Usage(usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens)
                )


def marks(whole: Answer) -> tuple[Mark, ...]:
    """Where citations are marked in the answer's text, in reading order; those without a mark at its end."""
    known = {citation.id: citation for citation in whole.citations}
    found = [
        (known[int(match[1])], match.span())
        for match in _MARK.finditer(whole.answer)
        if int(match[1]) in known
    ]
    seen = {citation.id for citation, _ in found}
    end = len(whole.answer)
    found += [(citation, (end, end)) for citation in whole.citations if citation.id not in seen]
    return tuple(
        Mark(
            start,
            stop,
            citation.document_id,
            citation.document_title,
            citation.filename,
            citation.start_char_index,
            citation.end_char_index,
        )
        for citation, (start, stop) in found
    )
