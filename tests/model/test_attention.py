"""All backends compute the formula."""

from __future__ import annotations

import sys
import types

import pytest
import torch
from torch import Tensor

from model.attention.flash import FlashAttend
from model.attention.merge import merge
from model.attention.reference import attend_reference
from model.attention.sdpa import attend_sdpa


def flash_emulation(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
    """flash_attn_func as documented: [batch, positions, heads, head_dim], causal aligned bottom-right."""
    assert causal
    assert q.shape[0] == k.shape[0] == 1
    assert all(x.stride(-1) == 1 for x in (q, k, v))
    return attend_reference(q[0], k[0].transpose(0, 1), v[0].transpose(0, 1))[None]


@pytest.mark.parametrize("backend", ["sdpa", "flash"])
@pytest.mark.parametrize("heads", [(4, 4), (6, 2), (8, 1)])
@pytest.mark.parametrize(("past", "new"), [(0, 1), (0, 65), (1, 1), (700, 1), (5, 3), (300, 257)])
def test_against_the_formula(
    backend: str, heads: tuple[int, int], past: int, new: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("flash_attn")
    module.flash_attn_func = flash_emulation  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flash_attn", module)
    attend = attend_sdpa if backend == "sdpa" else FlashAttend()
    torch.manual_seed(0)
    queries = torch.randn(new, heads[0], 16)
    # Views into a larger cache, as in the engine.
    keys, values = torch.randn(2, heads[1], 2048, 16)[:, :, : past + new]
    expected = attend_reference(queries, keys, values)
    torch.testing.assert_close(attend(queries, keys, values), expected, rtol=1e-4, atol=1e-5)


def test_merge_joins_any_split() -> None:
    torch.manual_seed(0)
    scores, values = 4 * torch.randn(3, 5, 12), torch.randn(3, 12, 8)
    whole = scores.softmax(-1) @ values
    for cut in range(1, 12):
        parts = [(scores[..., :cut], values[:, :cut]), (scores[..., cut:], values[:, cut:])]
        (a, la), (b, lb) = ((s.softmax(-1) @ v, s.logsumexp(-1)) for s, v in parts)
        torch.testing.assert_close(merge(a, la, b, lb), whole, rtol=1e-5, atol=1e-6)


def test_merge_survives_extreme_weights() -> None:
    a, b = torch.zeros(1, 1, 4), torch.ones(1, 1, 4)
    far = torch.full((1, 1), 1e4)
    assert torch.equal(merge(a, -far, b, far), b)
    assert torch.equal(merge(a, far, b, -far), a)
