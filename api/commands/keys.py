"""`longleaf keys`: API keys, made and ended by who keeps the store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from api import people
from api.commands.session import BY, audited, limits_of, opened
from api.terminal import say, say_json, warn
from rag.roles import Role
from rag.settings import Settings
from rag.store.identities import KeyRow
from rag.store.migrate import check
from rag.store.repositories import Keys, Users, Workspaces
from rag.store.repositories.keys import NewKey
from rag.store.scope import Scope, utc_now


def run_create(
    settings: Settings,
    name: str,
    role: Role,
    *,
    workspace: str,
    collections: Sequence[str] | None,
    user: str | None,
    expires: int | None,
    operator: bool,
    requests: int | None,
    tokens: int | None,
    as_json: bool,
) -> None:
    """Make a key and print it. Raises NotFound, InvalidRequest, Unmigrated, Unavailable."""
    with opened(settings) as db:
        check(db)
        with db.session() as session:
            scope = Scope(Workspaces(session).get(workspace).id)
            made = Keys(session, scope).create(
                name,
                role,
                created_by=BY,
                user_id=None if user is None else Users(session).get(user).id,
                operator=operator,
                collections=None
                if not collections
                else [people.collection_id(session, scope, each) for each in collections],
                expires_at=None if expires is None else utc_now() + timedelta(days=expires),
                **limits_of(requests_per_minute=requests, tokens_per_minute=tokens),
            )
            audited(session, scope.workspace_id, "keys create", made.row.id)
    _show(made, as_json=as_json)


def run_rotate(settings: Settings, workspace: str, key_id: str, grace: float, *, as_json: bool) -> None:
    """Print a key's new secret. Raises NotFound, Conflict, Unmigrated, Unavailable."""
    with opened(settings) as db:
        check(db)
        with db.session() as session:
            scope = Scope(Workspaces(session).get(workspace).id)
            made = Keys(session, scope).rotate(key_id, timedelta(hours=grace))
            audited(session, scope.workspace_id, "keys rotate", key_id)
    _show(made, as_json=as_json)


def run_limit(
    settings: Settings,
    workspace: str,
    key_id: str,
    *,
    requests: int | None,
    tokens: int | None,
    as_json: bool,
) -> None:
    """Set what a key may use in a minute. Raises NotFound, Unmigrated, Unavailable."""
    with opened(settings) as db:
        check(db)
        with db.session() as session:
            scope = Scope(Workspaces(session).get(workspace).id)
            given = limits_of(requests_per_minute=requests, tokens_per_minute=tokens)
            row = Keys(session, scope).limit(key_id, **given)
            audited(session, scope.workspace_id, "keys limit", key_id)
    if as_json:
        say_json(people.key(row).model_dump(mode="json"))
    else:
        shown = (row.requests_per_minute, row.tokens_per_minute)
        of_requests, of_tokens = ("by the settings" if most is None else most or "any" for most in shown)
        say(f"{row.id} ({row.name}): requests in a minute: {of_requests}; tokens: {of_tokens}")


def run_revoke(settings: Settings, workspace: str, key_id: str, *, as_json: bool) -> None:
    """End a key. Raises NotFound, Unmigrated, Unavailable."""
    with opened(settings) as db:
        check(db)
        with db.session() as session:
            scope = Scope(Workspaces(session).get(workspace).id)
            row = Keys(session, scope).revoke(key_id)
            audited(session, scope.workspace_id, "keys revoke", key_id)
    if as_json:
        say_json(people.key(row).model_dump(mode="json"))
    else:
        say(f"{row.id} ({row.name}) is worthless now.")


def run_list(settings: Settings, workspace: str, *, as_json: bool) -> None:
    """Print all keys of a workspace. Raises NotFound, Unmigrated, Unavailable."""
    with opened(settings) as db:
        check(db)
        with db.read() as session:
            rows = Keys(session, Scope(Workspaces(session).get(workspace).id)).list()
    if as_json:
        say_json({"keys": [people.key(row).model_dump(mode="json") for row in rows]})
        return
    for row in rows:
        what = f"{row.role}{', operator' if row.operator else ''}"
        say(f"{row.id}  {', '.join(row.prefixes) or '-'}  {what}  {row.name}  ({_state(row)})")
    if not rows:
        say("There are no keys.")


def _state(row: KeyRow) -> str:
    if row.revoked_at is not None:
        return f"revoked {_day(row.revoked_at)}"
    if row.expires_at is not None and row.expires_at <= utc_now():
        return f"expired {_day(row.expires_at)}"
    until = "" if row.expires_at is None else f", until {_day(row.expires_at)}"
    used = "never used" if row.last_used_at is None else f"last used {_day(row.last_used_at)}"
    return used + until


def _day(time: datetime) -> str:
    return time.date().isoformat()


def _show(made: NewKey, *, as_json: bool) -> None:
    if as_json:
        say_json(people.key_with_secret(made.row, made.text).model_dump(mode="json"))
        return
    say(made.text)
    warn(f"this is {made.row.id}; it can't be shown again")
