"""Workspaces: for operators."""

from __future__ import annotations

from fastapi import APIRouter

from api import people, schemas
from api.access import Operates
from api.routes.shared import problems
from rag.store.repositories import Workspaces

router = APIRouter(prefix="/workspaces", tags=["people"])


@router.get("", response_model=schemas.WorkspaceList, summary="List workspaces")
def list_workspaces(service: Operates) -> schemas.WorkspaceList:
    """All workspaces."""
    with service.db.read() as session:
        rows = Workspaces(session).list()
    return schemas.WorkspaceList(workspaces=[people.workspace(row) for row in rows])


@router.post(
    "",
    status_code=201,
    response_model=schemas.Workspace,
    summary="Make a workspace",
    responses=problems(s409="The name is taken (`duplicate_workspace`)."),
)
def create(service: Operates, body: schemas.NewWorkspace) -> schemas.Workspace:
    """Make an empty workspace; `POST /keys?workspace=…` makes its first key."""
    with service.db.session() as session:
        row = Workspaces(session).create(body.name)
    service.deed.of(row.id)
    return people.workspace(row)


@router.patch(
    "/{id}",
    response_model=schemas.Workspace,
    summary="Limit a workspace",
    responses=problems(s404="There is no such workspace."),
)
def change(service: Operates, id: str, body: schemas.WorkspaceChange) -> schemas.Workspace:
    """Set what all in a workspace, named by name or id, may use in a minute, and how much it may hold."""
    with service.db.session() as session:
        row = Workspaces(session).limit(id, **body.model_dump(exclude_unset=True))
    service.deed.of(row.id)
    return people.workspace(row)
