"""The native kernels against plain torch, and row for row against themselves."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.attention.batch import Segment
from model.attention.layout import lay_out
from model.attention.native import NativeAttend
from model.kv.pool import KVPool
from model.llama.rope import rotate
from model.native import FEW_ROWS, available, kernels, level
from model.native.halves import products
from model.native.levels import LIBRARIES, levels
from model.native.library import library
from model.native.matrix import Codes, Matrix, dense, floats, pack, quantise
from model.native.stack import Ends, Layer, Stack

DTYPES = [torch.float32, torch.bfloat16]
CPU = torch.device("cpu")
WIDTHS = (1, 15, 32, 75, 384)


def made(kind: str, rows: int, cols: int) -> Codes:
    """A random quantised matrix."""
    half = torch.randn(rows, cols // 32, 2).half()
    supers = torch.randn(rows, cols // 256, 2).half()
    match kind:
        case "q4":
            return Codes("q4", torch.randint(0, 16, (rows, cols), dtype=torch.uint8), half)
        case "q4_k":
            pairs = torch.randint(0, 64, (rows, cols // 32, 2), dtype=torch.uint8)
            return Codes("q4_k", torch.randint(0, 16, (rows, cols), dtype=torch.uint8), pairs, supers)
        case "q6_k":
            scales = torch.randint(-128, 128, (rows, cols // 16, 1), dtype=torch.int8)
            values = torch.randint(-32, 32, (rows, cols), dtype=torch.int8)
            return Codes("q6_k", values, scales, supers[..., :1].contiguous())
        case _:
            return quantise(torch.randn(rows, cols))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_a_library_is_built_and_loaded() -> None:
    assert available(), "run python -m model.native.build"
    assert level() in {each.name for each in levels()}


def linear_cases() -> list[tuple[str, Matrix, Tensor]]:
    cases = []
    for kind in ("q4", "q4_k", "q8", "q6_k"):
        codes = made(kind, 40, 512)  # 40 rows: the last tile is not full
        cases.append((kind, pack(codes), floats(codes)))
    for dtype in DTYPES:
        weight = torch.randn(41, 250).to(dtype)  # neither rows nor columns fill a vector
        cases.append((str(dtype), dense(weight), weight.float()))
    return cases


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_equal_the_dense_ones_and_every_row_its_own(dtype: torch.dtype) -> None:
    for kind, matrix, weight in linear_cases():
        x = torch.randn(FEW_ROWS, matrix.cols).to(dtype)
        out = kernels.linear(x, matrix, torch.float32)
        wanted = x.double() @ weight.double().T
        assert (out - wanted).abs().max() <= 2e-6 * wanted.abs().max(), kind
        assert torch.equal(kernels.linear(x, matrix), out.to(dtype)), kind
        for n in (1, 2, 3, 4, 5, 6, 7, 8, 11, 20):
            assert torch.equal(kernels.linear(x[-n:], matrix, torch.float32), out[-n:]), (kind, n)


@pytest.mark.skipif(level() != "amx", reason="this processor, or this system, has no tiles")
@pytest.mark.parametrize("kind", ["q4", "q4_k", "q8", "q6_k"])
def test_products_of_many_rows_by_tiles(kind: str) -> None:
    codes = made(kind, 88, 512)  # neither rows nor columns of the product fill the last tiles
    matrix = pack(codes)
    weight = kernels.unpack(matrix, torch.empty(88, 512, dtype=torch.bfloat16)).double()
    assert kernels.takes_many(matrix, torch.bfloat16)
    assert not kernels.takes_many(matrix, torch.float32)
    x = torch.randn(75, 512).bfloat16()
    out = kernels.linear(x, matrix, torch.float32)
    wanted = x.double() @ weight.T
    assert (out - wanted).abs().max() <= 2e-6 * wanted.abs().max()
    assert torch.equal(kernels.linear(x, matrix), out.bfloat16())
    for n in (33, 48, 63, 64):
        assert torch.equal(kernels.linear(x[-n:], matrix, torch.float32), out[-n:]), n


@pytest.mark.parametrize("kind", ["q4", "q4_k", "q8", "q6_k"])
def test_unpacking_gives_the_same_numbers(kind: str) -> None:
    codes = made(kind, 40, 256)
    matrix, wanted = pack(codes), floats(codes)
    unpacked = kernels.unpack(matrix, torch.empty(40, 256))
    torch.testing.assert_close(unpacked, wanted, rtol=1e-6, atol=1e-6 * wanted.abs().max().item())
    ids = torch.tensor([39, 0, 17, 17])
    assert torch.equal(kernels.take(matrix, ids, torch.float32), unpacked[ids])
    narrow = kernels.unpack(matrix, torch.empty(40, 256, dtype=torch.bfloat16))
    assert torch.equal(narrow, unpacked.bfloat16())


def test_eight_bits_err_by_half_a_step() -> None:
    weight = torch.randn(16, 64)
    step = weight.view(16, 2, 32).abs().amax(dim=2) / 127
    error = (floats(quantise(weight)) - weight).abs().view(16, 2, 32).amax(dim=2)
    # The step itself is rounded to float16, which 127 steps feel.
    assert (error <= step * (0.5 + 127 * 2**-11)).all()
    assert torch.equal(floats(quantise(torch.zeros(16, 32))), torch.zeros(16, 32))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [64, 75])
def test_norm_gate_and_rotation_equal_torch(dtype: torch.dtype, width: int) -> None:
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 2e-2, "atol": 1e-2}
    x, weight = torch.randn(5, width).to(dtype), torch.randn(width).to(dtype)
    wanted = F.rms_norm(x.float(), (width,), weight.float(), 1e-5).to(dtype)
    torch.testing.assert_close(kernels.norm(x, weight, 1e-5), wanted, **tolerance)
    more = torch.randn_like(x)
    expected = x + more
    after = kernels.norm(x, weight, 1e-5, more)
    assert torch.equal(x, expected)
    assert torch.equal(after, kernels.norm(expected, weight, 1e-5))
    both = torch.randn(5, 2 * width).to(dtype) * 8
    gate, up = both.float().chunk(2, dim=1)
    torch.testing.assert_close(kernels.gate(both), (F.silu(gate) * up).to(dtype), **tolerance)

    pool = KVPool(1, 4, 16, 2, 8, CPU, dtype)
    qkv = torch.randn(5, 4 + 2 * 2, 8).to(dtype)
    angles = torch.randn(5, 1, 4)
    table, slots = torch.complex(angles.cos(), angles.sin()), torch.tensor([3, 63, 17, 0, 40])
    keys, values = pool.keys(0), pool.values(0)
    queries = kernels.rotate(qkv, 4, table, slots, keys, values)
    turned = rotate(qkv[:, :6], table)
    torch.testing.assert_close(queries, turned[:, :4], **tolerance)
    torch.testing.assert_close(keys.flatten(0, 1)[slots], turned[:, 4:], **tolerance)
    assert torch.equal(values.flatten(0, 1)[slots], qkv[:, 6:])


def attend_plainly(q: Tensor, keys: Tensor, values: Tensor, start: int) -> tuple[Tensor, Tensor]:
    """The formula in float64."""
    group = q.shape[1] // keys.shape[1]
    keys, values = (x.double().repeat_interleave(group, dim=1) for x in (keys, values))
    scores = torch.einsum("nhd,mhd->hnm", q.double(), keys) / q.shape[2] ** 0.5
    seen = torch.arange(len(keys))[None] <= start + torch.arange(len(q))[:, None]
    scores = scores.masked_fill(~seen, -torch.inf)
    return torch.einsum("hnm,mhd->nhd", scores.softmax(dim=-1), values), scores.logsumexp(dim=-1)


@settings(max_examples=12, deadline=None)
@given(
    dtype=st.sampled_from(DTYPES),
    shape=st.sampled_from([(9, 3, 64), (4, 2, 16), (8, 1, 128), (2, 2, 24), (16, 2, 10)]),
    block_size=st.sampled_from([16, 256]),
    cuts=st.lists(
        st.tuples(st.integers(0, 1300), st.sampled_from([1, 2, 7, 32, 33, 130])), min_size=1, max_size=4
    ),
)
def test_attention_equals_the_formula_and_every_row_its_own(
    dtype: torch.dtype, shape: tuple[int, int, int], block_size: int, cuts: list[tuple[int, int]]
) -> None:
    heads, kv_heads, dim = shape
    blocks = -(-1430 // block_size)
    pool = KVPool(1, blocks, block_size, kv_heads, dim, CPU, dtype)
    keys, values = pool.keys(0).normal_(), pool.values(0).normal_()
    order = tuple(torch.randperm(blocks).tolist())
    segments = [Segment(start, count, order[: -(-(start + count) // block_size)]) for start, count in cuts]
    queries = torch.randn(sum(each.count for each in segments), heads, dim).to(dtype)
    attend = NativeAttend()
    out, lse = attend.with_lse(queries, keys, values, attend.plan(segments, pool))
    first = 0
    for each in segments:
        rows, end = slice(first, first + each.count), each.start + each.count
        own_keys, own_values = (pages[list(each.blocks)].flatten(0, 1)[:end] for pages in (keys, values))
        wanted, wanted_lse = attend_plainly(queries[rows], own_keys, own_values, each.start)
        exact = dtype == torch.float32
        torch.testing.assert_close(out[rows].double(), wanted, rtol=0, atol=2e-6 if exact else 2e-2)
        torch.testing.assert_close(lse[:, rows].double(), wanted_lse, rtol=0, atol=1e-5 if exact else 1e-4)
        for row in {0, each.count // 2, each.count - 1}:
            alone = Segment(each.start + row, 1, each.blocks)
            again = attend(queries[first + row][None], keys, values, attend.plan([alone], pool))
            assert torch.equal(again[0], out[first + row])
        first += each.count


@settings(max_examples=12, deadline=None)
@given(
    dtype=st.sampled_from(DTYPES),
    shape=st.sampled_from([(12, 32), (4, 64), (3, 24), (2, 10)]),
    lengths=st.lists(st.sampled_from([1, 2, 31, 33, 64, 65, 130, 512, 1100]), min_size=1, max_size=4),
)
def test_a_token_sees_its_whole_text_and_no_other(
    dtype: torch.dtype, shape: tuple[int, int], lengths: list[int]
) -> None:
    heads, dim = shape
    qkv = torch.randn(sum(lengths), 3 * heads * dim).to(dtype)
    out = kernels.attend_within(qkv, heads, lengths)
    first = 0
    for length in lengths:
        own = slice(first, first + length)
        q, k, v = (part.double().transpose(0, 1) for part in qkv[own].view(length, 3, heads, dim).unbind(1))
        wanted = F.scaled_dot_product_attention(q, k, v).transpose(0, 1)
        exact = dtype == torch.float32
        torch.testing.assert_close(out[own].double(), wanted, rtol=0, atol=2e-6 if exact else 2e-2)
        assert torch.equal(kernels.attend_within(qkv[own].contiguous(), heads, [length]), out[own])
        first += length


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_stack_gives_what_its_kernels_give(dtype: torch.dtype) -> None:
    heads, kv_heads, dim, hidden, ffn = 4, 2, 16, 64, 96
    matrices = [pack(made(kind, *shape)) for kind, shape in (("q4", (128, 64)), ("q8", (64, 64)))]
    matrices += [dense(torch.randn(2 * ffn, hidden).to(dtype)), pack(made("q8", hidden, ffn))]
    norms = torch.rand(3, hidden).to(dtype)
    pool = KVPool(1, 3, 16, kv_heads, dim, CPU, dtype)
    keys, values = pool.keys(0).normal_(), pool.values(0).normal_()
    angles = torch.randn(30, dim // 2)
    rotations = torch.complex(angles.cos(), angles.sin())
    attend, segments = NativeAttend(), [Segment(19, 3, (1, 2)), Segment(0, 1, (0,))]
    plan, layout = attend.plan(segments, pool), lay_out(segments, 16)
    assert layout.slots == [35, 36, 37, 0]

    embed, ids = pack(made("q8", 20, hidden)), [3, 19, 3, 0]
    x = kernels.take(embed, torch.tensor(ids), dtype)
    qkv, out, gate_up, down = matrices
    rows = kernels.linear(kernels.norm(x, norms[0], 1e-5), qkv).view(4, heads + 2 * kv_heads, dim)
    table = rotations[layout.positions].unsqueeze(1)
    queries = kernels.rotate(rows, heads, table, torch.tensor(layout.slots), keys, values)
    wanted = x + kernels.linear(attend(queries, keys, values, plan).view(4, -1), out)
    gated = kernels.gate(kernels.linear(kernels.norm(wanted, norms[1], 1e-5), gate_up))
    wanted = wanted + kernels.linear(gated, down)
    kept = keys.clone(), values.clone()
    pool.write(0, torch.tensor(layout.slots), *torch.zeros(2, 4, kv_heads, dim, dtype=dtype))

    ends = Ends(embed, embed, norms[2], 1e-5)
    stack = Stack([Layer(norms[0], norms[1], *matrices, keys, values)], heads, ends)
    found = stack.logits(ids, layout, rotations, [0, 2, 3])
    assert torch.equal(keys, kept[0])
    assert torch.equal(values, kept[1])
    logits = kernels.linear(kernels.norm(wanted, norms[2], 1e-5), embed, torch.float32)
    assert torch.equal(found.values, logits[[0, 2, 3]])
    assert found.best is not None
    assert list(found.best) == found.values.argmax(dim=1).tolist()
    pool.write(0, torch.tensor(layout.slots), *torch.zeros(2, 4, kv_heads, dim, dtype=dtype))
    assert stack.logits(ids, layout, rotations, []).values.shape == (0, 20)
    assert torch.equal(keys, kept[0])
    same = dense(torch.ones(40_000, hidden, dtype=dtype))  # more than one task has the largest
    stack = Stack(
        [Layer(norms[0], norms[1], *matrices, keys, values)], heads, Ends(embed, same, norms[2], 1e-5)
    )
    assert list(stack.logits(ids, layout, rotations, [1, 3]).best or ()) == [0, 0]


@pytest.mark.parametrize("width", WIDTHS)
def test_half_floats_times_a_query(width: int) -> None:
    drawn = np.random.default_rng(width)
    rows = np.concatenate([drawn.normal(size=(13, width)), np.full((2, width), 3e-6)]).astype(np.float16)
    query = drawn.normal(size=width).astype(np.float32)
    found = products(rows, query)
    wide, asked = rows.astype(np.float64), query.astype(np.float64)
    # Higham 2002, section 3.1
    assert (np.abs(found - wide @ asked) <= (width + 1) * 2.0**-24 * (np.abs(wide) @ np.abs(asked))).all()
    for some in ([], [4], [14, 0, 0, 7, 3], list(range(15))):
        which = np.array(some, dtype=np.int64)
        assert products(rows, query, which).tobytes() == found[which].tobytes(), "each row its own"
    assert products(rows[1:], query).tobytes() == found[1:].tobytes(), "wherever it stands"


def test_any_number_of_threads_gives_the_same_bits() -> None:
    before = torch.get_num_threads()
    matrix, x = pack(made("q4", 4096, 512)), torch.randn(3, 512)
    try:
        results = []
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results += [kernels.linear(x, matrix) for _ in range(20)]
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(each, results[0]) for each in results)


_CHILD = """
import os, torch
from model.native import kernels
from model.native.matrix import pack, quantise
torch.set_num_threads(2)
matrix, x = pack(quantise(torch.randn(4096, 512))), torch.randn(2, 512)
want = kernels.linear(x, matrix)
child = os.fork()
if child == 0:
    os._exit(0 if torch.equal(kernels.linear(x, matrix), want) else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_process_has_threads_of_its_own() -> None:
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", _CHILD], cwd=root, check=True, timeout=60)


_LEVEL = """
import sys, torch
sys.path[:0] = ["tests/model"]
import test_native as tests
from model.native import level
torch.manual_seed(0)
print(level())
for dtype in tests.DTYPES:
    tests.test_products_equal_the_dense_ones_and_every_row_its_own(dtype)
    tests.test_norm_gate_and_rotation_equal_torch(dtype, 75)
    tests.test_a_stack_gives_what_its_kernels_give(dtype)
tests.test_unpacking_gives_the_same_numbers("q4_k")
tests.test_attention_equals_the_formula_and_every_row_its_own()
for width in tests.WIDTHS:
    tests.test_half_floats_times_a_query(width)
"""


def runnable() -> list[str]:
    """Levels below the one in use: what runs the best one runs them all."""
    names = [each.name for each in levels()]
    return names[names.index(level()) + 1 :] if level() else []


@pytest.mark.parametrize("name", runnable())
def test_the_lower_levels_compute_the_same(name: str) -> None:
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "LONGLEAF_NATIVE": name}
    command = [sys.executable, "-c", _LEVEL]
    done = subprocess.run(
        command, cwd=root, env=environment, check=False, timeout=120, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [name]


def test_without_a_library_nothing_fits() -> None:
    root = Path(__file__).resolve().parents[2]
    code = (
        "import torch; from model.native import kernels as k, level; print([level()], k.fits(torch.ones(1)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env={**os.environ, "LONGLEAF_NATIVE": "off"}, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.split() == ["['']", "False"]


def test_a_library_of_other_sources_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in LIBRARIES.glob("*.so"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr("model.native.library.LIBRARIES", tmp_path)
    library.cache_clear()
    try:
        assert isinstance(library(), ctypes.CDLL)
        monkeypatch.setattr("model.native.library.fingerprint", lambda: "0" * 15)
        library.cache_clear()
        assert library() is None
    finally:
        library.cache_clear()
