"""Members of a workspace and their roles: for its admins."""

from __future__ import annotations

from fastapi import APIRouter

from api import people, schemas
from api.access import Administers
from api.routes.keys import Workspace
from api.routes.shared import problems
from rag.errors import NotFound
from rag.store.repositories import Members, Users

router = APIRouter(prefix="/members", tags=["people"])

_NO_WORKSPACE = "There is no such workspace, or it is not yours."


@router.get(
    "", response_model=schemas.MemberList, summary="List members", responses=problems(s404=_NO_WORKSPACE)
)
def list_members(service: Administers, workspace: Workspace = None) -> schemas.MemberList:
    """Who is in the workspace, with their roles."""
    with service.db.read() as session:
        scope = people.chosen_scope(session, service, workspace)
        rows = Members(session, scope).list()
    return schemas.MemberList(members=[people.member(row) for row in rows])


@router.put(
    "",
    response_model=schemas.Member,
    summary="Set what a person may do",
    responses=problems(s404="There is no such collection or workspace."),
)
def put(service: Administers, body: schemas.NewMember, workspace: Workspace = None) -> schemas.Member:
    """Make a person a member, or change their roles: what is not named here they don't have afterwards."""
    with service.db.session() as session:
        scope = people.chosen_scope(session, service, workspace)
        users = Users(session)
        try:
            person = users.get(body.email)
        except NotFound:
            person = users.create(body.email)
        members = Members(session, scope)
        wanted = {people.collection_id(session, scope, name): role for name, role in body.collections.items()}
        member = members.add(person.id, body.role)
        for each in set(member.rights.collections) - set(wanted):
            member = members.grant(person.id, each, None)
        for each, role in wanted.items():
            member = members.grant(person.id, each, role)
    service.deed.of(person.id, *wanted)
    return people.member(member)


@router.delete(
    "/{id}", status_code=204, summary="Remove a member", responses=problems(s404="There is no such member.")
)
def remove(service: Administers, id: str, workspace: Workspace = None) -> None:
    """Take a person out of the workspace; their keys for it are worthless at once."""
    with service.db.session() as session:
        scope = people.chosen_scope(session, service, workspace)
        Members(session, scope).remove(id)
