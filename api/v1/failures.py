"""Errors of the engine, and of a request in another form, as errors of this request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from api.errors import plain_message
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

Form = TypeVar("Form", bound=BaseModel)


def in_form(form: type[Form], values: Mapping[str, Any], names: Mapping[str, str]) -> Form:
    """The values as another form of request has them.

    Raises InvalidRequest with the name that the parameter has here, by `names` from those of the form.
    """
    try:
        return form.model_validate(values)
    except ValidationError as error:
        entry = error.errors()[0]
        name = str(entry["loc"][0]) if entry["loc"] else ""
        param = names.get(name, name)
        raise InvalidRequest(
            f"{param}: {plain_message(entry)}", code="invalid_value", extra={"param": param}
        ) from None


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
