"""Users of the whole service: for operators."""

from __future__ import annotations

from fastapi import APIRouter

from api import people, schemas
from api.access import Operates
from api.routes.shared import problems
from rag.store.repositories import Users

router = APIRouter(prefix="/users", tags=["people"])


@router.get("", response_model=schemas.UserList, summary="List users")
def list_users(service: Operates) -> schemas.UserList:
    """Everybody who was ever entered."""
    with service.db.read() as session:
        rows = Users(session).list()
    return schemas.UserList(users=[people.user(row) for row in rows])


@router.post(
    "",
    status_code=201,
    response_model=schemas.User,
    summary="Enter a user",
    responses=problems(s409="The address is taken (`duplicate_user`)."),
)
def create(service: Operates, body: schemas.NewUser) -> schemas.User:
    """Enter a person, who is a member of no workspace yet."""
    with service.db.session() as session:
        row = Users(session).create(body.email, body.name or "", operator=body.operator)
    service.deed.of(row.id)
    return people.user(row)


@router.patch(
    "/{id}",
    response_model=schemas.User,
    summary="Keep a user out",
    responses=problems(s404="There is no such user."),
)
def change(service: Operates, id: str, body: schemas.UserChange) -> schemas.User:
    """Keep a user out everywhere, with all of their keys and browsers, or let them in again."""
    with service.db.session() as session:
        users = Users(session)
        row = users.disable(users.get(id).id, disabled=body.disabled)
    return people.user(row)
