"""From an identity to a user who is signed in: known, entered beforehand, or let in by a grant."""

from __future__ import annotations

import logging
from datetime import datetime

from sqlalchemy.orm import Session

from api.oidc.config import Grant
from api.oidc.identity import Identity
from rag.errors import Forbidden, NotFound
from rag.principal import Principal
from rag.roles import Role, greater
from rag.store.identities import UserRow
from rag.store.repositories import Credentials, Members, Users, Workspaces
from rag.store.scope import Scope

log = logging.getLogger(__name__)


def admit(
    session: Session, identity: Identity, grants: tuple[Grant, ...], *, wish: str | None, hours: float
) -> tuple[Principal, str, datetime]:
    """Who signed in, their cookie's text, and until when it is valid.

    Roles from grants follow what the provider says this time: those of before are taken. Raises Forbidden
    (`not_admitted`) for who is in no workspace, NotFound (`workspace_not_found`) for one wished for in which
    they are not, Conflict (`duplicate_user`) for an address that is another's.
    """
    theirs = _roles(session, identity, grants)
    user = _user(session, identity, admitted=bool(theirs))
    users = Users(session)
    for workspace_id in {*users.workspaces(user.id), *theirs}:
        Members(session, Scope(workspace_id)).provide(user.id, theirs.get(workspace_id))
    joined = users.workspaces(user.id)
    if not joined:
        raise _not_admitted()
    chosen = next((each for each in theirs if each in joined), joined[0])
    if wish is not None:
        chosen = Workspaces(session).get(wish).id
        if chosen not in joined:
            raise NotFound(f"There is no workspace {wish[:100]!r}.", code="workspace_not_found")
    return Credentials(session).admit(user.id, chosen, hours)


def _roles(session: Session, identity: Identity, grants: tuple[Grant, ...]) -> dict[str, Role]:
    """Their roles by the id of a workspace, in the order of the grants."""
    found: dict[str, Role] = {}
    for each in identity.granted(grants):
        try:
            workspace_id = Workspaces(session).get(each.workspace).id
        except NotFound:
            log.warning("LONGLEAF_OIDC_GRANTS names the workspace %r, which is not there", each.workspace)
            continue
        found[workspace_id] = greater(found.get(workspace_id), each.role) or each.role
    return found


def _user(session: Session, identity: Identity, *, admitted: bool) -> UserRow:
    users = Users(session)
    user = users.of_identity(identity.issuer, identity.subject)
    if user is None and identity.email is not None:
        user = users.bind(identity.email, identity.issuer, identity.subject)
    if user is None:
        if not admitted:
            raise _not_admitted()
        user = users.create(identity.email, identity.name, issuer=identity.issuer, subject=identity.subject)
    if user.disabled_at is not None:
        raise _not_admitted()
    return user


def _not_admitted() -> Forbidden:
    return Forbidden(
        "You are known to the provider and not admitted here; ask whoever keeps this service.",
        code="not_admitted",
    )
