"""How often PostgreSQL is asked for a question and a document: bounds, however many chunks there are."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from bench import statements
from bench.scale.wire import Traffic, Wire
from ingest.embedding import BATCH, WINDOW
from rag.store.session import Database
from tests.conftest import PostgresServer

if TYPE_CHECKING:
    from model import Engine
    from rag.embedders import Embedder

pytestmark = pytest.mark.timeout(1200)

MOST = {
    "upload": Traffic(16, 16, 1),
    "search": Traffic(2, 2, 0),
    "question, quotes": Traffic(42, 34, 9),
    "delete": Traffic(18, 18, 1),
}
"""At most so many statements and round trips, and exactly so many transactions of several statements."""
OPENING = 10
"""Messages more where the pool had to open a connection meanwhile."""
OF_A_DOCUMENT = 78
OF_A_BATCH = 10
"""Statements for each `BATCH` of vectors, which is a transaction of its own: progress survives a crash."""
OF_A_WINDOW = 4


@pytest.fixture(scope="module")
def lines(
    postgres_server: PostgresServer,
    embedder: Embedder,
    engine: Engine,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[list[statements.Line]]:
    name = f"counted_{secrets.token_hex(6)}"
    database = Database(postgres_server.create(name))
    house = statements.House(Path(tmp_path_factory.mktemp("counted")), database, embedder, engine)
    yield list(statements.count(house))
    database.dispose()
    postgres_server.drop(name)


def test_a_question_and_an_upload_and_a_deletion_take_as_many_statements_whatever_there_is(
    lines: list[statements.Line],
) -> None:
    for line in lines:
        if line.work in MOST:
            most = MOST[line.work]
            assert line.traffic.statements <= most.statements, line
            assert line.traffic.round_trips <= most.round_trips + OPENING, line
            assert line.traffic.commits <= most.commits, line


def test_a_document_takes_as_many_as_its_batches_of_vectors_not_as_its_chunks(
    lines: list[statements.Line],
) -> None:
    for line in lines:
        if line.work == "read and publish":
            batches, windows = -(-line.chunks // BATCH) + 1, line.chunks // WINDOW + 1
            most = OF_A_DOCUMENT + OF_A_BATCH * batches + OF_A_WINDOW * windows
            assert line.traffic.statements <= most, line
            assert line.traffic.round_trips <= most + OPENING, line
    found = {line.chunks: line.traffic for line in lines if line.work == "read and publish"}
    assert len(found) == len(statements.CHUNKS)
    # ten chunks more in the same batch cost nothing more, and that is what makes the bound one
    assert found[10].statements == found[1].statements


def test_the_wire_counts_each_row_that_is_sent_as_a_statement_of_its_own(
    postgres_server: PostgresServer,
) -> None:
    name = f"wire_{secrets.token_hex(6)}"
    database = Database(postgres_server.create(name))
    wire = Wire(database)

    def send(rows: int) -> None:
        statement = text("UPDATE store_state SET change_seq = change_seq + :by")
        with database.session() as session:
            session.connection().execute(statement, [{"by": 1}] * rows)

    send(1)
    one, many = wire.of(lambda: send(1)), wire.of(lambda: send(50))
    assert (one.statements, one.commits) == (3, 1)
    assert many.statements == 52
    wire.close()
    database.dispose()
    postgres_server.drop(name)


def test_the_wire_is_of_postgresql_alone(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="only PostgreSQL"):
        Wire(Database(f"sqlite:///{tmp_path / 'x.db'}"))
