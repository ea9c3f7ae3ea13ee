"""Allowances that several processes share in PostgreSQL."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from rag.rates import Allowance
from rag.store.repositories.rates import SharedRates
from rag.store.session import Database

REQUESTS = Allowance("key-requests", "key_1", "requests", 20)
TOKENS = Allowance("key-tokens", "key_1", "tokens", 60_000)


@pytest.fixture
def two(postgres_server: Any) -> Iterator[list[Database]]:
    """The same store, opened by two processes."""
    name = f"test_{secrets.token_hex(6)}"
    url = postgres_server.create(name)
    opened = [Database(url), Database(url)]
    yield opened
    for each in opened:
        each.dispose()
    postgres_server.drop(name)


def test_processes_that_ask_at_once_let_in_as_many_as_one(two: list[Database]) -> None:
    began, let_in = time.monotonic(), []

    def ask(db: Database) -> None:
        rates = SharedRates(db)
        for _ in range(10):
            standings = rates.admit([REQUESTS, TOKENS])
            let_in.append(not any(each.wait for each in standings))

    threads = [threading.Thread(target=ask, args=(two[number % 2],)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    flowed_in = (time.monotonic() - began) * REQUESTS.most / 60
    assert len(let_in) == 60
    assert 20 <= sum(let_in) <= 20 + flowed_in + 1


def test_tokens_that_one_process_used_are_gone_for_the_other(two: list[Database]) -> None:
    one, other = SharedRates(two[0]), SharedRates(two[1])
    assert not one.admit([TOKENS])[0].wait
    one.charge([REQUESTS, TOKENS], 180_000)
    [refused] = other.admit([TOKENS])
    assert 110 < refused.wait <= 120.1
    with two[0].session() as session:
        session.execute(text("UPDATE rate_buckets SET at = at - 121000000"))
    assert not other.admit([TOKENS])[0].wait


def test_what_is_left_need_not_reach_the_disk(two: list[Database]) -> None:
    with two[0].read() as session:
        kind = session.scalar(text("SELECT relpersistence FROM pg_class WHERE relname = 'rate_buckets'"))
    assert kind == "u"
