"""The figures of docs/models.md, computed again."""

from __future__ import annotations

import math
from typing import Any

import pytest
from reading import code, read, table

from model.llama.presets import PRESETS
from model.plan import Deployment, plan

GB = 10**9
PAGE = read("docs/models.md")


def billions(size: int) -> str:
    return f"{size / GB:.1f}"


def test_shapes() -> None:
    rows = []
    for name, shape in PRESETS.items():
        found = plan(shape, Deployment(1, 100 * GB, shape.context_length))
        rows.append(
            [
                f"`{name}`", f"{found.parameters:,}", f"{shape.layers}", f"{shape.hidden_size:,}",
                f"{shape.heads} / {shape.kv_heads}", f"{shape.ffn_size:,}", f"{found.kv_token:,}",
                f"{found.kv / 2**30:.1f}",
            ]
        )  # fmt: skip
    assert table(PAGE, "name") == rows


@pytest.mark.parametrize("row", table(PAGE.split("## What fits")[1], "model"), ids=" ".join)
def test_what_fits(row: list[str]) -> None:
    name, dtype, kv = code(row[0]), row[2], row[3]
    *stages, gpus = map(int, row[1].split(" × "))
    kinds: dict[str, Any] = {"dtype": dtype, "kv": kv}
    found = plan(PRESETS[name], Deployment(gpus, 80 * GB, 131_072, stages=math.prod(stages), **kinds))
    sizes = [found.weights, found.kv, found.rotation + found.activations + found.logits, found.needed]
    assert row[4:8] == [billions(size) for size in sizes]
    assert row[8:] == [f"{found.largest_context:,}", f"{found.most_sequences}"]


def test_every_large_model_is_in_the_table() -> None:
    there = {code(row[0]) for row in table(PAGE.split("## What fits")[1], "model")}
    assert there == {name for name in PRESETS if "3.1" in name}


def test_the_405b_model_to_the_byte() -> None:
    found = plan(PRESETS["llama-3.1-405b"], Deployment(8, 80 * GB, 131_072, dtype="fp8")).as_dict()
    rows = {code(row[0]): row[1] for row in table(PAGE, "part")}
    assert rows == {part: f"{found[part]:,}" for part in rows}
    assert set(rows) >= {"weights", "kv", "rotation", "activations", "logits", "reserve", "needed"}
