"""The allocator against a model of it, and the prefix cache's sharing and forgetting."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from serving import small, tokens

from model import Finished, SamplingParams
from model.kv.blocks import BlockAllocator
from model.kv.pool import KVPool

COUNT = 6


class Allocating(RuleBasedStateMachine):
    """The free list as a plain list, the users as a plain dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.allocator = BlockAllocator(COUNT)
        self.free = list(range(COUNT))
        self.users = dict.fromkeys(range(COUNT), 0)

    @precondition(lambda self: self.free)
    @rule()
    def take(self) -> None:
        block = self.allocator.take()
        assert block == self.free.pop(0)
        self.users[block] = 1

    @precondition(lambda self: not self.free)
    @rule()
    def take_none(self) -> None:
        with pytest.raises(IndexError, match="all 6"):
            self.allocator.take()

    @rule(block=st.integers(0, COUNT - 1))
    def share(self, block: int) -> None:
        self.allocator.share(block)
        if block in self.free:
            self.free.remove(block)
        self.users[block] += 1

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        used = [block for block, users in self.users.items() if users]
        blocks = data.draw(st.lists(st.sampled_from(used), unique=True) if used else st.just([]))
        kept = data.draw(st.frozensets(st.integers(0, COUNT - 1)))
        self.allocator.release(blocks, kept)
        for block in reversed(blocks):
            self.users[block] -= 1
            if not self.users[block]:
                self.free.insert(len(self.free) if block in kept else 0, block)

    @invariant()
    def agree(self) -> None:
        assert self.allocator.free == len(self.free)
        assert all(self.allocator.users(block) == users for block, users in self.users.items())


TestAllocating = Allocating.TestCase
TestAllocating.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


def test_the_pool_gives_back_what_was_put_in() -> None:
    pool = KVPool(2, 4, 8, 2, 4, torch.device("cpu"), torch.float32)
    keys, values = torch.randn(2, 3, 2, 4)
    pool.write(1, torch.tensor([9, 31, 8]), keys, values)
    assert torch.equal(pool.keys(1)[1, 1], keys[0])
    assert torch.equal(pool.values(1)[3, 7], values[1])
    content = pool.read(1)
    assert content.shape == (2, 2, 8, 2, 4)
    assert content.nbytes == pool.block_bytes
    pool.load(2, content)
    assert torch.equal(pool.keys(1)[2, :2], pool.keys(1)[1, :2])


def cached(events: object) -> int:
    end = list(events)[-1]  # type: ignore[call-overload]
    assert isinstance(end, Finished)
    return end.cached_tokens


def test_a_salt_shares_nothing_with_another(tiny_folder: Path) -> None:
    engine, ids, params = small(tiny_folder), list(range(70)), SamplingParams(max_tokens=1)
    assert cached(engine.generate(ids, params, salt="a")) == 0
    assert cached(engine.generate(ids, params, salt="b")) == 0
    assert cached(engine.generate(ids, params)) == 0
    assert cached(engine.generate(ids, params, salt="a")) == 64


def test_purge_removes_what_a_tag_left_and_nothing_else(tiny_folder: Path) -> None:
    engine, params = small(tiny_folder), SamplingParams(max_tokens=1)
    first, second = list(range(70)), list(range(100, 170))
    list(engine.generate(first, params, tags=("doc_1", "doc_2")))
    list(engine.generate(second, params, tags=("doc_2", "doc_3")))
    assert engine.purge("doc_9") == 0
    assert engine.purge("doc_1") == 4
    assert cached(engine.generate(first, params)) == 0
    assert cached(engine.generate(second, params)) == 64
    # The first prompt came back without a tag; a later reader's tag sticks to it all the same.
    assert cached(engine.generate(first, params, tags=("doc_4",))) == 64
    assert engine.purge("doc_4") == 4
    assert engine.purge("doc_2") == 4
    assert engine.stats().blocks_cached == 0
    assert engine.stats().blocks_free == engine.stats().blocks


def test_a_running_request_leaves_nothing_after_a_purge(tiny_folder: Path) -> None:
    engine, ids = small(tiny_folder), [i % 500 for i in range(4000)]
    events = engine.generate(ids, SamplingParams(max_tokens=3, ignore_eos=True), tags=("doc_1",))
    expected = tokens(small(tiny_folder).generate(ids, SamplingParams(max_tokens=3, ignore_eos=True)))
    next(events)
    next(events)
    engine.purge("doc_1")
    assert engine.stats().blocks_cached == 0
    assert tokens(events) == expected
    assert engine.stats().blocks_cached == 0


def test_the_least_recently_used_block_goes_first(tiny_folder: Path) -> None:
    engine, params = small(tiny_folder, kv_tokens=160), SamplingParams(max_tokens=1)
    a, b, c = ([base + i for i in range(64)] for base in (0, 100, 200))
    for ids in (a, b):
        list(engine.generate([*ids, 1], params))
    assert cached(engine.generate([*a, 1], params)) == 64
    list(engine.generate([*c, 1], params))
    assert cached(engine.generate([*a, 1], params)) == 64
    assert cached(engine.generate([*b, 1], params)) < 64
