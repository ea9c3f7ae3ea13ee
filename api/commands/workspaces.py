"""`longleaf workspaces`: the tenants."""

from __future__ import annotations

from collections.abc import Mapping

from api import people
from api.commands.session import audited, limits_of, opened
from api.terminal import say, say_json
from rag.settings import Settings
from rag.store.migrate import check
from rag.store.repositories import Workspaces
from rag.store.repositories.audit import SERVICE


def run_create(settings: Settings, name: str, *, as_json: bool) -> None:
    """Make a workspace. Raises InvalidRequest, Conflict, Unmigrated, Unavailable."""
    with opened(settings) as db:
        check(db)
        with db.session() as session:
            row = Workspaces(session).create(name)
            audited(session, SERVICE, "workspaces create", row.id)
    if as_json:
        say_json(people.workspace(row).model_dump(mode="json"))
    else:
        say(f"{row.name} is {row.id}; longleaf keys create NAME --workspace {row.id} makes its first key.")


def run_limit(settings: Settings, name: str, given: Mapping[str, int | None], *, as_json: bool) -> None:
    """Set limits of a workspace. Raises NotFound, Unmigrated, Unavailable."""
    with opened(settings) as db:
        check(db)
        with db.session() as session:
            row = Workspaces(session).limit(name, **limits_of(**given))
            audited(session, SERVICE, "workspaces limit", row.id)
    if as_json:
        say_json(people.workspace(row).model_dump(mode="json"))
        return
    for limit in given:
        most = getattr(row, limit)
        say(f"{limit}: {'by the settings' if most is None else most or 'any'}")


def run_list(settings: Settings, *, as_json: bool) -> None:
    """Print all workspaces. Raises Unmigrated, Unavailable."""
    with opened(settings) as db:
        check(db)
        with db.read() as session:
            rows = Workspaces(session).list()
    if as_json:
        say_json({"workspaces": [people.workspace(row).model_dump(mode="json") for row in rows]})
        return
    for row in rows:
        say(f"{row.id}  {row.name}")
