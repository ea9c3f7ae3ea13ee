"""Prefix cache: KV blocks by what they hold, shared without copying.

A block is named by the chained SHA-256 of everything that its keys and values depend on: the engine's
identity, the request's salt, and all tokens up to its end. Only full blocks that were read as part of a
prompt are named, since only those always come out of the same arithmetic (`model.scheduler`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from model.executor import Executor
from model.kv.blocks import BlockAllocator
from model.kv.names import block_names
from model.kv.tiers import Tiers


@dataclass
class _Entry:
    block: int
    tags: set[str]


class PrefixCache:
    """Blocks of the pool with their names, and the tiers below the pool.

    A named block that nobody uses stays until its place is needed, least recently used first.
    """

    def __init__(self, executor: Executor, identity: bytes, tiers: Tiers | None = None) -> None:
        """`identity` names everything that keys and values depend on beside the tokens."""
        self._executor, self._identity, self._tiers = executor, identity, tiers
        self._size = executor.block_size
        self._allocator = BlockAllocator(executor.blocks)
        self._entries: dict[bytes, _Entry] = {}
        self._names: dict[int, bytes] = {}

    @property
    def free(self) -> int:
        """Blocks that can be taken, named ones included."""
        return self._allocator.free

    @property
    def named(self) -> int:
        """Blocks that can be found by their content."""
        return len(self._names)

    def names(self, tokens: Sequence[int], salt: str) -> list[bytes]:
        """The name of every full block of a token sequence."""
        return block_names(tokens, self._size, self._identity, salt)

    def match(self, names: Sequence[bytes], tags: Collection[str]) -> list[int]:
        """The longest run of leading blocks that are there, now in use by the caller and tagged."""
        blocks: list[int] = []
        if self._tiers is not None:
            self._tiers.prefetch([name for name in names if name not in self._entries])
        for name in names:
            entry = self._entries.get(name)
            if entry is not None:
                self._allocator.share(entry.block)
            elif (entry := self._fetch(name)) is None:
                break
            entry.tags.update(tags)
            if self._tiers is not None and tags:
                self._tiers.tag(name, tags)
            blocks.append(entry.block)
        if self._tiers is not None and blocks:
            self._tiers.touch(names[: len(blocks)])
        return blocks

    def _fetch(self, name: bytes) -> _Entry | None:
        """Bring a block up from the tiers, in use by the caller, with the tags that it has there."""
        content = self._tiers.get(name) if self._tiers is not None and self.free else None
        if self._tiers is None or content is None:
            return None
        block = self.take(1)[0]
        self._executor.load(block, content)
        self._names[block] = name
        self._entries[name] = entry = _Entry(block, set(self._tiers.tags(name)))
        return entry

    def take(self, count: int) -> list[int]:
        """Blocks to write to; what they were known for is forgotten in the pool.

        Raises:
            IndexError: fewer than `count` are free; ask `free` first.
        """
        blocks = []
        for _ in range(count):
            block = self._allocator.take()
            self._forget(block)
            blocks.append(block)
        return blocks

    def keep(self, block: int, name: bytes, tags: Collection[str]) -> None:
        """Name a block that has just been filled. A second block of the same content stays nameless."""
        entry = self._entries.get(name)
        if entry is not None:
            entry.tags.update(tags)
        else:
            self._entries[name] = _Entry(block, set(tags))
            self._names[block] = name
        if self._tiers is not None:
            if self._tiers.contains(name):
                self._tiers.tag(name, tags)
            else:
                self._tiers.put(name, self._executor.read(block), tags)

    def release(self, blocks: Sequence[int]) -> None:
        """Give up one use of each block of a sequence, given in its order."""
        self._allocator.release(blocks, self._names)

    def purge(self, tag: str) -> int:
        """Forget every block with this tag, in the pool and in the tiers; gives how many the pool had.

        A block that a running request reads stays readable for it, and for nobody else.
        """
        gone = [entry.block for entry in self._entries.values() if tag in entry.tags]
        self._drop(gone)
        if self._tiers is not None:
            self._tiers.purge(tag)
        return len(gone)

    def clear(self) -> None:
        """Forget every named block of the pool; the tiers keep theirs."""
        self._drop(list(self._names))

    def _drop(self, blocks: Iterable[int]) -> None:
        for block in blocks:
            self._forget(block)
            if self._allocator.users(block) == 0:
                # To the front of the free list: its content has no worth any more.
                self._allocator.share(block)
                self._allocator.release([block], ())

    def _forget(self, block: int) -> None:
        name = self._names.pop(block, None)
        if name is not None:
            del self._entries[name]
