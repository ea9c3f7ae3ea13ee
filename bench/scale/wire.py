"""What goes over the wire to PostgreSQL: statements as it runs them, and how often somebody waits for it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from psycopg.pq import Trace
from sqlalchemy import event

from rag.store.session import Database


@dataclass(frozen=True)
class Traffic:
    """Counted between two moments.

    `statements` are executions, so that one which is sent with two thousand rows of values is two thousand;
    begin and commit are among them. `round_trips` is how often an answer was waited for. `commits` are
    transactions that wrote or read in more than one statement and came to their end.
    """

    statements: int = 0
    round_trips: int = 0
    commits: int = 0

    def __sub__(self, other: Traffic) -> Traffic:
        return Traffic(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(self)))


class Wire:
    """Every message of the connections that a database opens from now on, by libpq's own trace."""

    def __init__(self, db: Database) -> None:
        """Raises ValueError for a database that is not reached over a wire."""
        if db.dialect != "postgresql":
            raise ValueError(f"{db.dialect} is in this process; only PostgreSQL has messages to count")
        db.dispose()
        self._descriptor, self._path = tempfile.mkstemp(prefix="longleaf-wire-")
        os.unlink(self._path)
        self._read = 0
        self._seen = Traffic()
        self.log: list[str] = []
        """The statements in the order in which they were sent, but for those that were prepared before."""
        event.listen(db.engine, "connect", self._trace)

    def _trace(self, connection: Any, _record: object) -> None:
        connection.pgconn.trace(os.dup(self._descriptor))
        connection.pgconn.set_trace_flags(Trace.SUPPRESS_TIMESTAMPS)

    def traffic(self) -> Traffic:
        """All until now."""
        size = os.fstat(self._descriptor).st_size
        lines = os.pread(self._descriptor, size - self._read, self._read).split(b"\n")
        self._read = size
        found = [line.split(b"\t") for line in lines if line]
        sent = [line for line in found if line[0] == b"F"]
        texts = [line[3].decode(errors="replace") for line in sent if line[2] in {b"Query", b"Parse"}]
        self.log += texts
        self._seen = Traffic(
            self._seen.statements + sum(line[2] in {b"Execute", b"Query"} for line in sent),
            self._seen.round_trips + sum(line[::2][:2] == [b"B", b"ReadyForQuery"] for line in found),
            self._seen.commits + sum('"COMMIT"' in each for each in texts),
        )
        return self._seen

    def of(self, action: Callable[[], object]) -> Traffic:
        """What an action sends and waits for."""
        before = self.traffic()
        action()
        return self.traffic() - before

    def close(self) -> None:
        """Let go of the trace; connections that are still open write into nothing that anybody sees."""
        os.close(self._descriptor)
