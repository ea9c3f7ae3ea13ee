"""Every operation of the API but uploads and streams: its calls, and what its result is read from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict, TypeVar
from urllib.parse import quote

from longleaf import types
from longleaf.errors import NotReady
from longleaf.steps import Call, Pause, Steps, ask, without_none

Kind = TypeVar("Kind", bound=types.Model)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0


def reading(kind: type[Kind], path: str, **params: Any) -> Steps[Kind]:
    """The model that a GET answers."""
    response = yield from ask(Call("GET", path, without_none(params)))
    return kind.model_validate_json(response.content)


def sending(
    kind: type[Kind],
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    *,
    repeatable: bool = True,
) -> Steps[Kind]:
    """The model that another method answers."""
    response = yield from ask(Call(method, path, json=body, repeatable=repeatable))
    return kind.model_validate_json(response.content)


def deleting(path: str) -> Steps[None]:
    """Nothing, once it is deleted."""
    yield Call("DELETE", path)


def text(document_id: str, start: int, end: int | None) -> Steps[str]:
    """A document's canonical text, or a part of it."""
    path = f"/documents/{document_id}/text"
    response = yield from ask(Call("GET", path, without_none({"start": start, "end": end})))
    return response.content.decode()


def content(document_id: str) -> Steps[bytes]:
    """A document's original bytes."""
    return (yield from ask(Call("GET", f"/documents/{document_id}/content"))).content


def page_picture(document_id: str, number: int, width: int) -> Steps[bytes]:
    """A page as a picture in WebP."""
    path = f"/documents/{document_id}/pages/{number}/picture"
    return (yield from ask(Call("GET", path, {"width": width}))).content


def where(
    collection: str | None, document_ids: Sequence[str] | None, filters: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The members of a body that say where to look."""
    ids = None if document_ids is None else list(document_ids)
    return without_none({"collection": collection, "document_ids": ids, "filters": filters})


def search(query: str, top_k: int, scope: Mapping[str, Any]) -> Steps[types.SearchResults]:
    """Chunks, best first."""
    body = {"query": query, "top_k": top_k, **scope}
    return (yield from sending(types.SearchResults, "POST", "/search", body))


class Options(TypedDict, total=False):
    """What may be said beside a question; the HTTP API has the meaning of each."""

    collection: str | None
    document_ids: Sequence[str] | None
    filters: Mapping[str, Any] | None
    history: Sequence[types.Turn]
    conversation_id: str | None
    mode: Literal["auto", "quotes", "answer"] | None
    unsupported: Literal["remove", "mark"]
    top_k: int
    steps: int | None
    receipts: bool
    max_context_tokens: int | None
    max_tokens: int | None
    temperature: float
    seed: int


def question(asked: str, options: Options) -> dict[str, Any]:
    """The body of a question."""
    given = without_none(options)
    for name in ("document_ids", "history"):
        if name in given:
            given[name] = [
                each.model_dump() if isinstance(each, types.Turn) else each for each in given[name]
            ]
    return {"question": asked, **given}


def wait(document_id: str, on_change: Callable[[types.Document], None] | None) -> Steps[types.Document]:
    """The document once neither it nor a newer version is under way. Raises NotReady."""
    pause, seen = _FIRST_PAUSE, None
    while True:
        document = yield from reading(types.Document, f"/documents/{document_id}")
        if on_change is not None and document != seen:
            on_change(document)
        newer = document.updating
        if document.status in types.FINAL and (newer is None or newer.status in types.FINAL):
            break
        pause = _FIRST_PAUSE if document != seen else min(_LONGEST_PAUSE, pause * 1.5)
        seen = document
        yield Pause(pause)
    for name, state, error in (
        (document.filename, document.status, document.error),
        *([(newer.filename, newer.status, newer.error)] if newer else []),
    ):
        if state in {"failed", "cancelled"}:
            why = f": {error.detail} ({error.code})" if error else ""
            raise NotReady(f"{name!r} ({document.id}) was not read, it is {state}{why}")
    return document


def segment(name: str) -> str:
    """A name as a part of a path."""
    return quote(name, safe="")
