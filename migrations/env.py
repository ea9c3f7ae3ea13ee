"""Runs migrations on the connection that was handed over, or on the database of the settings."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from rag.settings import Settings
from rag.store.opening import open_database
from rag.store.tables import Base


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        # SQLite can roll back DDL; Alembic assumes that its driver commits behind our back, ours does not.
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if isinstance(given, Connection):
    migrate(given)
else:
    database = open_database(Settings())
    with database.session() as session:
        migrate(session.connection())
