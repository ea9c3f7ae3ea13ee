"""Buckets that several processes share, in PostgreSQL: a row each, locked while a request is judged."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from rag.rates import Allowance, Bucket, Standing, judge, used
from rag.store.limits import RateBucket
from rag.store.session import Database

_NOW = text("CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)")
_MICRO, _MILLI = 1_000_000, 1000
_Key = tuple[str, str]


class SharedRates:
    """Buckets of all processes of one store."""

    waits = True

    def __init__(self, db: Database) -> None:
        self._db = db

    def admit(self, allowances: Sequence[Allowance]) -> list[Standing]:
        """See `rag.rates.judge`. Raises Unavailable."""
        with self._db.session() as session:
            buckets, now = _locked(session, allowances)
            standings, changed = judge(allowances, buckets, now)
            _write(session, changed)
        return standings

    def charge(self, allowances: Sequence[Allowance], tokens: int) -> None:
        """Take tokens that were used. Raises Unavailable."""
        tokened = [each for each in allowances if each.kind == "tokens"]
        with self._db.session() as session:
            buckets, now = _locked(session, tokened)
            _write(session, used(tokened, buckets, now, tokens))


def _locked(session: Session, allowances: Sequence[Allowance]) -> tuple[dict[_Key, Bucket], float]:
    """The buckets, locked in one order for all, and the time by the database's clock once they are."""
    found = _select(session, allowances)
    missing = [each for each in allowances if each.key not in found]
    if missing:
        now = int(session.scalar(select(_NOW)) or 0)
        rows = [
            {"subject": each.subject, "kind": each.kind, "level": each.most * _MILLI, "at": now}
            for each in sorted(missing, key=lambda each: each.key)
        ]
        session.execute(insert(RateBucket).on_conflict_do_nothing(), rows)
        found = _select(session, allowances)
    now = int(session.scalar(select(_NOW)) or 0)
    return found, now / _MICRO


def _select(session: Session, allowances: Sequence[Allowance]) -> dict[_Key, Bucket]:
    wanted = [each.key for each in allowances]
    query = (
        select(RateBucket.subject, RateBucket.kind, RateBucket.level, RateBucket.at)
        .where(tuple_(RateBucket.subject, RateBucket.kind).in_(wanted))
        .order_by(RateBucket.subject, RateBucket.kind)
        .with_for_update()
    )
    return {
        (subject, kind): Bucket(level / _MILLI, at / _MICRO)
        for subject, kind, level, at in session.execute(query)
    }


_UPDATE = (
    update(RateBucket)
    .where(RateBucket.subject == bindparam("of"), RateBucket.kind == bindparam("sort"))
    .values(level=bindparam("new_level"), at=bindparam("new_at"))
)


def _write(session: Session, changed: dict[_Key, Bucket]) -> None:
    rows = [
        {
            "of": subject,
            "sort": kind,
            "new_level": round(bucket.level * _MILLI),
            "new_at": round(bucket.at * _MICRO),
        }
        for (subject, kind), bucket in changed.items()
    ]
    if rows:
        session.connection().execute(_UPDATE, rows)
