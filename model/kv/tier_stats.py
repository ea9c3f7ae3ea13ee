"""What the tiers of the prefix cache count, for a status page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MemoryStats:
    """The RAM tier: counts since the start, `blocks` and `bytes` as they are now."""

    hits: int
    blocks: int
    bytes: int
    limit: int
    evicted: int


@dataclass(frozen=True)
class DiskStats:
    """The disk tier: counts since the start, `files`, `bytes` and `queued_bytes` as they are now.

    Attributes:
        hits, misses: of blocks that were not in RAM.
        written: blocks that came to the disk.
        dropped: attempts that failed for want of room in the queue or on the disk; what is still in RAM when
            there is room again is written after all.
        damaged: files that were removed because they were not as they were written.
        problem: why nothing is written at the moment, or None.
    """

    hits: int
    misses: int
    files: int
    bytes: int
    limit: int
    queued_bytes: int
    written: int
    dropped: int
    evicted: int
    damaged: int
    problem: str | None


@dataclass(frozen=True)
class SharedStats:
    """The place that other engines reach: counts since the start, `queued_bytes` as they are now.

    Attributes:
        hits, misses: of blocks that were neither in RAM nor on disk.
        written: blocks that this engine sent, or found there.
        dropped: blocks that were not sent, for want of room in the queue or because the place did not answer.
        damaged: blocks that were not what they should have been.
        problem: why the place is left alone at the moment, or None.
    """

    hits: int
    misses: int
    written: int
    dropped: int
    damaged: int
    queued_bytes: int
    problem: str | None


@dataclass(frozen=True)
class TierStats:
    """All tiers; `misses` are blocks that no tier had, `disk` and `shared` are None where there is none."""

    misses: int
    memory: MemoryStats
    disk: DiskStats | None
    shared: SharedStats | None = None
