"""One contract for all attention backends: they compute the formula over paged keys."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flash_emulation
import pytest
import torch
from flash_emulation import Refused
from torch import Tensor

from model import HardwareError
from model.attention import pages, select_attention
from model.attention import select as selection
from model.attention.batch import Attend, Segment
from model.attention.flash import Flash2Attend, Flash3Attend, Flash4Attend, FlashPlan
from model.attention.merge import merge
from model.attention.pages import stretch, stretches
from model.attention.reference import ReferenceAttend
from model.attention.sdpa import SdpaAttend, efficient_kernel, flash_kernel
from model.kv.pool import KVPool

BF16, F32, CPU = torch.bfloat16, torch.float32, torch.device("cpu")

BACKENDS: dict[str, tuple[Callable[[], Attend], tuple[torch.dtype, ...]]] = {
    "reference": (ReferenceAttend, (BF16, F32)),
    "sdpa": (SdpaAttend, (BF16, F32)),
    "sdpa-cuda-flash": (lambda: SdpaAttend(flash_kernel), (BF16,)),
    "sdpa-cuda-efficient": (lambda: SdpaAttend(efficient_kernel), (BF16, F32)),
    "flash2": (Flash2Attend, (BF16,)),
    "flash3": (Flash3Attend, (BF16,)),
    "flash4": (Flash4Attend, (BF16,)),
    "native": (lambda: importlib.import_module("model.attention.native").NativeAttend(), (BF16, F32)),
}
CASES = [(name, dtype) for name, (_, dtypes) in BACKENDS.items() for dtype in dtypes]


@pytest.fixture(autouse=True)
def emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    flash_emulation.install(monkeypatch)


def backend(name: str) -> Attend:
    if name == "native":
        pytest.importorskip("model.attention.native")
        native = pytest.importorskip("model.native")
        if not native.available():
            pytest.skip("the native kernels are not built")
    return BACKENDS[name][0]()


@dataclass
class Layer:
    """One layer of a pool with the keys of some sequences in it, and queries for them."""

    pool: KVPool
    segments: list[Segment]
    queries: Tensor

    def run(self, attend: Attend) -> tuple[Tensor, Tensor]:
        plan = attend.plan(self.segments, self.pool)
        return attend.with_lse(self.queries, self.pool.keys(0), self.pool.values(0), plan)


def layer(
    shapes: list[tuple[int, int]], *, dtype: torch.dtype = F32, heads: int = 4, kv_heads: int = 2,
    head_dim: int = 64, block_size: int = 256, scattered: bool = True, shared: int = 0, seed: int = 0,
) -> Layer:  # fmt: skip
    """Random keys and queries.

    Args:
        shapes: (start, count) of each segment.
        scattered: whether block ids are in no order, else each sequence's are consecutive.
        shared: how many of the first blocks all sequences have in common.
    """
    torch.manual_seed(seed)
    needed = [-(-(start + count) // block_size) for start, count in shapes]
    order = torch.randperm(sum(needed) + 3) if scattered else torch.arange(sum(needed) + 3)
    ids, common, segments = iter(order.tolist()), [], []
    for (start, count), blocks in zip(shapes, needed, strict=True):
        common = common or [next(ids) for _ in range(shared)]
        own = common + [next(ids) for _ in range(blocks - len(common))]
        segments.append(Segment(start, count, tuple(own)))
    pool = KVPool(1, len(order), block_size, kv_heads, head_dim, CPU, dtype)
    # What no segment sees is not a number: it must have no part in any sum.
    pool.keys(0).fill_(torch.nan)
    pool.values(0).fill_(torch.nan)
    for segment in segments:
        for position in range(0, segment.start + segment.count, block_size):
            used = min(block_size, segment.start + segment.count - position)
            block = segment.blocks[position // block_size]
            if pool.keys(0)[block, :used].isnan().any():
                pool.keys(0)[block, :used] = torch.randn(used, kv_heads, head_dim)
                pool.values(0)[block, :used] = torch.randn(used, kv_heads, head_dim)
    # As in the model: queries are a slice of the rows that hold keys and values too.
    rows = sum(count for _, count in shapes)
    queries = 2 * torch.randn(rows, heads + 2 * kv_heads, head_dim)
    return Layer(pool, segments, queries.to(dtype)[:, :heads])


def assert_formula(made: Layer, name: str) -> None:
    out, lse = made.run(backend(name))
    exact, exact_lse = ReferenceAttend(torch.float64).with_lse(
        made.queries.double(), made.pool.keys(0), made.pool.values(0), made.segments
    )
    assert out.dtype == made.queries.dtype
    assert lse.dtype == F32
    coarse = made.queries.dtype == BF16
    # By head and query: what a query takes from many keys is small, and so would its error be.
    apart = (out.double() - exact).norm(dim=-1) / exact.norm(dim=-1)
    assert float(apart.max()) < (0.02 if coarse else 1e-4)
    torch.testing.assert_close(lse, exact_lse, rtol=1e-6, atol=2e-3 if coarse else 2e-5)
    plan = backend(name).plan(made.segments, made.pool)
    plain = backend(name)(made.queries, made.pool.keys(0), made.pool.values(0), plan)
    assert torch.equal(plain, out)


SEGMENTS = {
    "first token": [(0, 1)],
    "first chunk": [(0, 65)],
    "decode": [(700, 1)],
    "first token of a block": [(512, 1)],
    "few tokens after a past": [(300, 5)],
    "chunk over two blocks": [(300, 257)],
    "chunk on the grid": [(512, 256)],
    "decodes together": [(3, 1), (256, 1), (900, 1), (511, 1)],
    "drafts together": [(40, 4), (290, 4), (600, 4)],
    "everything at once": [(0, 130), (511, 1), (255, 2), (700, 77), (0, 1)],
}


@pytest.mark.parametrize(("name", "dtype"), CASES)
@pytest.mark.parametrize("shapes", SEGMENTS.values(), ids=SEGMENTS.keys())
def test_segments(name: str, dtype: torch.dtype, shapes: list[tuple[int, int]]) -> None:
    assert_formula(layer(shapes, dtype=dtype), name)


@pytest.mark.parametrize(("name", "dtype"), CASES)
@pytest.mark.parametrize("group", [1, 3, 4, 8])
@pytest.mark.parametrize("head_dim", [64, 128])
def test_grouped_queries(name: str, dtype: torch.dtype, group: int, head_dim: int) -> None:
    made = layer([(300, 1), (260, 9)], dtype=dtype, heads=2 * group, kv_heads=2, head_dim=head_dim)
    assert_formula(made, name)


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_shared_blocks(name: str, dtype: torch.dtype) -> None:
    made = layer([(512, 30), (600, 1), (513, 3)], dtype=dtype, shared=2)
    assert len({segment.blocks[:2] for segment in made.segments}) == 1
    assert_formula(made, name)


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_where_blocks_lie_changes_no_bit(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "SPAN", 512)  # several gathers, as a long past has
    shapes = [(1100, 40), (1300, 1)]
    apart, together = (layer(shapes, dtype=dtype, scattered=x) for x in (True, False))
    for segment, other in zip(apart.segments, together.segments, strict=True):
        for block, target in zip(segment.blocks, other.blocks, strict=True):
            together.pool.keys(0)[target] = apart.pool.keys(0)[block]
            together.pool.values(0)[target] = apart.pool.values(0)[block]
    together.queries = apart.queries
    for x, y in zip(apart.run(backend(name)), together.run(backend(name)), strict=True):
        assert torch.equal(x, y)
    assert_formula(apart, name)


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_a_segment_is_the_same_alone(name: str, dtype: torch.dtype) -> None:
    made = layer([(0, 33), (700, 1), (300, 5)], dtype=dtype)
    out, lse = made.run(backend(name))
    rows = 0
    for segment in made.segments:
        part = slice(rows, rows + segment.count)
        alone = Layer(made.pool, [segment], made.queries[part]).run(backend(name))
        torch.testing.assert_close(alone[0], out[part], rtol=0, atol=1e-2 if dtype == BF16 else 1e-5)
        torch.testing.assert_close(alone[1], lse[:, part], rtol=0, atol=1e-4)
        rows += segment.count


@pytest.mark.parametrize("name", ["sdpa", "flash3", "flash4"])
def test_small_blocks(name: str) -> None:
    dtype = F32 if name == "sdpa" else BF16
    assert_formula(layer([(100, 17), (31, 1)], dtype=dtype, block_size=16), name)


def test_one_large_score_takes_all() -> None:
    made = layer([(600, 3)])
    made.pool.keys(0)[made.segments[0].blocks[0], 7] = made.queries[0, 0] * 100
    for name in ("sdpa", "sdpa-cuda-efficient"):
        out, lse = made.run(backend(name))
        assert bool(out.isfinite().all() and lse.isfinite().all())
    assert_formula(made, "sdpa")


def change(made: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**made, **changes}


@pytest.mark.parametrize("library", ["flash2", "flash2 varlen", "flash3", "flash4"])
@pytest.mark.parametrize(
    ("said", "spoil"),
    [
        ("not half precision", lambda a: change(a, q=a["q"].float())),
        ("differ in dtype", lambda a: change(a, q=a["q"].half())),
        ("last dimension", lambda a: change(a, k=a["k"].transpose(2, 3).contiguous().transpose(2, 3))),
        ("aligned", lambda a: change(a, q=torch.cat([a["q"], a["q"]], -1)[..., 4:68])),
        ("not int32", lambda a: change(a, table=a["table"].long())),
        ("has shape", lambda a: change(a, table=a["table"][:1])),
        ("too short", lambda a: change(a, table=a["table"][:, :1].contiguous())),
        ("multiple of key heads", lambda a: change(a, q=a["q"][..., :3, :])),
        ("head_dim differs", lambda a: change(a, q=a["q"][..., :56])),
        ("not causal", lambda a: change(a, causal=False)),
    ],
)
def test_the_emulation_refuses_wrong_calls(
    library: str, said: str, spoil: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    made = layer([(300, 2), (510, 2)], dtype=BF16)
    plan = FlashPlan.of(made.segments, CPU)
    right = {"q": made.queries, "k": made.pool.keys(0), "v": made.pool.values(0), "table": plan.table,
             "causal": True}  # fmt: skip

    def call(a: dict[str, Any]) -> None:
        q, k, v, causal = a["q"], a["k"], a["v"], a["causal"]
        ends, lengths = plan.query_ends, plan.lengths
        match library:
            case "flash2":
                flash_emulation.flash2_kvcache(
                    q.view(2, 2, *q.shape[1:]) if q.is_contiguous() else q.reshape(2, 2, *q.shape[1:]), k, v,
                    cache_seqlens=lengths, block_table=a["table"], causal=causal)  # fmt: skip
            case "flash2 varlen":
                flash_emulation.flash2_varlen(
                    q, k, v, ends, plan.key_ends, 2, 512, causal=causal, block_table=a["table"])  # fmt: skip
            case "flash3":
                flash_emulation.flash3_kvcache(
                    q, k, v, cache_seqlens=lengths, page_table=a["table"], cu_seqlens_q=ends,
                    max_seqlen_q=2, causal=causal)  # fmt: skip
            case "flash4":
                flash_emulation.flash4_varlen(
                    q, k, v, cu_seqlens_q=ends, max_seqlen_q=2, max_seqlen_k=512, seqused_k=lengths,
                    page_table=a["table"], causal=causal)  # fmt: skip

    call(right)
    with pytest.raises(Refused, match=said):
        call(spoil(right))


def test_the_emulation_refuses_small_pages_and_unknown_arguments() -> None:
    made = layer([(100, 4)], dtype=BF16, block_size=128)
    plan = FlashPlan.of(made.segments, CPU)
    with pytest.raises(Refused, match="multiple of 256"):
        flash_emulation.flash2_varlen(
            made.queries, made.pool.keys(0), made.pool.values(0), plan.query_ends, plan.key_ends, 4, 104,
            causal=True, block_table=plan.table)  # fmt: skip
    with pytest.raises(TypeError):
        flash_emulation.flash3_kvcache(made.queries, block_tables=plan.table)  # type: ignore[call-arg]
    with pytest.raises(HardwareError, match="multiple of 256 tokens; these have 128"):
        Flash2Attend().plan(made.segments, made.pool)
    with pytest.raises(Refused, match="causal over a past"):
        flash_emulation.torch_flash(
            *(torch.zeros(1, 2, n, 64, dtype=BF16) for n in (3, 5, 5)), 0.0, True)  # fmt: skip


def test_flash_plans_hold_block_tables() -> None:
    segments = [Segment(300, 2, (7, 3)), Segment(0, 5, (4,))]
    plan = FlashPlan.of(segments, CPU, per_block=2)
    assert plan.table.tolist() == [[14, 15, 6, 7], [8, 9, 0, 0]]
    assert plan.query_ends.tolist() == [0, 2, 7]
    assert plan.key_ends.tolist() == [0, 302, 307]
    assert plan.lengths.tolist() == [302, 5]
    assert (plan.most_queries, plan.most_keys, plan.equal) == (5, 302, None)
    assert FlashPlan.of(segments[:1], CPU).equal == 2


def test_stretches_are_views_where_they_can_be() -> None:
    pool = torch.arange(8 * 4).view(8, 4, 1, 1)
    where = stretch((2, 3, 4), 5, 11, 4, CPU)
    assert where.of(pool).flatten().tolist() == [13, 14, 15, 16, 17, 18]
    assert where.of(pool).untyped_storage().data_ptr() == pool.untyped_storage().data_ptr()
    assert stretch((6, 1, 2), 2, 9, 4, CPU).of(pool).flatten().tolist() == [26, 27, 4, 5, 6, 7, 8]
    parts = list(stretches(tuple(range(5000)), 3, 20_000, 4, CPU))
    assert [part.count for part in parts] == [8189, 8192, 3616]
    assert list(stretches((1,), 3, 3, 4, CPU)) == []


def test_choice_by_device_dtype_and_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    have: dict[str, Any] = {"gpu": 9, "flash2": True, "flash3": "flash_attn_interface", "flash4": True}
    monkeypatch.setattr(selection, "capability", lambda _: have["gpu"])
    monkeypatch.setattr(selection, "flash2_installed", lambda: have["flash2"])
    monkeypatch.setattr(selection, "flash3_module", lambda: have["flash3"])
    monkeypatch.setattr(selection, "flash4_installed", lambda: have["flash4"])

    def chosen(device: torch.device = cuda, dtype: torch.dtype = BF16, **sizes: int) -> str:
        return select_attention(device, dtype, **sizes).name  # type: ignore[attr-defined,no-any-return]

    assert chosen(CPU, F32) in ("native", "sdpa")
    assert chosen() == "flash3"
    assert chosen(dtype=F32) == "sdpa"
    have["flash3"] = None
    assert chosen() == "flash2"
    assert chosen(block_size=64) == "flash4"
    have["gpu"] = 10
    assert chosen() == "flash4"
    assert chosen(head_dim=256) == "flash2"
    have["gpu"] = 12
    assert chosen() == "flash2"
    have["gpu"] = 8
    assert chosen(block_size=128) == "sdpa"
    have["gpu"] = 7
    assert chosen() == "sdpa"
    with pytest.raises(HardwareError, match="no attention backend"):
        chosen(head_dim=20)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("flash9", "unknown; use 'auto' or one of native"),
        ("flash2", "'flash2' cannot run here: it needs a CUDA device"),
        ("flash4", "it needs a CUDA device"),
    ],
)
def test_a_named_backend_that_cannot_run_says_why(name: str, said: str) -> None:
    with pytest.raises(HardwareError, match=said):
        select_attention(CPU, BF16, name)


def test_a_named_backend_is_taken() -> None:
    assert isinstance(select_attention(CPU, BF16, "reference"), ReferenceAttend)
    assert isinstance(select_attention(CPU, BF16, "sdpa"), SdpaAttend)


def test_merge_joins_any_split() -> None:
    torch.manual_seed(0)
    scores, values = 4 * torch.randn(3, 5, 12), torch.randn(3, 12, 8)
    whole, whole_lse = scores.softmax(-1) @ values, scores.logsumexp(-1)
    for cut in range(1, 12):
        parts = [(scores[..., :cut], values[:, :cut]), (scores[..., cut:], values[:, cut:])]
        (a, la), (b, lb) = ((s.softmax(-1) @ v, s.logsumexp(-1)) for s, v in parts)
        out, lse = merge(a, la, b, lb)
        torch.testing.assert_close(out, whole, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(lse, whole_lse, rtol=1e-5, atol=1e-6)


def test_merge_survives_extreme_weights() -> None:
    a, b = torch.zeros(1, 1, 4), torch.ones(1, 1, 4)
    far = torch.full((1, 1), 1e4)
    assert torch.equal(merge(a, -far, b, far)[0], b)
    assert torch.equal(merge(a, far, b, -far)[0], a)
