"""Checks of what PostgreSQL has beside the schema: connections for all, and replicas that follow."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api.doctor.finding import Case, Finding, failure, ok, skipped, warning
from rag.store.opening import open_database
from rag.store.replicas import Replica

FAR_BEHIND = 100
"""Changes that a replica may lack before that is trouble, not the moment."""

_CONNECTIONS = text(
    "SELECT (SELECT sum(setting::int) FILTER (WHERE name = 'max_connections') "
    "- sum(setting::int) FILTER (WHERE name <> 'max_connections') FROM pg_settings WHERE name IN "
    "('max_connections', 'superuser_reserved_connections', 'reserved_connections')), "
    "(SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user), "
    "(SELECT datconnlimit FROM pg_database WHERE datname = current_database()), "
    "(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')"
)


def connections(case: Case) -> Finding:
    """Whether PostgreSQL has as many connections as this process may want."""
    if case.is_sqlite:
        return ok("SQLite needs no connections")
    if case.db is None:
        return skipped("the database does not answer")
    with case.db.glance() as session:
        server, role, database, taken = session.execute(_CONNECTIONS).one()
    most = min(limit for limit in (server, role, database) if limit is not None and limit >= 0)
    kept = case.settings.database_pool
    wanted = kept + case.settings.database_pool_extra
    found = f"PostgreSQL has {most} connections, {taken} are taken; a process may want {wanted}"
    remedy = (
        "raise max_connections (or the limit of the user or the database), put a pooler before it, or lower "
        "LONGLEAF_DATABASE_POOL and LONGLEAF_DATABASE_POOL_EXTRA"
    )
    if most < kept:
        return failure(f"{found}, {kept} of them for good", remedy)
    if most < wanted or taken > 0.9 * server:
        return warning(found, remedy)
    return ok(f"{found}, so there is room for {most // wanted} processes")


def replicas(case: Case) -> Finding:
    """Whether each replica answers, is a standby of this database, and follows it."""
    if not case.settings.database_replica_url:
        return ok("there are no replicas")
    if case.store is None:
        return skipped("there is no database to compare with")
    opened = open_database(case.settings)
    try:
        with opened.glance() as session:
            identity, seq = session.execute(text("SELECT identity, change_seq FROM store_state")).one()
        known = [] if opened.replicas is None else opened.replicas.all
        found = [_replica(replica, identity, seq) for replica in known]
    finally:
        opened.dispose()
    worst = next((each for each in found if each.verdict == "failure"), None)
    worst = worst or next((each for each in found if each.verdict == "warning"), None)
    return worst or ok("; ".join(each.found for each in found))


def _replica(replica: Replica, identity: str, seq: int) -> Finding:
    name = replica.name
    try:
        standing, standby = replica.standing(), replica.is_standby()
    except SQLAlchemyError as error:
        return warning(
            f"{name} can't be read: {getattr(error, 'orig', None) or error}",
            "start the standby, or take it out of LONGLEAF_DATABASE_REPLICA_URL; searches read the primary",
        )
    if standing.identity != identity or not standby:
        what = "is no standby" if standing.identity == identity else "holds another store"
        return failure(
            f"{name} {what}", "name a streaming standby of the database in LONGLEAF_DATABASE_REPLICA_URL"
        )
    if seq - standing.seq > FAR_BEHIND:
        return warning(
            f"{name} lacks the last {seq - standing.seq} changes",
            "see pg_stat_replication on the primary, and whether replay is paused; searches read the primary",
        )
    return ok(f"{name} follows")
