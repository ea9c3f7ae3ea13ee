"""What the shared tier asks of a place that other engines reach as well, wherever they run."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol


class BlockPlace(Protocol):
    """Blocks by the engine's fingerprint and their hash, with tags. Used from several threads.

    Methods may take long and may raise anything where the place does not answer; who asks goes on without it.
    What comes back is checked by who asked.
    """

    def get(self, fingerprint: bytes, key: bytes) -> bytes | None:
        """The block's bytes, None where it is not there."""

    def put(self, fingerprint: bytes, key: bytes, content: bytes, tags: Collection[str]) -> bool:
        """Keep a block; False where one of its tags was purged meanwhile. Then it is not there."""

    def tag(self, fingerprint: bytes, key: bytes, tags: Collection[str]) -> bool:
        """Add tags to a block; False where it is not there."""

    def drop(self, fingerprint: bytes, keys: Collection[bytes]) -> None:
        """Remove blocks."""
