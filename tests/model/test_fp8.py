"""FP8 layers: numerics against a written-out reference, bit for bit, and the call of the GPU kernel."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from model.quant import fp8
from model.quant.fp8 import E4M3, FP8Linear, dequantize_rows, exact_product, quantize_rows

# e4m3 from its definition: sign, four exponent bits with bias 7, three mantissa bits; S.1111.111 is NaN.
E4M3_VALUES = [
    Fraction(m, 8) * Fraction(2) ** -6 if e == 0 else (1 + Fraction(m, 8)) * Fraction(2) ** (e - 7)
    for e in range(16)
    for m in range(8)
][:-1]


def to_e4m3(value: np.float32) -> int:
    """The byte of a float32: nearest, ties to the even mantissa, saturating; NaN stays NaN."""
    if np.isnan(value):
        return 0x7F
    sign = 0x80 if np.signbit(value) else 0
    if np.isinf(value):
        return sign | 0x7E
    exact = abs(Fraction(float(value)))
    return sign | min(range(127), key=lambda i: (abs(E4M3_VALUES[i] - exact), i % 2))


def from_e4m3(byte: int) -> Fraction:
    return E4M3_VALUES[byte & 0x7F] * (-1 if byte & 0x80 else 1)


def to_bfloat16(value: np.float32) -> np.float32:
    """Round to nearest even on the upper 16 bits."""
    bits = int(np.float32(value).view(np.uint32))
    return np.uint32((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32)


def reference_rows(x: Tensor, bound: float | None) -> tuple[list[list[int]], list[np.float32]]:
    """fbgemm's row-wise quantisation, one value after the other, in float32."""
    scales, rows = [], []
    for row in x.float().numpy():
        largest = np.float32(0)
        for value in row:
            largest = np.float32(np.nan) if np.isnan(value) else max(largest, abs(value), key=_nan_first)
        if bound is not None and largest > np.float32(bound):
            largest = np.float32(bound)
        scale = np.float32(largest / np.float32(448))
        smallest = np.float32(1) / np.float32(448 * 512)
        scale = smallest if scale < smallest else scale
        rows.append([to_e4m3(np.float32(value / scale)) for value in row])
        scales.append(scale)
    return rows, scales


def _nan_first(value: np.float32) -> float:
    return float("inf") if np.isnan(value) else float(value)


def reference_product(x: Tensor, weight: Tensor, weight_scale: Tensor, bound: float) -> Tensor:
    """x·wᵀ of bytes, summed as fractions, then rounded step by step."""
    rows, scales = reference_rows(x, bound)
    columns = [[from_e4m3(byte) for byte in row] for row in weight.view(torch.uint8).tolist()]
    out = []
    for row, scale in zip(rows, scales, strict=True):
        if 0x7F in row or 0xFF in row:
            out.append([np.float32(np.nan)] * len(columns))
            continue
        values = [from_e4m3(byte) for byte in row]
        line = []
        for column, column_scale in zip(columns, weight_scale[:, 0].numpy(), strict=True):
            total = sum(a * b for a, b in zip(values, column, strict=True))
            scaled = np.float32(np.float32(np.float32(float(total)) * column_scale) * scale)
            line.append(to_bfloat16(scaled))
        out.append(line)
    return torch.tensor(np.array(out, dtype=np.float32))


def layer(inputs: int, outputs: int, seed: int = 0) -> FP8Linear:
    generator = torch.Generator().manual_seed(seed)
    made = FP8Linear(inputs, outputs)
    rows, scale = quantize_rows(torch.randn(outputs, inputs, generator=generator) / 8)
    made.weight.data.copy_(rows)
    made.weight_scale.copy_(scale)
    return made


def same_bits(left: Tensor, right: Tensor) -> bool:
    """Equal bit for bit, a NaN being one whatever its payload."""
    left, right = left.float(), right.float()
    return bool((left.isnan() == right.isnan()).all()) and torch.equal(
        left.nan_to_num().view(torch.int32), right.nan_to_num().view(torch.int32)
    )


HARD_ROWS = torch.tensor(
    [
        [0.0] * 8,
        [1e-9, -1e-9, 0, 1e-45, 0, 0, 0, 0],  # below the smallest scale
        [1200.0, 1199.0, -1200.0, 0.01, 3, 5, 7, 9],
        [5000.0, 1300.0, -90000.0, 1.0, 0.5, 2, 600, 1201],  # saturates
        [448.0, 447.0, 1.75, 0.001953125, 0.0009765625, 0.00097657, 17.0, 19.0],  # subnormals, ties
        [float("inf"), 1.0, -2.0, 3.0, 0, 0, 0, 0],
        [float("nan"), 1.0, -2.0, 3.0, 0, 0, 0, 0],
        [-0.0, 0.3, -0.3, 1e-3, -1e-3, 1e-4, 2.5e-4, 1.0],
    ]
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bound", [1200.0, None])
def test_rows_are_quantised_as_written_out(dtype: torch.dtype, bound: float | None) -> None:
    generator = torch.Generator().manual_seed(1)
    random = torch.randn(24, 8, generator=generator) * torch.logspace(-7, 4, 24)[:, None]
    x = torch.cat([HARD_ROWS, random]).to(dtype)
    if bound is None:
        x = x[~x.isinf().any(dim=1)]
    rows, scale = quantize_rows(x, bound)
    wanted_rows, wanted_scale = reference_rows(x, bound)
    wanted = torch.tensor(wanted_rows, dtype=torch.uint8).view(E4M3)
    assert same_bits(rows, wanted)
    assert same_bits(scale, torch.tensor(np.array(wanted_scale))[:, None])
    assert scale.dtype == torch.float32


def test_every_e4m3_number_is_decoded() -> None:
    every = torch.arange(256, dtype=torch.int16).to(torch.uint8)
    numbers = every[(every & 0x7F) != 0x7F]
    wanted = torch.tensor([float(from_e4m3(int(byte))) for byte in numbers], dtype=torch.float64)
    assert torch.equal(fp8._decode(numbers.view(E4M3)) * 256, wanted)
    assert torch.equal(numbers.view(E4M3).double(), wanted)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), rows=st.integers(1, 5), size=st.floats(1e-8, 1e5))
def test_products_equal_the_written_out_ones_bit_for_bit(seed: int, rows: int, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    made = layer(24, 7, seed)
    made.weight_scale[3] = fp8.SMALLEST_SCALE  # a row of zeros
    made.weight.data[3] = 0
    x = (torch.randn(rows, 24, generator=generator) * size).bfloat16()
    x[0, 0] = 30.0 * size
    wanted = reference_product(x, made.weight, made.weight_scale, made.bound)
    out = made(x)
    assert out.dtype == torch.bfloat16
    assert same_bits(out, wanted)


def test_hard_rows_through_a_layer() -> None:
    made = layer(8, 5)
    wanted = reference_product(HARD_ROWS, made.weight, made.weight_scale, made.bound)
    out = made(HARD_ROWS)
    assert out.dtype == torch.float32
    assert same_bits(out, wanted)
    assert out[6].isnan().all()
    assert out[:6].isfinite().all()


def test_a_row_is_the_same_bits_whatever_is_computed_with_it() -> None:
    made = layer(1536, 2100)  # three blocks of rows
    x = torch.randn(70, 1536, generator=torch.Generator().manual_seed(2)) * 50
    whole = made(x)
    assert torch.equal(whole, torch.cat([made(row[None]) for row in x]))
    assert torch.equal(whole, torch.cat([made(x[:33]), made(x[33:])]))


def test_casting_and_moving_keep_weights_and_scales() -> None:
    model = nn.Sequential(nn.Linear(16, 16), layer(16, 32))
    made = model[1]
    before = made.weight.view(torch.uint8).clone(), made.weight_scale.clone()
    model.to(torch.bfloat16)
    assert model[0].weight.dtype == torch.bfloat16
    assert (made.weight.dtype, made.weight_scale.dtype) == (E4M3, torch.float32)
    assert torch.equal(made.weight.view(torch.uint8), before[0])
    assert torch.equal(made.weight_scale, before[1])
    with torch.device("meta"):
        empty = FP8Linear(16, 32)
    empty = empty.to(torch.float16).to_empty(device="cpu")
    assert (empty.weight.dtype, empty.weight_scale.dtype) == (E4M3, torch.float32)


def documented_scaled_mm(  # the names are torch's
    mat1: Tensor,
    mat2: Tensor,
    *,
    scale_a: Tensor,
    scale_b: Tensor,
    out_dtype: torch.dtype,
    use_fast_accum: bool,
) -> Tensor:
    """torch's checks before the CUDA kernel with row-wise scales (aten/native/cuda/ScaledBlas.cpp)."""
    (n, inputs), (same, outputs) = mat1.shape, mat2.shape
    assert inputs == same
    assert inputs % 16 == 0
    assert outputs % 16 == 0
    assert mat1.dtype == mat2.dtype == E4M3
    assert mat1.is_contiguous()
    assert mat2.stride() == (1, inputs)  # column-major
    assert mat1.data_ptr() % 16 == mat2.data_ptr() % 16 == 0
    assert scale_a.dtype == scale_b.dtype == torch.float32
    assert scale_a.shape == (n, 1)
    assert scale_b.shape == (1, outputs)
    assert scale_a.is_contiguous()
    assert scale_b.is_contiguous()
    assert out_dtype == torch.bfloat16
    assert use_fast_accum
    return exact_product(mat1, scale_a, mat2.T, scale_b.T)


@pytest.mark.parametrize("n", [1, 2, 33])
def test_the_gpu_call_is_the_documented_one(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    made = layer(48, 96)
    x = torch.randn(2 * n, 48)[::2].bfloat16()
    rows, scale = quantize_rows(x, made.bound)
    # torch has the kernel for CPUs as well; it checks the scales' shapes and sums in float32.
    theirs = fp8.scaled_mm_product(rows, scale, made.weight, made.weight_scale)
    torch.testing.assert_close(theirs, made(x), rtol=2**-7, atol=1e-6)
    monkeypatch.setattr(torch, "_scaled_mm", documented_scaled_mm)
    assert torch.equal(fp8.scaled_mm_product(rows, scale, made.weight, made.weight_scale), made(x))
    assert FP8Linear(40, 96)._ragged
    assert not made._ragged


@pytest.mark.parametrize("n", [1, 2, 33])
def test_torch_itself_accepts_the_gpu_call(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the meta device `torch._scaled_mm` runs the GPU's checks of layout and sizes, and nothing else."""
    made = layer(48, 96).to("meta")
    out = made(torch.empty(n, 48, dtype=torch.bfloat16, device="meta"))
    assert (out.shape, out.dtype) == ((n, 96), torch.bfloat16)
    swapped = made.weight.T.contiguous().T
    monkeypatch.setitem(made._parameters, "weight", nn.Parameter(swapped, requires_grad=False))
    with pytest.raises(RuntimeError, match=r"column.major|row.major|stride"):
        made(torch.empty(n, 48, dtype=torch.bfloat16, device="meta"))


def test_dequantised_weights_are_rounded_once() -> None:
    rows, scale = quantize_rows(torch.randn(64, 64))
    exact = torch.from_numpy(rows.double().numpy() * scale.double().numpy())
    assert torch.equal(dequantize_rows(rows, scale, torch.float32), exact.float())
    assert (
        dequantize_rows(rows, scale, torch.bfloat16).double() - exact
    ).abs().max() <= 2**-8 * exact.abs().max()
