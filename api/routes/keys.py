"""API keys of a workspace: for its admins."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from api import people, schemas
from api.access import Administers
from api.routes.shared import problems
from api.wiring import Service
from rag.errors import Forbidden, NotFound
from rag.store.repositories import Keys
from rag.store.scope import Scope, utc_now

router = APIRouter(prefix="/keys", tags=["people"])

_NO_KEY = "There is no such key."
_NO_WORKSPACE = "There is no such workspace, or it is not yours."
Workspace = Annotated[
    str | None,
    Query(max_length=100, description="Another workspace, by name or id. Operators alone have several."),
]


@router.get("", response_model=schemas.KeyList, summary="List keys", responses=problems(s404=_NO_WORKSPACE))
def list_keys(service: Administers, workspace: Workspace = None) -> schemas.KeyList:
    """All keys, newest first, without their secrets; those that were revoked or have expired too."""
    with service.db.read() as session:
        rows = Keys(session, _scope(service, session, workspace)).list()
    return schemas.KeyList(keys=[people.key(row) for row in rows if _may_see(service, operator=row.operator)])


@router.post(
    "",
    status_code=201,
    response_model=schemas.KeyWithSecret,
    summary="Make a key",
    responses=problems(s404="There is no such collection, member or workspace."),
)
def create(service: Administers, body: schemas.NewKey, workspace: Workspace = None) -> schemas.KeyWithSecret:
    """Make a key. Its secret is in this answer and nowhere else: only its hash is kept."""
    if body.operator and not _may_see(service, operator=True):
        raise Forbidden("Only an operator can make an operator's key.")
    days = body.expires_in_days
    with service.db.session() as session:
        scope = _scope(service, session, workspace)
        only = body.collections
        made = Keys(session, scope).create(
            body.name,
            body.role,
            created_by=service.asker,
            user_id=body.user_id,
            operator=body.operator,
            collections=None
            if only is None
            else [people.collection_id(session, scope, each) for each in only],
            expires_at=None if days is None else utc_now() + timedelta(days=days),
            requests_per_minute=body.requests_per_minute,
            tokens_per_minute=body.tokens_per_minute,
        )
    service.deed.of(made.row.id)
    return people.key_with_secret(made.row, made.text)


@router.post(
    "/{id}/rotate",
    response_model=schemas.KeyWithSecret,
    summary="Give a key another secret",
    responses=problems(s404=_NO_KEY, s409="The key was revoked or has expired (`key_not_valid`)."),
)
def rotate(
    service: Administers, id: str, body: schemas.KeyRotation, workspace: Workspace = None
) -> schemas.KeyWithSecret:
    """Give a key another secret. The one of before is valid for a while more, so that nothing has to stop."""
    with service.db.session() as session:
        keys = _keys_with(service, session, workspace, id)
        made = keys.rotate(id, timedelta(hours=body.grace_hours))
    return people.key_with_secret(made.row, made.text)


@router.patch("/{id}", response_model=schemas.Key, summary="Limit a key", responses=problems(s404=_NO_KEY))
def change(
    service: Administers, id: str, body: schemas.KeyChange, workspace: Workspace = None
) -> schemas.Key:
    """Set what a key may use in a minute. It holds from the next request on."""
    with service.db.session() as session:
        keys = _keys_with(service, session, workspace, id)
        row = keys.limit(id, **body.model_dump(exclude_unset=True))
    return people.key(row)


@router.delete("/{id}", status_code=204, summary="Revoke a key", responses=problems(s404=_NO_KEY))
def revoke(service: Administers, id: str, workspace: Workspace = None) -> None:
    """Make a key worthless at once, and sign out every browser that signed in with it."""
    with service.db.session() as session:
        _keys_with(service, session, workspace, id).revoke(id)


def _scope(service: Service, session: Session, workspace: str | None) -> Scope:
    return people.chosen_scope(session, service, workspace)


def _keys_with(service: Service, session: Session, workspace: str | None, key_id: str) -> Keys:
    """The keys, once it is known that one of them may be touched. Raises NotFound (`key_not_found`)."""
    keys = Keys(session, _scope(service, session, workspace))
    if not _may_see(service, operator=keys.get(key_id).operator):
        raise NotFound(f"There is no key {key_id[:60]!r}.", code="key_not_found")
    return keys


def _may_see(service: Service, *, operator: bool) -> bool:
    # with the secret of an operator's key the admin of one workspace would have them all
    return not operator or (service.principal is not None and service.principal.operator)
