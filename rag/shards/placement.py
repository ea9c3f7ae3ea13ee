"""Which shard holds a document: by a slot that its id alone decides, and a layout of slots over shards.

A layout never changes: an operation makes the next one, with the next version. Shards are ranges of slots, so
a shard is split by cutting its range and no document of another shard moves.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from typing import Any

from rag.errors import InvalidRequest

SLOTS = 1024
"""Parts that no split divides; also the most shards of a collection."""
MOST_REPLICAS = 16


@lru_cache(1 << 17)  # a filter may match every document of a collection, again and again
def slot_of(document_id: str) -> int:
    """Return the slot of a document, from 0 to 1023: the same in every process and version."""
    return int.from_bytes(blake2b(document_id.encode(), digest_size=8).digest(), "big") % SLOTS


@dataclass(frozen=True)
class Shard:
    """The documents of the slots from `first` to before `end`, held by `replicas`: numbers that no other
    replica of the collection ever has."""

    id: int
    first: int
    end: int
    replicas: tuple[int, ...]

    def holds(self, document_id: str) -> bool:
        """Tell whether a document is one of this shard's."""
        return self.first <= slot_of(document_id) < self.end


@dataclass(frozen=True)
class Layout:
    """The shards of one collection, by ascending slots, which they tile; `next` is the first number that no
    shard or replica has had."""

    version: int
    shards: tuple[Shard, ...]
    next: int

    @classmethod
    def even(cls, shards: int, replicas: int, after: Layout | None = None) -> Layout:
        """Cut the slots into so many ranges of one size; none of the replicas are those of `after`.

        Raises InvalidRequest (`invalid_layout`).
        """
        if not 1 <= shards <= SLOTS:
            raise _invalid(f"a collection has from 1 to {SLOTS} shards, not {shards}")
        number = 0 if after is None else after.next
        cuts = [SLOTS * place // shards for place in range(shards + 1)]
        made = []
        for first, end in pairwise(cuts):
            made.append(Shard(number, first, end, _numbers(number + 1, replicas)))
            number += 1 + replicas
        return cls(1 if after is None else after.version + 1, tuple(made), number)

    def shard(self, shard_id: int) -> Shard:
        """Return a shard. Raises InvalidRequest (`unknown_shard`)."""
        for shard in self.shards:
            if shard.id == shard_id:
                return shard
        known = ", ".join(str(shard.id) for shard in self.shards)
        raise InvalidRequest(f"there is no shard {shard_id}; there are {known}", code="unknown_shard")

    def of(self, document_id: str) -> Shard:
        """Return the shard that holds a document."""
        return next(shard for shard in self.shards if shard.holds(document_id))

    def divided(self, documents: Iterable[str]) -> dict[int, frozenset[str]]:
        """Return for each shard's id those of the documents that it holds."""
        own: list[set[str]] = [set() for _ in self.shards]
        ends = [shard.end for shard in self.shards]
        for document in documents:
            own[bisect_right(ends, slot_of(document))].add(document)
        return {shard.id: frozenset(each) for shard, each in zip(self.shards, own, strict=True)}

    def split(self, shard_id: int) -> Layout:
        """Return the next layout, with two shards in place of one. Raises InvalidRequest."""
        old = self.shard(shard_id)
        if old.end - old.first < 2:
            raise _invalid(f"shard {shard_id} holds one slot, which can't be split")
        middle, number = (old.first + old.end) // 2, self.next
        made = []
        for first, end in ((old.first, middle), (middle, old.end)):
            made.append(Shard(number, first, end, _numbers(number + 1, len(old.replicas))))
            number += 1 + len(old.replicas)
        return self._with(old, made, number)

    def moved(self, shard_id: int, replica: int) -> Layout:
        """Return the next layout, with a new replica of a shard in place of one. Raises InvalidRequest."""
        old = self.shard(shard_id)
        if replica not in old.replicas:
            known = ", ".join(map(str, old.replicas))
            raise InvalidRequest(
                f"shard {shard_id} has no replica {replica}; it has {known}", code="unknown_replica"
            )
        replicas = tuple(self.next if each == replica else each for each in old.replicas)
        return self._with(old, [replace(old, replicas=replicas)], self.next + 1)

    def replicated(self, replicas: int) -> Layout:
        """Return the next layout, with so many replicas of each shard. Raises InvalidRequest."""
        number, made = self.next, []
        for shard in self.shards:
            more = max(0, replicas - len(shard.replicas))
            kept = shard.replicas[:replicas]
            made.append(replace(shard, replicas=kept + (_numbers(number, more) if more else ())))
            number += more
        _numbers(0, replicas)
        return Layout(self.version + 1, tuple(made), number)

    def _with(self, old: Shard, made: list[Shard], number: int) -> Layout:
        at = self.shards.index(old)
        return Layout(self.version + 1, (*self.shards[:at], *made, *self.shards[at + 1 :]), number)

    def replicas(self) -> set[int]:
        """Return the numbers of all replicas."""
        return {replica for shard in self.shards for replica in shard.replicas}

    def as_json(self) -> dict[str, Any]:
        """As it is kept."""
        shards = [[shard.id, shard.first, shard.end, list(shard.replicas)] for shard in self.shards]
        return {"next": self.next, "shards": shards}

    @classmethod
    def of_json(cls, version: int, kept: dict[str, Any]) -> Layout:
        """What was kept by `as_json`. Raises ValueError where the shards do not tile the slots."""
        shards = tuple(
            Shard(int(number), int(first), int(end), tuple(map(int, replicas)))
            for number, first, end, replicas in kept["shards"]
        )
        if [0, *(shard.end for shard in shards)] != [*(shard.first for shard in shards), SLOTS]:
            raise ValueError(f"the shards {kept['shards']} do not tile {SLOTS} slots")
        return cls(version, shards, int(kept["next"]))


def _numbers(first: int, replicas: int) -> tuple[int, ...]:
    if not 1 <= replicas <= MOST_REPLICAS:
        raise _invalid(f"a shard has from 1 to {MOST_REPLICAS} replicas, not {replicas}")
    return tuple(range(first, first + replicas))


def _invalid(message: str) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_layout")
