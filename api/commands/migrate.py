"""`longleaf migrate`: the schema, brought up to date."""

from __future__ import annotations

from api.terminal import say, say_json
from ingest.blobs import refuse_foreign_folder
from rag.settings import Settings
from rag.store.migrate import current_revision, head_revision, upgrade
from rag.store.opening import open_database


def run(settings: Settings, *, as_json: bool) -> None:
    """Migrate and say from where to where. Raises Unmigrated, Unavailable, BadDatabaseUrl."""
    database = open_database(settings)
    try:
        refuse_foreign_folder(database, settings)
        before = current_revision(database)
        upgrade(database)
    finally:
        database.dispose()
    after = head_revision()
    shown = database.url.render_as_string(hide_password=True)
    if as_json:
        say_json({"database": shown, "from": before, "to": after})
    elif before == after:
        say(f"{shown} has schema {after} already.")
    else:
        say(f"{shown}: {before or 'empty'} → {after}.")
