"""`longleaf search`: the passages that fit a query."""

from __future__ import annotations

from api import serialize
from api.commands.session import command_service
from api.routes.shared import search_scope
from api.schemas import SearchRequest
from api.terminal import one_line, say, say_heading, say_json
from rag.settings import Settings

_SNIPPET = 400


def run(settings: Settings, query: str, collection: str, top_k: int, *, as_json: bool) -> None:
    """Search and print. Raises NotFound, InvalidRequest, Unavailable, Conflict."""
    asked = SearchRequest(query=query, collection=collection, top_k=top_k)
    with command_service(settings, engine=False, collection=collection) as service:
        scope = search_scope(service, asked.collection, None, None)
        looked = service.retriever.wait().look(asked.query, scope, asked.top_k)
    if as_json:
        say_json(serialize.search(looked).model_dump(mode="json"))
        return
    found = looked.candidates
    if looked.partial is not None:
        say(f"{len(looked.partial.missing)} of {looked.partial.shards} shards could not be searched.")
    if not found:
        say("Nothing found.")
    for number, candidate in enumerate(found, start=1):
        say_heading(f"{number}. {one_line(candidate.document_title, 100)}", place(candidate.page_start))
        say(f"   {one_line(candidate.text, _SNIPPET)}")


def place(page: int | None) -> str:
    """Return `, page 3`, or nothing for a format without pages."""
    return "" if page is None else f", page {page}"
