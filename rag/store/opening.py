"""The database that the settings name, with its pool and its replicas."""

from __future__ import annotations

from rag.settings import Settings
from rag.store.session import Database, Pool


def open_database(settings: Settings) -> Database:
    """Make the pools, without connecting. Raises BadDatabaseUrl."""
    return Database(
        settings.resolved_database_url, pool=pool_of(settings), replicas=settings.database_replica_url.split()
    )


def pool_of(settings: Settings) -> Pool:
    """How many connections a process takes, and how long it waits for them."""
    return Pool(
        settings.database_pool,
        settings.database_pool_extra,
        settings.database_pool_seconds,
        settings.database_connect_seconds,
        settings.database_pooler,
    )
