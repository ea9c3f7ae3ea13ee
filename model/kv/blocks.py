"""Who holds which KV block: reference counts and a free list, every operation O(1) a block."""

from __future__ import annotations

from collections.abc import Container, Sequence


class BlockAllocator:
    """Hands out block ids 0 … count - 1.

    The free list is intrusive: two integers a block link it to its neighbours, so that a block is taken out
    of the middle as fast as off the front. It runs from the block to be overwritten next to the one to be
    kept longest, so that a freed block whose content is still wanted stays readable until its turn comes.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._users = [0] * count
        # One more node than blocks: the list is a ring through it.
        self._next: list[int] = [*range(1, count + 1), 0]
        self._previous = [count, *range(count)]
        self._free = count

    @property
    def free(self) -> int:
        """How many blocks nobody uses."""
        return self._free

    def users(self, block: int) -> int:
        """How many sequences use a block."""
        return self._users[block]

    def take(self) -> int:
        """The free block whose turn to be overwritten it is.

        Raises:
            IndexError: none is free; ask `free` first.
        """
        block: int = self._next[self.count]
        if block == self.count:
            raise IndexError(f"all {self.count} KV blocks are in use")
        self._unlink(block)
        self._users[block] = 1
        return block

    def share(self, block: int) -> None:
        """Use a block as it is, whether others use it or it was free."""
        if self._users[block] == 0:
            self._unlink(block)
        self._users[block] += 1

    def release(self, blocks: Sequence[int], kept: Container[int]) -> None:
        """Give up one use of each block.

        Of those that nobody uses now, the ones in `kept` go to the far end of the free list, the first of
        `blocks` the farthest; the others to the front, to be overwritten first.
        """
        for block in reversed(blocks):
            self._users[block] -= 1
            if self._users[block] == 0:
                self._link(block, before=self.count if block in kept else self._next[self.count])

    def _unlink(self, block: int) -> None:
        before, after = self._previous[block], self._next[block]
        self._next[before], self._previous[after] = after, before
        self._free -= 1

    def _link(self, block: int, before: int) -> None:
        previous = self._previous[before]
        self._next[previous] = self._previous[before] = block
        self._previous[block], self._next[block] = previous, before
        self._free += 1
