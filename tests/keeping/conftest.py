"""Stores to keep: what tests of ingest use to fill one is used here too."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rag.settings import Settings
from rag.store.session import Database

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "ingest"))


@pytest.fixture
def desk(database: Database, settings: Settings):
    """Uploads into one collection; runs once on each kind of database."""
    from ingesting import Desk  # noqa: PLC0415

    return Desk(database, settings)


@pytest.fixture
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], tuple]]:
    """Makes empty stores of either kind, without a schema: gives database and settings."""
    opened: list[Database] = []
    dropped: list[str] = []

    def make(kind: str) -> tuple[Database, Settings]:
        folder = tmp_path / f"store_{len(opened)}"
        folder.mkdir()
        if kind == "sqlite":
            url = f"sqlite:///{folder / 'longleaf.db'}"
        else:
            name = f"keep_{secrets.token_hex(6)}"
            url = request.getfixturevalue("postgres_server").create(name, template="template1")
            dropped.append(name)
        opened.append(Database(url))
        return opened[-1], Settings(_env_file=None, data_dir=folder, database_url=url)

    yield make
    for database in opened:
        database.dispose()
    for name in dropped:
        request.getfixturevalue("postgres_server").drop(name)
