"""`longleaf users`: people and their roles."""

from __future__ import annotations

from collections.abc import Sequence

from api import people
from api.commands.session import audited, opened
from api.terminal import say, say_json
from rag.errors import NotFound
from rag.roles import Role
from rag.settings import Settings
from rag.store.identities import UserRow
from rag.store.migrate import check
from rag.store.repositories import Members, Users, Workspaces
from rag.store.repositories.audit import SERVICE
from rag.store.scope import Scope


def run_create(settings: Settings, email: str, name: str, *, operator: bool, as_json: bool) -> None:
    """Enter a user. Raises InvalidRequest, Conflict, Unmigrated, Unavailable."""
    with opened(settings) as db:
        check(db)
        with db.session() as session:
            row = Users(session).create(email, name, operator=operator)
            audited(session, SERVICE, "users create", row.id)
    _show(row, f"{row.email} is entered as {row.id}.", as_json=as_json)


def run_list(settings: Settings, *, as_json: bool) -> None:
    """Print all users. Raises Unmigrated, Unavailable."""
    with opened(settings) as db:
        check(db)
        with db.read() as session:
            rows = Users(session).list()
    if as_json:
        say_json({"users": [people.user(row).model_dump(mode="json") for row in rows]})
        return
    for row in rows:
        marks = (", operator" if row.operator else "") + (", kept out" if row.disabled_at else "")
        say(f"{row.id}  {row.email}  {row.name}{marks}")
    if not rows:
        say("There are no users.")


def run_grant(
    settings: Settings,
    email: str,
    role: Role,
    workspace: str,
    collections: Sequence[str] | None,
    *,
    as_json: bool,
) -> None:
    """Give a person a role; one who is not known is entered.

    Raises NotFound, InvalidRequest, Unmigrated, Unavailable.
    """
    with opened(settings) as db:
        check(db)
        with db.session() as session:
            scope = Scope(Workspaces(session).get(workspace).id)
            try:
                person = Users(session).get(email)
            except NotFound:
                person = Users(session).create(email)
            members = Members(session, scope)
            held = members.rights(person.id)
            row = members.add(person.id, role if not collections else held.role if held else None)
            only = [people.collection_id(session, scope, each) for each in collections or ()]
            for each in only:
                row = members.grant(person.id, each, role)
            audited(session, scope.workspace_id, f"users grant {role}", person.id, *only)
    if as_json:
        say_json(people.member(row).model_dump(mode="json"))
    else:
        where = f"in {', '.join(collections)}" if collections else "in every collection"
        say(f"{row.user.email} is {role} {where}.")


def run_remove(settings: Settings, email: str, workspace: str, *, as_json: bool) -> None:
    """Take a person out of a workspace. Raises NotFound, Unmigrated, Unavailable."""
    with opened(settings) as db:
        check(db)
        with db.session() as session:
            row = Users(session).get(email)
            scope = Scope(Workspaces(session).get(workspace).id)
            Members(session, scope).remove(row.id)
            audited(session, scope.workspace_id, "users remove", row.id)
    _show(row, f"{row.email} is no longer a member.", as_json=as_json)


def run_disable(settings: Settings, email: str, *, undo: bool, as_json: bool) -> None:
    """Keep a person out, or let them in again. Raises NotFound, Unmigrated, Unavailable."""
    with opened(settings) as db:
        check(db)
        with db.session() as session:
            users = Users(session)
            row = users.disable(users.get(email).id, disabled=not undo)
            audited(session, SERVICE, "users disable --undo" if undo else "users disable", row.id)
    said = "may come in again" if undo else "is kept out everywhere"
    _show(row, f"{row.email} {said}.", as_json=as_json)


def _show(row: UserRow, text: str, *, as_json: bool) -> None:
    if as_json:
        say_json(people.user(row).model_dump(mode="json"))
    else:
        say(text)
