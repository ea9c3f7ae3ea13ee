"""A name in the query string that a route does not know is refused: a misspelt filter would change nothing,
and what comes back would be taken for the filtered answer."""

from __future__ import annotations

import difflib

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError

from api.access import dependencies_of


async def _only_known(request: Request) -> None:
    """Raises RequestValidationError (`extra_forbidden`) for a parameter that the route does not have."""
    if not request.url.query:
        return
    own = request.scope["route"].dependant
    known = {field.alias for each in (own, *dependencies_of(own)) for field in each.query_params}
    found = [
        {"type": "extra_forbidden", "loc": ("query", name), "msg": _message(name, known)}
        for name in dict.fromkeys(request.query_params)
        if name not in known
    ]
    if found:
        raise RequestValidationError(found)


ONLY_KNOWN = Depends(_only_known)
"""For routes whose clients are free to send no more than is documented."""


def _message(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    if near:
        return f"there is no such parameter; did you mean {near[0]!r}?"
    return f"there is no such parameter; known: {', '.join(sorted(known)) or 'none'}"
