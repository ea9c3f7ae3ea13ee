"""`longleaf reembed`: another embedder for collections, built beside the one in use."""

from __future__ import annotations

from api.commands.session import opened
from api.loaders import load_embedder
from api.terminal import progress, say, say_json, warn
from ingest.keeping.reembed import cancel as give_up
from ingest.keeping.reembed import reembed
from rag.errors import InvalidRequest
from rag.settings import Settings
from rag.store.migrate import check
from rag.store.records import CollectionRow
from rag.store.repositories import Collections
from rag.store.scope import DEFAULT_SCOPE
from rag.store.session import Database


def run(settings: Settings, name: str | None, *, named: bool, cancel: bool, as_json: bool) -> None:
    """Embed and exchange, collection by collection; what is done survives a stop.

    Raises InvalidRequest (`embedder_not_named`), NotFound, Unmigrated, Unavailable.
    """
    if not named and not cancel:
        raise InvalidRequest("name the model that is to embed: --embedder MODEL", code="embedder_not_named")
    with opened(settings) as db:
        check(db)
        rows = _collections(db, name)
        if cancel:
            dropped = {row.name: give_up(db, DEFAULT_SCOPE, row.id) for row in rows}
            _show_cancelled(dropped, as_json=as_json)
            return
        embedder = load_embedder(settings)
        made: dict[str, int] = {}
        for row in rows:
            try:
                with progress(row.name) as tell:
                    made[row.name] = reembed(db, settings, DEFAULT_SCOPE, row.id, embedder, on_progress=tell)
            except KeyboardInterrupt:
                warn(f"stopped at {row.name!r}; the same command goes on with it, --cancel gives it up")
                raise
    if as_json:
        say_json({"embedder": embedder.fingerprint, "collections": made})
        return
    for collection, count in made.items():
        say(f"{collection!r} has the vectors of {embedder.fingerprint}; {count:,} chunks were embedded")
    say(f"Start the service with LONGLEAF_EMBEDDER={settings.embedder} from now on.")


def _collections(db: Database, name: str | None) -> list[CollectionRow]:
    with db.read() as session:
        collections = Collections(session, DEFAULT_SCOPE)
        return collections.list() if name is None else [collections.by_name(name)]


def _show_cancelled(dropped: dict[str, int], *, as_json: bool) -> None:
    if as_json:
        say_json({"dropped": dropped})
        return
    for collection, count in dropped.items():
        say(f"{collection!r} keeps its embedder; {count:,} new vectors were dropped")
