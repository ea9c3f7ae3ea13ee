"""Search: the chunks that fit a question, without an answer."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api import schemas, serialize
from api.access import Reads
from api.routes.shared import problems, search_scope

router = APIRouter(tags=["questions"])


@router.post(
    "/search",
    response_model=schemas.SearchResponse,
    summary="Search",
    responses=problems(
        s404="There is no such collection or document.",
        s409="The collection's vectors come from another embedding model (`embedder_mismatch`).",
    ),
)
def search(service: Reads, body: schemas.SearchRequest) -> Response:
    """Chunks that fit the query by meaning or by words, best first."""
    scope = search_scope(service, body.collection, body.document_ids, body.filters)
    answer = serialize.search(service.retriever.wait().look(body.query, scope, body.top_k))
    # written here, in the thread that has it, it is not validated and carried to another one once more
    return Response(answer.model_dump_json(), media_type="application/json")
