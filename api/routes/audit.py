"""The audit log of a workspace: for its admins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from api import people, schemas, serialize
from api.access import Administers
from api.routes.keys import Workspace
from api.routes.shared import problems
from api.wiring import Service
from rag.store.repositories import AuditLog
from rag.store.repositories.audit import SERVICE
from rag.store.scope import Scope

router = APIRouter(prefix="/audit", tags=["people"])

_NO_WORKSPACE = "There is no such workspace, or it is not yours."
_MOST = 1000
_LINES = "application/x-ndjson"
Cursor = Annotated[int, Query(ge=0, le=2**53, description="Show entries after this number.")]
_EXPORT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "One entry a line, as JSON.",
        "content": {_LINES: {"schema": {"type": "string"}}},
    },
    **problems(s404=_NO_WORKSPACE),
}


@router.get(
    "",
    response_model=schemas.AuditEntries,
    summary="Show the audit log",
    responses=problems(s404=_NO_WORKSPACE),
)
def show(
    service: Administers,
    cursor: Cursor = 0,
    limit: Annotated[int, Query(ge=1, le=_MOST)] = 100,
    workspace: Workspace = None,
) -> schemas.AuditEntries:
    """Who did what in the workspace, oldest first; of the whole service with `workspace=service`."""
    scope = _scope(service, workspace)
    with service.db.read() as session:
        rows = list(AuditLog(session, scope).entries(cursor, limit + 1))
    shown = rows[:limit]
    return schemas.AuditEntries(
        entries=[serialize.audit_entry(row) for row in shown],
        next_cursor=shown[-1].seq if len(rows) > limit else None,
    )


@router.get("/export", response_class=Response, summary="Write the audit log out", responses=_EXPORT)
def export(service: Administers, cursor: Cursor = 0, workspace: Workspace = None) -> Response:
    """All entries as JSON lines, which `longleaf audit verify FILE` can check."""
    scope = _scope(service, workspace)
    with service.db.read() as session:
        last, _ = AuditLog(session, scope).head()
    return StreamingResponse(_lines(service, scope, cursor, last), media_type=_LINES)


def _lines(service: Service, scope: Scope, after: int, last: int) -> Iterator[str]:
    # page by page, so that a slow client holds no snapshot open; entries never change
    while after < last:
        with service.db.read() as session:
            rows = list(AuditLog(session, scope).entries(after, min(_MOST, last - after)))
        if not rows:
            return
        after = rows[-1].seq
        yield "".join(serialize.audit_entry(row).model_dump_json() + "\n" for row in rows)


def _scope(service: Service, workspace: str | None) -> Scope:
    if workspace == SERVICE and service.principal is not None and service.principal.operator:
        service.deed.workspace_id = SERVICE
        return Scope(SERVICE)
    with service.db.read() as session:
        return people.chosen_scope(session, service, workspace)
