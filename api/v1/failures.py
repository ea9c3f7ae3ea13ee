"""Errors of the engine as errors of a request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from model.errors import (
    ChatFormatError,
    ConstraintError,
    EngineDeadError,
    ModelError,
    ParameterError,
    PromptError,
    PromptTooLongError,
)
from rag.errors import InvalidRequest, LongleafError, Unavailable


@contextmanager
def as_requests() -> Iterator[None]:
    """Raise what the engine raises as InvalidRequest or Unavailable where it is one."""
    try:
        yield
    except ModelError as error:
        known = _of(error)
        if known is None:
            raise
        raise known from error


def _of(error: ModelError) -> LongleafError | None:
    said = str(error)
    sentence = f"{said[:1].upper()}{said[1:]}."
    match error:
        case PromptTooLongError():
            return InvalidRequest(sentence, code="context_length_exceeded")
        case ChatFormatError():
            return InvalidRequest(sentence, code="invalid_messages")
        case ParameterError() | ConstraintError():
            return InvalidRequest(sentence, code="invalid_value")
        case PromptError():
            return InvalidRequest(sentence, code="invalid_prompt")
        case EngineDeadError():
            return Unavailable(sentence, code="engine_unavailable")
        case _:
            return None
