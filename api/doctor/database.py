"""Checks of the database: is it there, the right one, migrated, and does its clock agree with ours?"""

from __future__ import annotations

import sqlite3
from datetime import datetime

from sqlalchemy import func, select, text

from api.doctor.finding import Case, Finding, failure, ok, skipped, warning
from ingest.blobs import refuse_foreign_folder
from rag.errors import LongleafError
from rag.store.migrate import check, current_revision, head_revision, known_revisions
from rag.store.scope import utc_now
from rag.store.session import BadDatabaseUrl, normalise_url
from rag.store.tables import Change, Utc

LEAST_SQLITE = (3, 35, 0)
"""RETURNING came with it."""
LEAST_POSTGRES = 13
TESTED_POSTGRES = 15
"""Of the compose file."""
SKEW_SECONDS = 5.0
LEASE_SECONDS = 30.0
"""A clock that is further off sees leases as run out that are not."""


def database(case: Case) -> Finding:
    """Whether the database answers."""
    if case.database_error:
        where = "" if case.is_sqlite else "start PostgreSQL, or see host, port, user and password of "
        remedy = f"{where}LONGLEAF_DATABASE_URL" if where else "restore a backup of it: longleaf restore DIR"
        return failure(f"{_shown(case)}: {case.database_error}", remedy)
    if case.db is None:
        return ok(f"{_shown(case)} is not there yet; it is made when it is first used")
    return ok(f"{_shown(case)} answers")


def database_version(case: Case) -> Finding:
    """Whether SQLite, or the server, is new enough."""
    if case.is_sqlite:
        if sqlite3.sqlite_version_info < LEAST_SQLITE:
            needed = ".".join(map(str, LEAST_SQLITE))
            return failure(
                f"SQLite is {sqlite3.sqlite_version}, needed is {needed}",
                "use a Python that was built with a newer SQLite, or PostgreSQL",
            )
        return ok(f"SQLite {sqlite3.sqlite_version}")
    if case.db is None:
        return skipped("the database does not answer")
    with case.db.read() as session:
        number = int(session.scalar(text("SHOW server_version_num")) or 0) // 10_000
    if number < LEAST_POSTGRES:
        return failure(f"PostgreSQL is {number}, needed is {LEAST_POSTGRES}", "upgrade the server")
    if number < TESTED_POSTGRES:
        return warning(
            f"PostgreSQL is {number}, older than what is tested", f"upgrade to {TESTED_POSTGRES} or later"
        )
    return ok(f"PostgreSQL {number}")


def schema(case: Case) -> Finding:
    """Whether the schema is the one that this version needs."""
    if case.db is None:
        return skipped("there is no database that answers")
    try:
        check(case.db)
    except LongleafError as error:
        here = current_revision(case.db)
        if here is not None and here not in known_revisions():
            return failure(error.detail, "install the Longleaf that this database was migrated by")
        if here is None and "no Longleaf" in error.detail:
            return failure(error.detail, "name a database of its own in LONGLEAF_DATABASE_URL")
        return failure(error.detail, "longleaf backup DIR with the version before, then longleaf migrate")
    return ok(f"schema {head_revision()}")


def store(case: Case) -> Finding:
    """Whether the originals in the data folder are this database's."""
    if case.database_error:
        return skipped("the database does not answer")
    originals = case.settings.data_dir / "blobs"
    if case.db is None:  # a file that is not there, and that asking would make
        if any(originals.glob("doc_*")):
            return failure(
                f"{originals} holds documents, and their database {case.database_file} is missing",
                "put it back, restore a backup, or name the right one in LONGLEAF_DATABASE_URL",
            )
        return ok("there is neither database nor documents yet")
    try:
        refuse_foreign_folder(case.db, case.settings)
    except LongleafError as error:
        found, _, remedy = error.detail.partition("; ")
        return failure(found, remedy)
    return ok("the data folder is this database's")


def clock(case: Case) -> Finding:
    """Whether our clock and the database's agree, and neither was set back behind what is stored."""
    if case.store is None:
        return skipped("there is no database to compare with")
    remedy = "let both machines keep time: timedatectl set-ntp true, or chrony"
    with case.store.read() as session:
        before = utc_now()
        if case.store.dialect == "postgresql":
            there: datetime = session.scalars(select(func.clock_timestamp(type_=Utc()))).one()
            after = utc_now()
            off = (there - (before + (after - before) / 2)).total_seconds()
            if abs(off) > SKEW_SECONDS:
                found = f"the database's clock is {off:+.0f} s from this machine's"
                return (failure if abs(off) > LEASE_SECONDS else warning)(found, remedy)
        newest = session.scalar(select(func.max(Change.created_at)))
    ahead = 0.0 if newest is None else (newest - utc_now()).total_seconds()
    if ahead > SKEW_SECONDS:
        return warning(
            f"the newest change was stored {ahead:.0f} s ahead of this clock, which was set back since",
            remedy,
        )
    return ok("the clock agrees with the database")


def _shown(case: Case) -> str:
    try:
        return normalise_url(case.settings.resolved_database_url).render_as_string(hide_password=True)
    except BadDatabaseUrl:
        return "LONGLEAF_DATABASE_URL"
