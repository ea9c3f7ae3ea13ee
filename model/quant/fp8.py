"""FP8 linear layers as in Llama-3.1-405B-FP8 (Grattafiori et al. 2024, 6.2; fbgemm's row-wise kernels).

A weight matrix is e4m3 with one float32 scale a row. Activations become e4m3 when they arrive, with one scale
a token. A token's largest value counts as 1200 at most: beyond, it saturates and leaves the others in range.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

E4M3 = torch.float8_e4m3fn
E4M3_MAX = 448.0
SMALLEST_SCALE = 1.0 / (E4M3_MAX * 512.0)
"""fbgemm's lower bound of a scale: a row of zeros divides by this, not by zero."""
ACTIVATION_BOUND = 1200.0
"""What the largest value of a token counts as at most, in the published checkpoints."""

_BLOCK_ROWS = 1024
"""Weight rows decoded at a time on a CPU: 512, 1024, 4096 took 11, 9, 18 ms (4096 x 1536, one token)."""


def quantize_rows(
    x: Tensor, bound: float | None = None, across: Callable[[Tensor], Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Round every row to e4m3, as fbgemm's `quantize_fp8_per_row` does.

    scale = max(min(max|row|, bound) / 448, 1 / (448 · 512)); the row is divided by it in float32, rounded to
    nearest even, and saturates at ±448. A row with a NaN becomes NaN whole (fbgemm keeps the other elements,
    but the products of such a row are NaN either way); infinity saturates where there is a bound.

    Args:
        x: [n, k], float32, bfloat16 or float16.
        bound: what the largest value of a row counts as at most.
        across: where other processes hold more of each row, the larger of their maxima and ours [n, 1].

    Returns:
        e4m3 [n, k] and float32 scales [n, 1]; their product stands for x.
    """
    largest = x.abs().amax(dim=-1, keepdim=True).float()
    if across is not None:
        largest = across(largest)
    if bound is not None:
        largest = largest.clamp(max=bound)
    scale = (largest / E4M3_MAX).clamp(min=SMALLEST_SCALE)
    # torch's cast saturates in some versions and gives NaN in others.
    return (x / scale).clamp(-E4M3_MAX, E4M3_MAX).to(E4M3), scale


def dequantize_rows(weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """e4m3 [n, k] times float32 scales [n, 1], rounded once to `dtype`."""
    return (weight.float() * scale).to(dtype)


def exact_product(x: Tensor, x_scale: Tensor, weight: Tensor, weight_scale: Tensor) -> Tensor:
    """What a GPU computes, on a CPU: bfloat16((Σ x·w) · weight_scale · x_scale), the sum without rounding.

    e4m3 values are multiples of 2⁻⁹ up to 448, so float64 holds every sum of up to 2³⁵ / 448² = 171,196
    products exactly (Llama's longest rows have 53,248). Hence a row's result is the same bits in whatever
    order it is summed and whatever rows are computed with it. The sum is rounded once to float32, and each
    of the two products again, in the order of fbgemm's epilogue.

    Args:
        x, x_scale: e4m3 [n, in] and float32 [n, 1].
        weight, weight_scale: e4m3 [out, in] without NaN, and float32 [out, 1].

    Returns:
        bfloat16 [n, out].
    """
    wide = x.double()
    out = torch.empty(x.shape[0], weight.shape[0], dtype=torch.bfloat16, device=x.device)
    for first in range(0, weight.shape[0], _BLOCK_ROWS):
        rows = slice(first, first + _BLOCK_ROWS)
        sums = (wide @ _decode(weight[rows]).T).mul_(256.0).float()
        out[:, rows] = sums * weight_scale[rows].T * x_scale
    return out


def _decode(weight: Tensor) -> Tensor:
    """float64 values / 256 of e4m3 numbers that are not NaN.

    e4m3's bits with a zero put behind the sign are the upper bits of a float16 whose exponent has a bias
    larger by 8, subnormals included. torch's own cast takes four times as long.
    """
    bits = weight.view(torch.int8).to(torch.int16)
    return bits.bitwise_left_shift_(7).bitwise_and_(~0x4000).view(torch.float16).double()


def scaled_mm_product(x: Tensor, x_scale: Tensor, weight: Tensor, weight_scale: Tensor) -> Tensor:
    """The same product by the GPU's FP8 units; arguments and result as of `exact_product`.

    `torch._scaled_mm` asks for a row-major first and a column-major second operand, contiguous float32 scales
    [n, 1] and [1, out], and in and out divisible by 16. Fast accumulation is what fbgemm uses too.
    """
    return torch._scaled_mm(
        x,
        weight.T,
        scale_a=x_scale,
        scale_b=weight_scale.view(1, -1),
        out_dtype=torch.bfloat16,
        use_fast_accum=True,
    )


def has_fp8_units(device: torch.device) -> bool:
    """Whether layers can compute in FP8 here: a CPU (emulated), GPUs from Ada and Hopper (sm89) on."""
    return device.type != "cuda" or torch.cuda.get_device_capability(device) >= (8, 9)


class FP8Linear(nn.Module):
    """y = x·wᵀ with e4m3 weights and activations rounded to e4m3 token by token; no bias.

    Attributes:
        weight: e4m3 [out, in], without NaN.
        weight_scale: float32 [out, 1]; a buffer, so that it is not counted as a parameter.
        bound: what the largest value of a token counts as at most.
        across: see `quantize_rows`; None where this layer sees whole tokens.
    """

    weight: Tensor
    weight_scale: Tensor
    across: Callable[[Tensor], Tensor] | None = None

    def __init__(self, in_features: int, out_features: int, bound: float = ACTIVATION_BOUND) -> None:
        super().__init__()
        self.in_features, self.out_features, self.bound = in_features, out_features, bound
        self.weight = nn.Parameter(torch.empty(out_features, in_features, dtype=E4M3), requires_grad=False)
        self.register_buffer("weight_scale", torch.empty(out_features, 1, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """[n, in] -> [n, out] in x's dtype, rounded to bfloat16 first, whatever x's dtype is."""
        rows, scale = quantize_rows(x, self.bound, self.across)
        product = exact_product if x.device.type == "cpu" or self._ragged else scaled_mm_product
        return product(rows, scale, self.weight, self.weight_scale).to(x.dtype)

    @property
    def _ragged(self) -> bool:
        return bool(self.in_features % 16 or self.out_features % 16)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FP8Linear:
        """Move as integers: `model.to(torch.bfloat16)` would otherwise cast weights and scales."""

        def bits(tensor: Tensor) -> Tensor:
            integer = torch.uint8 if tensor.dtype == E4M3 else torch.int32
            return fn(tensor.view(integer)).view(tensor.dtype)

        return super()._apply(bits, recurse)  # type: ignore[no-any-return, no-untyped-call]

    def extra_repr(self) -> str:
        """Sizes, for `print(model)`."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bound={self.bound}"
