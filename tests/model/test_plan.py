"""What a plan predicts against what is allocated, and the arithmetic of splitting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import accumulate

import pytest
import torch
from torch import Tensor

from model import ParameterError
from model.attention import Segment
from model.executor import LocalExecutor
from model.kv.pool import KVPool
from model.llama.config import LlamaConfig
from model.llama.presets import PRESETS
from model.llama.rope import Rope
from model.llama.transformer import Transformer
from model.loading import blocks_for
from model.native import kernels
from model.options import EngineOptions
from model.plan import (
    BLOCK,
    Deployment,
    WeightKind,
    activation_bytes,
    is_quantised,
    kv_token_bytes,
    logit_bytes,
    plan,
    rotation_bytes,
    shard,
    weight_bytes,
)
from model.quant import fp8

CPU = torch.device("cpu")
SMALL = replace(
    PRESETS["llama-3.1-8b"], layers=4, hidden_size=512, heads=8, kv_heads=2, head_dim=64, ffn_size=1792,
    vocab_size=8_000,
)  # fmt: skip
GB = 10**9

pytestmark = pytest.mark.filterwarnings("ignore:TF32 acceleration")


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the CPU's own kernels, which hold less at a time than torch's."""
    monkeypatch.setattr(kernels, "fits", lambda _: False)


class FlashShaped:
    """Allocates what flash-attention does: its result and a log-sum-exp."""

    name = "flash-shaped"

    def plan(self, *_: object) -> None: ...

    def with_lse(self, queries: Tensor, *_: object) -> tuple[Tensor, Tensor]:
        return torch.zeros(queries.shape, dtype=queries.dtype), torch.zeros(
            queries.shape[1], queries.shape[0]
        )

    def __call__(self, queries: Tensor, *_: object) -> Tensor:
        return self.with_lse(queries)[0]


def built(dtype: torch.dtype, kind: WeightKind = "bf16", config: LlamaConfig = SMALL) -> LocalExecutor:
    with torch.device("meta"):
        model = Transformer(config)
        for name, parameter in list(model.named_parameters()):
            if is_quantised(name, config.layers, kind):
                outputs, inputs = parameter.shape
                model.set_submodule(name.removesuffix(".weight"), fp8.FP8Linear(inputs, outputs))
    model = model.to(dtype).to_empty(device=CPU).requires_grad_(False)
    pool = KVPool(config.layers, 2, BLOCK, config.kv_heads, config.head_dim, CPU, dtype)
    return LocalExecutor(model, Rope.of(config, CPU), FlashShaped(), pool)


def peak(work: Callable[[], Tensor]) -> int:
    """Most bytes that the allocator held at a time beyond those from before."""
    work()
    # oneDNN's products take scratch beside their result; a GPU's take it from a workspace.
    with (
        torch.backends.mkldnn.flags(enabled=False),
        torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
        ) as profile,
    ):
        kept = work()
    assert kept is not None  # its release would be an event as well
    events = [each for each in profile.profiler.kineto_results.events() if each.name() == "[memory]"]
    sizes = [each.nbytes() for each in sorted(events, key=lambda each: each.start_ns())]
    return max(accumulate(sizes))


def storage(model: torch.nn.Module) -> int:
    tensors = [*model.parameters(), *model.buffers()]
    return sum(each.untyped_storage().nbytes() for each in tensors)


@pytest.mark.parametrize("kind", ["bf16", "fp8"])
def test_weights_are_what_the_modules_hold(kind: WeightKind) -> None:
    assert weight_bytes(SMALL, kind) == storage(built(torch.bfloat16, kind)._model)
    tied = replace(SMALL, tied=True)
    assert weight_bytes(SMALL, kind) - weight_bytes(tied, kind) == 2 * SMALL.vocab_size * SMALL.hidden_size


def test_int8_weights_are_a_byte_and_a_scale_a_row() -> None:
    qkv, out, gate_up, down = (8 + 2 * 2) * 64, 512, 2 * 1792, 512
    matrices = qkv * 512 + out * 512 + gate_up * 512 + down * 1792
    scales = 4 * (qkv + out + gate_up + down)
    rest = 2 * (2 * 8_000 * 512 + (2 * 4 + 1) * 512)
    assert weight_bytes(SMALL, "int8") == 4 * (matrices + scales) + rest


@pytest.mark.parametrize(("kind", "dtype"), [("bf16", torch.bfloat16), ("fp8", torch.float8_e4m3fn)])
def test_keys_and_values_are_what_the_pool_holds(kind: str, dtype: torch.dtype) -> None:
    pool = KVPool(SMALL.layers, 3, BLOCK, SMALL.kv_heads, SMALL.head_dim, CPU, dtype)
    assert 3 * BLOCK * kv_token_bytes(SMALL, kind) == pool._storage.untyped_storage().nbytes()  # type: ignore[arg-type]
    assert BLOCK * kv_token_bytes(SMALL, kind) == pool.block_bytes  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("dtype", "kind"), [(torch.bfloat16, "bf16"), (torch.float32, "bf16"), (torch.bfloat16, "fp8")]
)
def test_activations_are_what_a_pass_allocates(
    dtype: torch.dtype, kind: WeightKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    def product(x: Tensor, _: Tensor, weight: Tensor, __: Tensor) -> Tensor:
        return torch.zeros(x.shape[0], weight.shape[0], dtype=torch.bfloat16)  # as a GPU's FP8 product does

    monkeypatch.setattr(fp8, "exact_product", product)
    for rows, config in ((40, SMALL), (96, SMALL), (96, shard(SMALL, 8))):
        executor, segments = built(dtype, kind, config), [Segment(0, rows, (0, 1))]
        measured = peak(partial(executor.forward, [1] * rows, segments))
        assert activation_bytes(config, rows, kind, dtype.itemsize) == pytest.approx(measured, rel=0.05)


def test_rotations_are_what_the_table_holds() -> None:
    config = replace(SMALL, context_length=8_192)
    rope = Rope.of(config, CPU)
    rope.reserve(config.context_length)
    assert rotation_bytes(config) == rope._table.untyped_storage().nbytes()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_logits_are_what_the_head_allocates(dtype: torch.dtype) -> None:
    executor = built(dtype)
    hidden = torch.zeros(32, SMALL.hidden_size, dtype=dtype)
    measured = peak(lambda: executor.head(hidden))
    assert logit_bytes(SMALL, 32, dtype.itemsize) == pytest.approx(measured, rel=0.05)


@pytest.mark.parametrize("gpus", [1, 2, 4, 8, 16])
def test_parts_hold_the_whole_and_repeat_what_cannot_be_split(gpus: int) -> None:
    whole = PRESETS["llama-3.1-70b"]
    part = shard(whole, gpus)
    norms = 2 * (2 * whole.layers + 1) * whole.hidden_size
    repeats = max(1, gpus // whole.kv_heads)
    keys = 2 * whole.layers * 2 * whole.kv_heads * whole.head_dim * whole.hidden_size
    expected = weight_bytes(whole, "bf16") + (gpus - 1) * norms + (repeats - 1) * keys
    assert gpus * weight_bytes(part, "bf16") == expected
    assert gpus * kv_token_bytes(part, "bf16") == repeats * kv_token_bytes(whole, "bf16")


def test_the_405b_model_in_fp8_on_eight_gpus() -> None:
    """By hand, from the published sizes."""
    found = plan(PRESETS["llama-3.1-405b"], Deployment(8, 80 * GB, 131_072, dtype="fp8"))
    hidden, ffn, words = 16_384, 53_248, 128_256
    attention = (128 + 8 + 8 + 128) * 128 * hidden
    layers = 126 * 2 * attention // 8 + 2 * 2 * 3 * hidden * ffn // 8
    inner = 124 * (3 * hidden * ffn // 8 + 4 * (2 * ffn // 8 + hidden))
    rest = 2 * 2 * words * hidden // 8 + 2 * (2 * 126 + 1) * hidden
    assert found.weights == layers + inner + rest
    assert found.kv == 131_072 * 2 * 126 * 128 * 2
    assert found.parameters == 405_853_388_800
    assert found.fits
    assert (found.largest_context, found.most_sequences) == (131_072, 1)
    assert not plan(PRESETS["llama-3.1-405b"], Deployment(8, 80 * GB, 131_072)).fits


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", ["bf16", "fp8", "int8"])
def test_stages_hold_the_whole_once(kind: WeightKind, tied: bool) -> None:
    """Only a tied embedding is there twice: the last stage has it for its head."""
    config = replace(SMALL, layers=7, tied=tied)
    for stages in (1, 2, 3):
        found = plan(config, Deployment(2, 80 * GB, 4096, dtype=kind, stages=stages))
        part = shard(config, 2)
        twice = 2 * part.vocab_size * part.hidden_size if tied and stages > 1 else 0
        assert sum(each.weights for each in found.stages) == weight_bytes(part, kind) + twice
        assert sum(each.kv_token for each in found.stages) == kv_token_bytes(part, "bf16")
        assert found.needed == max(each.needed for each in found.stages)
        # A sequence is held by every stage: one that has no room is the limit of all.
        assert found.most_sequences == min(each.room // each.kv for each in found.stages)


def test_the_405b_model_on_two_hosts() -> None:
    """In stages every GPU has a key head of its own; over sixteen ranks two have the same one."""
    config = PRESETS["llama-3.1-405b"]
    staged = plan(config, Deployment(8, 80 * GB, 131_072, stages=2))
    ranks = plan(config, Deployment(16, 80 * GB, 131_072))
    assert (staged.fits, ranks.fits) == (True, True)
    assert (staged.replication, ranks.replication) == (1, 2)
    assert 2 * staged.kv_token == ranks.kv_token
    assert (staged.most_sequences, ranks.most_sequences) == (5, 2)
    assert [each.layers for each in staged.stages] == [(0, 63), (63, 126)]
    assert (staged.idle_reading, staged.idle_writing) == (pytest.approx(1 / 9), 0.5)
    assert (ranks.idle_reading, ranks.idle_writing) == (0, 0)
    assert plan(config, Deployment(8, 80 * GB, 2048, stages=2)).idle_reading == 0.5  # a single chunk


def test_what_fits_is_what_is_needed() -> None:
    config = PRESETS["llama-3.1-8b"]
    for memory in (20, 24, 40, 80):
        found = plan(config, Deployment(1, memory * GB, 131_072))
        full = plan(config, Deployment(1, memory * GB, 131_072, sequences=max(1, found.most_sequences)))
        assert full.fits == (found.most_sequences > 0)
        more = Deployment(1, memory * GB, 131_072, sequences=found.most_sequences + 1)
        assert not plan(config, more).fits
        if found.largest_context > 0:
            assert plan(config, Deployment(1, memory * GB, found.largest_context)).fits
        if found.largest_context < 131_072 - BLOCK:
            assert not plan(config, Deployment(1, memory * GB, found.largest_context + BLOCK)).fits


@pytest.mark.parametrize(("name", "gpus", "memory"), [
    ("llama-3.1-8b", 1, 24 * GB), ("llama-3.1-8b", 1, 80 * GB), ("llama-3.1-70b", 8, 80 * GB),
    ("llama-3.1-405b", 8, 140 * GB),
])  # fmt: skip
@pytest.mark.parametrize("kind", ["bf16", "fp8"])
def test_the_loader_has_the_room_that_was_planned(
    monkeypatch: pytest.MonkeyPatch, name: str, gpus: int, memory: int, kind: WeightKind
) -> None:
    config, device = PRESETS[name], torch.device("cuda")
    found = plan(config, Deployment(gpus, memory, config.context_length, dtype=kind))

    def room(context: int) -> int:
        """Blocks on a GPU that holds the weights, and `context` bytes of others."""
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (memory - found.weights - context, memory))
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: found.weights)
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: found.weights)
        part, options = shard(config, gpus), EngineOptions()
        return blocks_for(part, device, torch.bfloat16, options, words=config.vocab_size, weights=kind)

    blocks = room(0)
    assert min(config.context_length, blocks * BLOCK) == found.largest_context
    assert blocks // (config.context_length // BLOCK) == found.most_sequences
    assert room(500_000_000) == blocks  # the reserve is there for the CUDA context
    assert room(found.reserve + GB) < blocks


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gpus": 3}, "gpus is 3"),
        ({"gpus": 0}, "gpus is 0"),
        ({"stages": 0}, "stages is 0"),
        ({"stages": 33}, "stages is 33; allowed: 1 to 32"),
        ({"context": 131_073}, "the model's window is 131072"),
        ({"dtype": "int4"}, "'int4'; allowed: bf16, fp8, int8"),
        ({"kv": "int4"}, "kv is 'int4'"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        plan(
            PRESETS["llama-3.1-8b"],
            Deployment(**{"gpus": 1, "gpu_memory": GB, "context": 4096, **change}),  # type: ignore[arg-type]
        )
