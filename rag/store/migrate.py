"""Which schema the database has, which one this code needs, and the way from one to the other."""

from __future__ import annotations

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

import migrations
from rag.errors import Unavailable
from rag.store.session import Database

ADVISORY_LOCK = 0x4C4F4E474C454146
"""Key of the lock under which PostgreSQL is migrated: `LONGLEAF` in ASCII."""

VERSION_TABLE = "alembic_version"

# It tells of every look at the version, several lines each.
logging.getLogger("alembic.runtime.migration").setLevel(logging.WARNING)


class Unmigrated(Unavailable):
    """The schema is not the one that this code needs; the message names the command that helps."""

    default_code = "unmigrated"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    return config


def head_revision() -> str:
    """The revision that this code needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise RuntimeError("the package holds no migration")
    return head


def _revision_of(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _is_empty(connection: Connection) -> bool:
    return not [name for name in inspect(connection).get_table_names() if name != VERSION_TABLE]


def current_revision(db: Database) -> str | None:
    """The revision of the database; None for one that was never migrated."""
    with db.read() as session:
        return _revision_of(session.connection())


def known_revisions() -> set[str]:
    """Every revision that this code can migrate from and to."""
    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def move_to(connection: Connection, revision: str, *, down: bool = False) -> None:
    """Bring the schema to `revision` inside the transaction of `connection`, upwards unless `down`."""
    config = _config()
    config.attributes["connection"] = connection
    (command.downgrade if down else command.upgrade)(config, revision)


def refuse_foreign(connection: Connection) -> None:
    """Raise Unmigrated for a database that is somebody else's, or newer than this code."""
    revision = _revision_of(connection)
    if revision is None:
        if not _is_empty(connection):
            raise Unmigrated(
                "the database holds tables but no Longleaf schema; name another one in LONGLEAF_DATABASE_URL"
            )
        return
    if revision not in known_revisions():
        raise Unmigrated(
            f"the database has schema {revision}, which is newer than this Longleaf knows "
            f"(it needs {head_revision()}); install the newer Longleaf"
        )


def upgrade(db: Database) -> None:
    """Bring the schema to `head_revision()`, in one transaction: a failure leaves the old one.

    Processes that do it at the same time wait for each other. Raises Unmigrated for a database that is
    somebody else's or newer than this code.
    """
    with db.session() as session:  # on SQLite BEGIN IMMEDIATE, so the second process waits here
        connection = session.connection()
        if db.dialect == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        refuse_foreign(connection)
        move_to(connection, "head")


def check(db: Database) -> None:
    """Raise Unmigrated, with the command to run, unless the schema is exactly the one needed."""
    with db.read() as session:
        connection = session.connection()
        refuse_foreign(connection)
        revision = _revision_of(connection)
    head = head_revision()
    if revision != head:
        found = f"schema {revision}" if revision else "no schema"
        raise Unmigrated(f"the database has {found}, this Longleaf needs {head}; run: longleaf migrate")


def prepare_for_serving(db: Database) -> None:
    """Migrate an empty database or SQLite by itself; otherwise demand the schema needed.

    A PostgreSQL with data is a team's: its keeper decides when it is migrated, and backs it up before.
    Raises Unmigrated or, for a server that does not answer, Unavailable.
    """
    with db.read() as session:
        connection = session.connection()
        refuse_foreign(connection)
        revision, empty = _revision_of(connection), _is_empty(connection)
    if revision != head_revision() and (empty or db.dialect == "sqlite"):
        upgrade(db)
    check(db)
