"""Stats: what an engine has done and what it holds, as numbers for a status page."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Stats:
    """A snapshot of an engine; counters run since it was loaded.

    Attributes:
        running, waiting: requests that hold KV blocks, and those that wait for some.
        blocks, blocks_free, blocks_cached: KV blocks in all, unused ones, and ones whose content can be found
            again; a block may be both unused and cached.
        block_size: tokens in a block.
        prompt_tokens, cached_tokens: of admitted requests, and how many of them were not read again.
        new_tokens: written.
        steps, preemptions: of the scheduler.
        reading_seconds, writing_seconds: time in forward passes over prompts, and over rows that write.
        drafted, accepted: tokens guessed by prompt lookup, and those that were right.
        tiers: what the tiers below the pool say of themselves.
    """

    running: int
    waiting: int
    blocks: int
    blocks_free: int
    blocks_cached: int
    block_size: int
    prompt_tokens: int = 0
    cached_tokens: int = 0
    new_tokens: int = 0
    steps: int = 0
    preemptions: int = 0
    reading_seconds: float = 0.0
    writing_seconds: float = 0.0
    drafted: int = 0
    accepted: int = 0
    tiers: dict[str, Any] = field(default_factory=dict)


@dataclass
class Counters:
    """The part of `Stats` that the loop counts."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    new_tokens: int = 0
    steps: int = 0
    reading_seconds: float = 0.0
    writing_seconds: float = 0.0
    drafted: int = 0
    accepted: int = 0
