"""The audit log: entries are added at its end, read in order, and checked against each other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sqlalchemy import select, union
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from rag.errors import LongleafError
from rag.store.audit import AuditChain, AuditEntry
from rag.store.scope import Repository, utc_now

GENESIS = "0" * 64
"""The hash before the first entry."""
SERVICE = "service"
"""Stands for a workspace where something is done to the whole service: its users and workspaces."""
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Done:
    """What somebody did: a route or verb, the ids that it was done to, and the HTTP status, 0 for a verb."""

    actor: str
    action: str
    target: str = ""
    status: int = 0
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """An entry: its workspace, its number there from 1, its time, what was done, the hash of the entry before
    it, and the one over all this."""

    workspace_id: str
    seq: int
    at: datetime
    done: Done
    previous: str
    hash: str


class AuditBroken(LongleafError):
    """The log is not what was once written; the message names the first entry that shows it."""

    status = 409
    default_code = "audit_broken"


class AuditLog(Repository):
    """The log of one workspace, or with `Scope(SERVICE)` of what belongs to none."""

    @staticmethod
    def chains(session: Session) -> list[str]:
        """Ids of all workspaces that have a log, `SERVICE` among them; for who keeps the store."""
        ids = union(select(AuditChain.workspace_id), select(AuditEntry.workspace_id))
        return sorted(session.scalars(ids))

    def add(self, done: Done) -> AuditRow:
        """Write an entry at the end; others who write one here wait until this transaction ends, so it is the
        last thing that a transaction does."""
        end = self._locked_end()
        end.seq += 1
        row = AuditRow(self._workspace, end.seq, utc_now(), _cut(done), end.hash, "")
        row = replace(row, hash=link(row))
        end.hash = row.hash
        self._session.add(
            AuditEntry(
                workspace_id=row.workspace_id,
                seq=row.seq,
                at=row.at,
                actor=row.done.actor,
                action=row.done.action,
                target=row.done.target,
                status=row.done.status,
                request_id=row.done.request_id,
                hash=row.hash,
            )
        )
        self._session.flush()
        return row

    def head(self) -> tuple[int, str]:
        """Number and hash of the last entry; 0 and `GENESIS` before the first."""
        end = self._session.get(AuditChain, self._workspace, populate_existing=True)
        return (0, GENESIS) if end is None else (end.seq, end.hash)

    def entries(self, after: int = 0, limit: int | None = None) -> Iterator[AuditRow]:
        """Entries with a number above `after`, in order; not more than `limit`."""
        before = self._session.get(AuditEntry, (self._workspace, after))
        previous = GENESIS if before is None else before.hash
        query = (
            select(AuditEntry)
            .where(AuditEntry.workspace_id == self._workspace, AuditEntry.seq > after)
            .order_by(AuditEntry.seq)
            .limit(limit)
        )
        for row in self._session.scalars(query.execution_options(yield_per=_BATCH)):
            yield AuditRow(row.workspace_id, row.seq, row.at, _done(row), previous, row.hash)
            previous = row.hash

    def verify(self, known: tuple[int, str] | None = None) -> int:
        """Check the whole chain and return how many entries it has.

        With `known`, number and hash of an entry as an export once showed them, what was written up to there
        can't have been written anew. Raises AuditBroken.
        """
        chain = ChainCheck(self._workspace)
        for row in self.entries():
            chain.follow(row)
            if known is not None and known[0] == row.seq and known[1] != row.hash:
                raise AuditBroken(f"{chain.name(row.seq)} is another one than was known")
        if (chain.seq, chain.hash) != self.head():
            raise AuditBroken(f"the log of {self._workspace} ends with entry {chain.seq}; more were written")
        if known is not None and known[0] > chain.seq:
            raise AuditBroken(
                f"the log of {self._workspace} ends with entry {chain.seq}, and entry {known[0]} was known"
            )
        return chain.seq

    def _locked_end(self) -> AuditChain:
        locked = (
            select(AuditChain)
            .where(AuditChain.workspace_id == self._workspace)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
        end = self._session.scalar(locked)
        if end is not None:
            return end
        try:
            with self._session.begin_nested():
                self._session.add(AuditChain(workspace_id=self._workspace, seq=0, hash=GENESIS))
        except IntegrityError:
            pass  # somebody else was first
        return self._session.scalars(locked).one()


class ChainCheck:
    """Follows the entries of one workspace, from the first or from one that is taken as it is."""

    def __init__(self, workspace_id: str, seq: int = 0, before: str = GENESIS) -> None:
        self._workspace = workspace_id
        self.seq = seq
        self.hash = before

    def name(self, seq: int) -> str:
        """How an entry is called in a message."""
        return f"entry {seq} of {self._workspace}"

    def follow(self, row: AuditRow) -> None:
        """Take the next entry. Raises AuditBroken."""
        if row.seq != self.seq + 1:
            raise AuditBroken(f"{self.name(self.seq + 1)} is missing: entry {row.seq} follows on {self.seq}")
        if row.previous != self.hash or link(row) != row.hash:
            raise AuditBroken(f"{self.name(row.seq)} was changed after it was written, or the one before it")
        self.seq, self.hash = row.seq, row.hash


def link(row: AuditRow) -> str:
    """The hash of an entry: over that of the one before it and all that the entry says."""
    done = row.done
    told = [
        *(row.previous, row.workspace_id, row.seq),
        row.at.astimezone(UTC).isoformat(timespec="microseconds"),
        *(done.actor, done.action, done.target, done.status, done.request_id),
    ]
    return hashlib.sha256(json.dumps(told, separators=(",", ":")).encode()).hexdigest()


def _cut(done: Done) -> Done:
    return replace(done, actor=done.actor[:40], action=done.action[:100], request_id=done.request_id[:64])


def _done(row: AuditEntry) -> Done:
    return Done(row.actor, row.action, row.target, row.status, row.request_id)
