"""The audit log: chains that show what was changed, added or taken out."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import text

from rag.store.repositories import AuditLog, Scope
from rag.store.repositories.audit import GENESIS, AuditBroken, Done
from rag.store.session import Database

OURS, THEIRS = Scope("ws_1"), Scope("ws_2")


def _write(database: Database, count: int, scope: Scope = OURS) -> None:
    for number in range(count):
        with database.session() as session:
            done = Done("key_1", "DELETE /documents/{id}", f"doc_{number}", 204, "r")
            AuditLog(session, scope).add(done)


def _verify_all(database: Database) -> None:
    with database.read() as session:
        for each in AuditLog.chains(session):
            AuditLog(session, Scope(each)).verify()


def test_what_was_written_is_read_again_in_order_and_holds(database: Database) -> None:
    with database.read() as session:
        assert AuditLog(session, OURS).head() == (0, GENESIS)
        assert AuditLog(session, OURS).verify() == 0
        assert AuditLog.chains(session) == []
    _write(database, 3)
    with database.session() as session:
        AuditLog(session, OURS).add(Done("\u00fcber", "x" * 200, "\u2028 \U0001f600" * 400, 0))
    _write(database, 2, THEIRS)
    with database.read() as session:
        log = AuditLog(session, OURS)
        rows = list(log.entries())
        assert [row.seq for row in rows] == [1, 2, 3, 4]
        assert [row.previous for row in rows] == [GENESIS, *(row.hash for row in rows[:3])]
        assert list(log.entries(1, 2)) == rows[1:3]
        assert (rows[3].done.action, rows[3].done.target) == ("x" * 100, "\u2028 \U0001f600" * 400)
        assert log.verify() == 4
        assert log.verify((2, rows[1].hash)) == 4
        assert log.head() == (4, rows[3].hash)
        assert [row.seq for row in AuditLog(session, THEIRS).entries()] == [1, 2]
        assert AuditLog.chains(session) == ["ws_1", "ws_2"]


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE audit_log SET actor = 'key_2' WHERE seq = 2",
        "UPDATE audit_log SET at = '2026-01-01 00:00:00' WHERE seq = 3",
        "UPDATE audit_log SET status = 403 WHERE seq = 1",
        "UPDATE audit_log SET workspace_id = 'ws_2' WHERE workspace_id = 'ws_1'",
        "DELETE FROM audit_log WHERE seq = 1",
        "DELETE FROM audit_log WHERE seq = 2",
        "DELETE FROM audit_log WHERE seq = 3",
        "DELETE FROM audit_log",
        "DELETE FROM audit_chains",
        "UPDATE audit_chains SET seq = 2",
        "INSERT INTO audit_log (workspace_id, seq, at, actor, action, target, status, request_id, hash) "
        "SELECT workspace_id, 4, at, actor, action, target, status, request_id, hash FROM audit_log "
        "WHERE seq = 3",
    ],
)
def test_harm_is_seen(database: Database, harm: str) -> None:
    _write(database, 3)
    with database.session() as session:
        session.execute(text(harm))
    with pytest.raises(AuditBroken):
        _verify_all(database)


def test_a_log_that_was_written_anew_is_seen_by_who_knows_an_entry(database: Database) -> None:
    _write(database, 3)
    with database.read() as session:
        known = AuditLog(session, OURS).head()
    with database.session() as session:
        session.execute(text("DELETE FROM audit_log"))
        session.execute(text("DELETE FROM audit_chains"))
    _write(database, 2)
    with database.read() as session:
        assert AuditLog(session, OURS).verify() == 2
        with pytest.raises(AuditBroken, match="entry 3 was known"):
            AuditLog(session, OURS).verify(known)
    _write(database, 2)
    with database.read() as session, pytest.raises(AuditBroken, match="entry 3 of ws_1 is another one"):
        AuditLog(session, OURS).verify(known)


def test_those_who_write_at_once_make_one_chain(database: Database) -> None:
    threads = [threading.Thread(target=_write, args=(database, 5)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as session:
        assert AuditLog(session, OURS).verify() == 20


def test_an_entry_goes_with_the_transaction_that_it_tells_of(database: Database) -> None:
    def fails() -> None:
        with database.session() as session:
            AuditLog(session, OURS).add(Done("key_1", "keys create"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    with database.read() as session:
        assert AuditLog(session, OURS).verify() == 0
