"""What a check found, and what it looks at."""

from __future__ import annotations

import sqlite3
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api.loaders import load_embedder
from rag.errors import LongleafError
from rag.settings import Settings
from rag.store.migrate import check
from rag.store.opening import pool_of
from rag.store.session import BadDatabaseUrl, Database, normalise_url

if TYPE_CHECKING:
    from rag.embedders.base import Embedder

Verdict = Literal["ok", "warning", "failure", "skipped"]


@dataclass(frozen=True)
class Finding:
    """`found` says what is so, with its values; `remedy` what to do where that is trouble.

    `skipped` is what could not be looked at, for a trouble that another check names.
    """

    verdict: Verdict
    found: str
    remedy: str = ""

    def as_dict(self, name: str) -> dict[str, Any]:
        """As `--json` shows it."""
        return {"check": name, **asdict(self)}


def ok(found: str) -> Finding:
    """Nothing is wrong."""
    return Finding("ok", found)


def warning(found: str, remedy: str) -> Finding:
    """It works, and not as well or as long as it should."""
    return Finding("warning", found, remedy)


def failure(found: str, remedy: str) -> Finding:
    """Something does not work, or will not."""
    return Finding("failure", found, remedy)


def skipped(found: str) -> Finding:
    """This could not be looked at."""
    return Finding("skipped", found)


class Case:
    """An installation: its settings, and what several checks need, opened once and never written to."""

    def __init__(self, settings: Settings, backup: Path | None = None) -> None:
        self.settings = settings
        self.backup = backup

    @cached_property
    def database_error(self) -> str:
        """Why there is no usable database; empty where there is one, or none yet."""
        try:
            if (db := self._database) is not None:
                with db.read() as session:
                    session.execute(text("SELECT 1"))
                    if db.dialect == "sqlite":
                        session.execute(text("SELECT count(*) FROM sqlite_master"))
        except LongleafError as error:
            return error.detail
        except (SQLAlchemyError, sqlite3.Error) as error:  # a file that is no database, or a damaged one
            return str(getattr(error, "orig", error))
        return ""

    @cached_property
    def db(self) -> Database | None:
        """The database; None where there is none yet or it can't be used."""
        return None if self.database_error else self._database

    @cached_property
    def store(self) -> Database | None:
        """The database where its schema is the one that this version needs, so that rows can be read."""
        try:
            if self.db is not None:
                check(self.db)
                return self.db
        except LongleafError:
            pass
        return None

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is a file. False for an address that can't be understood."""
        try:
            return normalise_url(self.settings.resolved_database_url).get_backend_name() == "sqlite"
        except BadDatabaseUrl:
            return False

    @cached_property
    def database_file(self) -> Path | None:
        """The file of a SQLite database, be it there or not."""
        if not self.is_sqlite:
            return None
        return Path(str(normalise_url(self.settings.resolved_database_url).database))

    @cached_property
    def embedder(self) -> Embedder | LongleafError:
        """The embedder that the settings name, or why it can't be loaded."""
        try:
            return load_embedder(self.settings)
        except LongleafError as error:
            return error

    def close(self) -> None:
        """Let go of the database."""
        if "_database" in vars(self) and self._database is not None:
            self._database.dispose()

    @cached_property
    def _database(self) -> Database | None:
        file = self.database_file
        if file is not None and not file.is_file():
            return None  # opening it would make it
        return Database(
            self.settings.resolved_database_url, pool=replace(pool_of(self.settings), kept=1, extra=2)
        )
