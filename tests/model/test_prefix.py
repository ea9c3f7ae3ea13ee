"""The prefix cache over its tiers: what comes back after an eviction or a restart, and what must not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from serving import small, tokens

from model import Engine, Finished, SamplingParams

PROMPT = [i * i % 500 for i in range(200)]
PARAMS = SamplingParams(max_tokens=6, ignore_eos=True)


def ask(engine: Engine, ids: list[int], *tags: str) -> tuple[list[int], int]:
    events = list(engine.generate(ids, PARAMS, tags=tags))
    end = events[-1]
    assert isinstance(end, Finished)
    return tokens(events), end.cached_tokens


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_was_read_survives_a_restart_bit_for_bit(tiny_folder: Path, tmp_path: Path, dtype: str) -> None:
    with small(tiny_folder, dtype, kv_folder=tmp_path) as engine:
        expected = ask(engine, PROMPT)
        score = engine.score(PROMPT, 199)
    with small(tiny_folder, dtype, kv_folder=tmp_path) as engine:
        assert ask(engine, PROMPT) == (expected[0], 192)
        assert torch.equal(engine.score(PROMPT, 199), score)


@pytest.mark.parametrize("options", [{"kv_memory_bytes": 1 << 24}, {"kv_folder": "folder"}])
def test_what_the_pool_evicts_is_found_below_it(
    tiny_folder: Path, tmp_path: Path, options: dict[str, object]
) -> None:
    if "kv_folder" in options:
        options = {"kv_folder": tmp_path}
    with small(tiny_folder, kv_tokens=256, **options) as engine:
        expected, _ = ask(engine, PROMPT)
        for base in range(1, 4):
            ask(engine, [(base * 7 + i * base) % 500 for i in range(200)])
        if engine._tiers is not None:
            engine._tiers.flush()
        assert ask(engine, PROMPT) == (expected, 192)


def test_a_purge_reaches_every_tier_and_later_engines(tiny_folder: Path, tmp_path: Path) -> None:
    with small(tiny_folder, kv_folder=tmp_path) as engine:
        ask(engine, PROMPT, "doc_1")
        ask(engine, [*reversed(PROMPT)], "doc_2")
    with small(tiny_folder, kv_folder=tmp_path) as engine:
        # Read from disk under another tag, the blocks are still those of the first.
        assert ask(engine, PROMPT, "doc_3")[1] == 192
        engine.purge("doc_1")
        assert ask(engine, PROMPT)[1] == 0
        assert ask(engine, [*reversed(PROMPT)])[1] == 192
    with small(tiny_folder, kv_folder=tmp_path) as engine:
        engine.purge("doc_2")
        assert ask(engine, [*reversed(PROMPT)])[1] == 0


def test_damaged_and_foreign_files_are_misses(tiny_folder: Path, tmp_path: Path) -> None:
    with small(tiny_folder, kv_folder=tmp_path) as engine:
        expected, _ = ask(engine, PROMPT)
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size > 4096)
    assert len(files) == 12
    for path in files[::2]:
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 1
        path.write_bytes(raw)
    with small(tiny_folder, kv_folder=tmp_path) as engine:
        found, cached = ask(engine, PROMPT)
        assert found == expected
        assert cached < 192
    # Another cut is another arithmetic: nothing of the first engine's is taken.
    with small(tiny_folder, kv_folder=tmp_path, chunk=64) as engine:
        assert ask(engine, PROMPT) == (expected, 0)
