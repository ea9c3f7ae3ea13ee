"""The audit log: entries are added at its end, read in order, and checked against each other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from rag.errors import LongleafError
from rag.store.audit import AuditEntry, AuditState
from rag.store.scope import utc_now

GENESIS = "0" * 64
"""The hash before the first entry."""
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Done:
    """What somebody did: a route or verb, the ids that it was done to, and the HTTP status, 0 for a verb."""

    workspace_id: str
    actor: str
    action: str
    target: str = ""
    status: int = 0
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """An entry: its number from 1, its time, what was done, and the hash over that and the hash before."""

    seq: int
    at: datetime
    done: Done
    hash: str


class AuditBroken(LongleafError):
    """The log is not what was once written; the message names the first entry that shows it."""

    status = 409
    default_code = "audit_broken"


class AuditLog:
    """The log of the whole store."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, done: Done) -> AuditRow:
        """Write an entry at the end; others who write one wait until this transaction ends."""
        state = self._session.scalars(
            select(AuditState)
            .where(AuditState.id == 1)
            .with_for_update()
            .execution_options(populate_existing=True)
        ).one()
        state.seq += 1
        row = AuditRow(state.seq, utc_now(), _cut(done), "")
        state.hash = link(state.hash, row)
        self._session.add(
            AuditEntry(
                seq=row.seq,
                at=row.at,
                workspace_id=row.done.workspace_id,
                actor=row.done.actor,
                action=row.done.action,
                target=row.done.target,
                status=row.done.status,
                request_id=row.done.request_id,
                hash=state.hash,
            )
        )
        self._session.flush()
        return AuditRow(row.seq, row.at, row.done, state.hash)

    def head(self) -> tuple[int, str]:
        """Number and hash of the last entry; 0 and `GENESIS` before the first."""
        state = self._session.scalars(select(AuditState)).one()
        return state.seq, state.hash

    def entries(self, after: int = 0, workspace_id: str | None = None) -> Iterator[AuditRow]:
        """Entries with a number above `after`, in order; of one workspace or all."""
        query = select(AuditEntry).where(AuditEntry.seq > after).order_by(AuditEntry.seq)
        if workspace_id is not None:
            query = query.where(AuditEntry.workspace_id == workspace_id)
        for row in self._session.scalars(query.execution_options(yield_per=_BATCH)):
            yield _record(row)

    def verify(self, known: tuple[int, str] | None = None) -> int:
        """Check the whole chain and return how many entries it has.

        With `known`, number and hash of an entry as an export once showed them, what was written up to there
        can't have been written anew. Raises AuditBroken.
        """
        seq, before = 0, GENESIS
        for row in self.entries():
            if row.seq != seq + 1:
                raise AuditBroken(f"entry {seq + 1} is missing: entry {row.seq} follows on {seq}")
            seq, before = row.seq, check_link(before, row)
            if known is not None and known[0] == seq and known[1] != before:
                raise AuditBroken(f"entry {seq} is another one than was known: its hash is {before}")
        if (seq, before) != self.head():
            raise AuditBroken(f"the log ends with entry {seq}; entries after it are missing")
        if known is not None and known[0] > seq:
            raise AuditBroken(f"the log ends with entry {seq}, and entry {known[0]} was known")
        return seq


def link(before: str, row: AuditRow) -> str:
    """The hash of an entry that follows on the one with the hash `before`."""
    done = row.done
    told = [
        before,
        row.seq,
        row.at.astimezone(UTC).isoformat(timespec="microseconds"),
        *(done.workspace_id, done.actor, done.action, done.target, done.status, done.request_id),
    ]
    return hashlib.sha256(json.dumps(told, separators=(",", ":")).encode()).hexdigest()


def check_link(before: str, row: AuditRow) -> str:
    """The hash of an entry, once it is what its content and the hash before make it. Raises AuditBroken."""
    if link(before, row) != row.hash:
        raise AuditBroken(f"entry {row.seq} was changed after it was written, or the one before it was")
    return row.hash


def _cut(done: Done) -> Done:
    return Done(
        done.workspace_id[:40],
        done.actor[:40],
        done.action[:100],
        done.target[:500],
        done.status,
        done.request_id[:64],
    )


def _record(row: AuditEntry) -> AuditRow:
    done = Done(row.workspace_id, row.actor, row.action, row.target, row.status, row.request_id)
    return AuditRow(row.seq, row.at, done, row.hash)
