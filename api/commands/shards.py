"""`longleaf shards`: collections cut into shards on a cluster, and how these are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from api.commands.session import audited, opened
from api.terminal import say, say_heading, say_json
from rag.errors import InvalidRequest
from rag.settings import Settings
from rag.store.migrate import check
from rag.store.repositories import Collections, Layouts
from rag.store.scope import DEFAULT_SCOPE

if TYPE_CHECKING:
    from api.cluster.shard_laying import Laying, ReplicaStatus
    from rag.shards.placement import Layout


@contextmanager
def laying(settings: Settings, collection: str, action: str, *target: str) -> Iterator[Laying]:
    """The shards of a collection, for an operation that is entered into the audit log once it is done.

    Raises NotFound, InvalidRequest (`bad_cluster_address`, `needs_postgresql`), Unmigrated, Unavailable.
    """
    with opened(settings) as db:
        check(db)
        if db.dialect != "postgresql":
            raise InvalidRequest(
                "shards need a PostgreSQL that every machine of the cluster reaches; this store is in "
                f"{db.dialect}: see LONGLEAF_DATABASE_URL",
                code="needs_postgresql",
            )
        with db.read() as session:
            row = Collections(session, DEFAULT_SCOPE).by_name(collection)
        from api.cluster.joining import join  # noqa: PLC0415
        from api.cluster.shard_laying import Laying  # noqa: PLC0415

        yield Laying(db, settings, join(settings.cluster), row)
        if action:
            with db.session() as session:
                audited(session, row.workspace_id, action, row.id, *target)


def change(
    settings: Settings,
    collection: str,
    action: str,
    does: Callable[[Laying], Layout | None],
    *,
    as_json: bool,
) -> None:
    """Do one operation and show what came of it. Raises as `laying`, and Conflict (`layout_changed`)."""
    with laying(settings, collection, action) as shards:
        layout = does(shards)
        found = shards.status()
    if layout is None:
        say_json({"shards": []}) if as_json else say(f"{collection!r} is searched as a whole again.")
        return
    show({collection: found}, as_json=as_json)


def status(settings: Settings, *, as_json: bool) -> None:
    """Show every replica of every collection that is in shards. Raises as `laying`."""
    with opened(settings) as db:
        check(db)
        with db.read() as session:
            laid = Layouts(session, DEFAULT_SCOPE).all()
            rows = [Collections(session, DEFAULT_SCOPE).get(key) for key in laid]
    found = {}
    for row in rows:
        with laying(settings, row.name, "") as shards:
            found[row.name] = shards.status()
    show(found, as_json=as_json)


def show(found: dict[str, list[ReplicaStatus]], *, as_json: bool) -> None:
    """Print replicas by collection."""
    if as_json:
        say_json({"collections": {name: [_shown(each) for each in those] for name, those in found.items()}})
        return
    if not found:
        say("No collection is in shards.")
    for name, those in found.items():
        say_heading(name)
        for each in those:
            held = "" if each.holding is None else f", {each.holding.chunks:,} chunks, seq {each.holding.seq}"
            node = "" if each.node is None else f" on {each.node[:8]}"
            slots = f"slots {each.shard.first}-{each.shard.end - 1}"
            say(f"   shard {each.shard.id} ({slots}), replica {each.replica}: {each.state}{node}{held}")


def _shown(each: ReplicaStatus) -> dict[str, object]:
    holding = each.holding
    return {
        "shard": each.shard.id,
        "first_slot": each.shard.first,
        "last_slot": each.shard.end - 1,
        "replica": each.replica,
        "state": each.state,
        "node": each.node,
        "documents": None if holding is None else holding.documents,
        "chunks": None if holding is None else holding.chunks,
        "seq": None if holding is None else holding.seq,
    }
