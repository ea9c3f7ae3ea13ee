"""The events of an answer under way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from longleaf import types
from longleaf.errors import ApiError

HEADERS = {"Accept": "text/event-stream"}
_PLAIN: Mapping[str, type[types.Progress | types.Delta | types.Receipt | types.Answer]] = {
    "progress": types.Progress,
    "delta": types.Delta,
    "receipt": types.Receipt,
    "done": types.Answer,
}


def event(name: str, data: str) -> types.Event | None:
    """What an event says; None for one of a kind that is not known here. Raises ApiError."""
    if name == "error":
        problem: dict[str, Any] = json.loads(data)
        raise ApiError(int(problem.get("status", 500)), problem)
    if name == "context":
        return types.Ledger(ledger=json.loads(data))
    if name == "citation":
        return types.Quote(citation=types.Citation.model_validate_json(data))
    kind = _PLAIN.get(name)
    return None if kind is None else kind.model_validate_json(data)
