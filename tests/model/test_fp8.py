"""FP8 and int8 weights: numerics against a written-out reference, checkpoints, the converter."""

from __future__ import annotations

import errno
import json
import re
import shutil
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import tiny_model, write_folder, write_gguf
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoTokenizer, FbgemmFp8Config, LlamaConfig, LlamaForCausalLM
from transformers.quantizers.quantizers_utils import should_convert_module

from model import CheckpointError, Engine
from model.llama.transformer import Transformer
from model.quant import convert, fp8, stored
from model.quant.convert import Format, quantize
from model.quant.fp8 import E4M3, FP8Linear, dequantize_rows, exact_product, quantize_rows
from model.weights.checkpoint import open_checkpoint
from model.weights.hub import resolve

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


def four_layers(**changes: object) -> LlamaForCausalLM:
    """Two of the layers are converted. Small weights: large random ones amplify every rounding."""
    return tiny_model(num_hidden_layers=4, initializer_range=0.1, **changes)


@pytest.fixture(scope="module")
def fp8_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("fp8")
    source = write_folder(base / "source", four_layers())
    quantize(source, base / "target")
    return base / "target"


def config_of(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config


def load(folder: Path, dtype: str = "float32") -> Engine:
    return Engine.load(folder, device="cpu", dtype=dtype)


def layers_of(folder: Path) -> dict[str, FP8Linear]:
    """FP8 layers by name of the model that the engine would build."""
    checkpoint = open_checkpoint(folder)
    with torch.device("meta"):
        model = Transformer(checkpoint.config)
    checkpoint.prepare(model, torch.device("cpu"))
    model.to_empty(device="cpu")
    checkpoint.fill(model)
    return {name: part for name, part in model.named_modules() if isinstance(part, FP8Linear)}


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Norm of the difference, relative to theirs."""
    return float((ours - theirs).norm() / theirs.norm())


def test_a_converted_model_is_what_it_was_made_from(fp8_folder: Path) -> None:
    peer = four_layers()
    parts = layers_of(fp8_folder)
    assert set(parts) == {f"blocks.{n}.ffn.{part}" for n in (1, 2) for part in ("gate_up", "down")}
    for n in (1, 2):
        mlp = peer.model.layers[n].mlp
        gate, gate_scale = quantize_rows(mlp.gate_proj.weight.detach())
        up, up_scale = quantize_rows(mlp.up_proj.weight.detach())
        both = parts[f"blocks.{n}.ffn.gate_up"]
        assert same_bits(both.weight, torch.cat([gate, up]))
        assert torch.equal(both.weight_scale, torch.cat([gate_scale, up_scale]))
        assert same_bits(parts[f"blocks.{n}.ffn.down"].weight, quantize_rows(mlp.down_proj.weight)[0])
    engine = load(fp8_folder)
    assert engine.parameter_count == sum(p.numel() for p in peer.parameters())
    ids = list(range(3, 300))
    exact = peer_logits(peer, ids)
    rounded = peer_logits(in_fp8(peer, ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]), ids)
    logits = engine.logits(ids)
    assert distance(logits, rounded) < 0.01
    assert 0.01 < distance(logits, exact) < 0.06


def in_fp8(peer: LlamaForCausalLM, parts: list[str], bound: float = 1200.0) -> LlamaForCausalLM:
    """transformers' model with some layers of blocks 1 and 2 replaced, and all else rounded to bfloat16."""
    for name, parameter in peer.named_parameters():
        if not re.search(rf"layers\.[12]\.({'|'.join(parts)})", name):
            parameter.data = parameter.data.bfloat16().float()
    for block, part in product((1, 2), parts):
        path = f"model.layers.{block}.{part}"
        dense = peer.get_submodule(path)
        made = FP8Linear(dense.in_features, dense.out_features, bound)
        rows, scale = quantize_rows(dense.weight.detach())
        made.weight.data.copy_(rows)
        made.weight_scale.copy_(scale)
        peer.set_submodule(path, Flat(made))
    return peer


class Flat(nn.Module):
    """A layer for a batch: ours have none."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.flatten(0, -2)).unflatten(0, x.shape[:-1])


def peer_logits(peer: LlamaForCausalLM, ids: list[int]) -> Tensor:
    with torch.inference_mode():
        return peer(torch.tensor([ids])).logits[0]


def test_transformers_reads_the_configuration(fp8_folder: Path) -> None:
    stored = config_of(fp8_folder)["quantization_config"]
    theirs = FbgemmFp8Config.from_dict(stored)
    assert theirs.activation_scale_ub == 1200.0
    assert stored["quant_method"] == theirs.quant_method.value
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig.from_pretrained(fp8_folder))
    wanted = {
        name
        for name, part in model.named_modules()
        if isinstance(part, nn.Linear) and should_convert_module(name, theirs.modules_to_not_convert)
    }
    assert wanted == {f"model.layers.{n}.mlp.{part}_proj" for n in (1, 2) for part in ("gate", "up", "down")}
    with safe_open(fp8_folder / "model.safetensors", "pt") as file:
        assert set(file.keys()) == set(model.state_dict()) | {f"{name}.weight_scale" for name in wanted}
        for name, tensor in model.state_dict().items():
            found, converted = file.get_tensor(name), name.removesuffix(".weight") in wanted
            assert found.shape == tensor.shape
            assert found.dtype == (E4M3 if converted else torch.bfloat16)
            if converted:
                scale = file.get_tensor(f"{name}_scale")
                assert (scale.shape, scale.dtype) == ((found.shape[0], 1), torch.float32)


@pytest.mark.parametrize("kind", ["fp8", "int8"])
def test_gguf_and_shards_give_the_same_model(tmp_path: Path, kind: Format) -> None:
    peer = four_layers()
    write_gguf(tmp_path / "tiny.gguf", peer, "F32")
    quantize(tmp_path / "tiny.gguf", tmp_path / "from_gguf", kind)
    source = write_folder(tmp_path / "source", peer)
    seen: list[tuple[int, int]] = []
    done = quantize(
        source, tmp_path / "sharded", kind, shard_bytes=100_000, on_progress=lambda *step: seen.append(step)
    )
    files = sorted((tmp_path / "sharded").glob("*.safetensors"))
    assert len(files) > 3
    assert max(file.stat().st_size for file in files) < 110_000
    assert sum(file.stat().st_size for file in files) == done.weight_bytes
    assert seen == [(n + 1, done.tensors) for n in range(done.tensors)]
    assert done.matrices == (6 if kind == "fp8" else 28)
    left, right = load(tmp_path / "from_gguf"), load(tmp_path / "sharded")
    ids = list(range(3, 60))
    torch.testing.assert_close(left.logits(ids), right.logits(ids), rtol=0, atol=1e-3)
    text = "It's done 12345 times: नमस्ते<|eot_id|>"
    assert left.tokenizer.encode(text) == right.tokenizer.encode(text)
    assert left.tokenizer.control == right.tokenizer.control
    assert left.tokenizer.stop_ids == right.tokenizer.stop_ids
    assert left.tokenizer.bos_id == right.tokenizer.bos_id
    plain = text.partition("<")[0]
    theirs = AutoTokenizer.from_pretrained(tmp_path / "from_gguf")
    assert theirs.encode(plain, add_special_tokens=False) == left.tokenizer.encode(plain)


def test_int8_is_within_half_a_step(tmp_path: Path) -> None:
    peer = four_layers()
    quantize(write_folder(tmp_path / "source", peer), tmp_path / "int8", "int8")
    with safe_open(tmp_path / "int8" / "model.safetensors", "pt") as file:
        for name, exact in peer.state_dict().items():
            found = file.get_tensor(name)
            assert (found.dtype == torch.int8) == ("_proj" in name)
            if found.dtype == torch.int8:
                scale = file.get_tensor(f"{name}_scale")
                assert ((found * scale - exact).abs() <= scale * 0.5001).all()
    engine = load(tmp_path / "int8")
    ids = list(range(3, 300))
    assert distance(engine.logits(ids), peer_logits(peer, ids)) < 0.04


def edited(folder: Path, target: Path, change: Callable[[dict[str, Tensor], dict[str, Any]], None]) -> Path:
    """A copy of a checkpoint with other tensors or another configuration."""
    shutil.copytree(folder, target)
    tensors, config = load_file(folder / "model.safetensors"), config_of(folder)
    change(tensors, config)
    save_file(tensors, target / "model.safetensors")
    (target / "config.json").write_text(json.dumps(config))
    return target


GATE = "model.layers.1.mlp.gate_proj.weight"


def test_scales_of_one_dimension_are_read(tmp_path: Path, fp8_folder: Path) -> None:
    def flatten(tensors: dict[str, Tensor], _: dict[str, Any]) -> None:
        for name in [name for name in tensors if name.endswith("_scale")]:
            tensors[name] = tensors[name][:, 0].clone()

    flat = edited(fp8_folder, tmp_path / "flat", flatten)
    ids = list(range(3, 60))
    assert torch.equal(load(flat).logits(ids), load(fp8_folder).logits(ids))


def test_attention_in_fp8_is_read_too(tmp_path: Path, fp8_folder: Path) -> None:
    parts = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]

    def convert(tensors: dict[str, Tensor], config: dict[str, Any]) -> None:
        peer = four_layers().state_dict()
        for block, part in product((1, 2), parts):
            name = f"model.layers.{block}.{part}.weight"
            tensors[name], tensors[f"{name}_scale"] = quantize_rows(peer[name])
        config["quantization_config"]["activation_scale_ub"] = 2.5

    everything = edited(fp8_folder, tmp_path / "all", convert)
    layers = layers_of(everything)
    assert len(layers) == 8
    assert layers["blocks.1.attention.qkv"].bound == 2.5
    ids = list(range(3, 60))
    ffn = ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
    wanted = peer_logits(in_fp8(four_layers(), parts + ffn, 2.5), ids)
    logits = load(everything).logits(ids)
    assert distance(logits, wanted) < 0.01
    assert distance(peer_logits(in_fp8(four_layers(), parts + ffn), ids), wanted) > 0.02


def _damage(what: str) -> Callable[[dict[str, Tensor], dict[str, Any]], None]:
    def change(tensors: dict[str, Tensor], config: dict[str, Any]) -> None:
        match what:
            case "method":
                config["quantization_config"]["quant_method"] = "gptq"
            case "no config":
                del config["quantization_config"]
            case "bound":
                config["quantization_config"]["activation_scale_ub"] = -1
            case "no scale":
                del tensors[f"{GATE}_scale"]
            case "shape":
                tensors[f"{GATE}_scale"] = torch.ones(5, 1)
            case "nan":
                tensors[GATE].view(torch.uint8)[3, 3] = 0xFF
            case "kind":
                tensors[GATE] = tensors[GATE].float().bfloat16()

    return change


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("method", "gptq"),
        ("no config", "quantization_config are missing"),
        ("bound", "activation_scale_ub is -1"),
        ("no scale", "lacks .*gate_proj.weight_scale"),
        ("shape", r"gate_proj.weight_scale has shape \(5, 1\)"),
        ("nan", "gate_proj.weight holds values that are not numbers"),
        ("kind", "is torch.bfloat16; with a scale"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, fp8_folder: Path, what: str, said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        load(edited(fp8_folder, tmp_path / "damaged", _damage(what)))


def test_older_gpus_get_dense_weights(
    fp8_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    exact = load(fp8_folder)
    monkeypatch.setattr(stored, "has_fp8_units", lambda _: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "an older one")
    assert layers_of(fp8_folder) == {}
    dense = load(fp8_folder, "bfloat16")
    assert "an older one has no FP8 units" in caplog.text
    ids = list(range(3, 60))
    assert 0 < distance(dense.logits(ids), exact.logits(ids)) < 0.15


def test_a_target_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_folder(tmp_path / "source", four_layers())
    target = tmp_path / "target"

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(convert, "write_tokenizer", full)  # after the weights
        with pytest.raises(OSError, match="No space left"):
            quantize(source, target)
    with pytest.raises(KeyboardInterrupt):
        quantize(source, target, on_progress=lambda done, _: _interrupt(done == 20))
    with monkeypatch.context() as patch:
        patch.setattr(
            convert, "save_file", lambda *_, **__: (_ for _ in ()).throw(SafetensorError("I/O error"))
        )
        with pytest.raises(OSError, match="I/O error"):
            quantize(source, target)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 1000))
        with pytest.raises(CheckpointError, match="1,000 are free"):
            quantize(source, target)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    quantize(source, target)
    with pytest.raises(CheckpointError, match="exists"):
        quantize(source, target)
    with pytest.raises(CheckpointError, match="quantised already"):
        quantize(target, tmp_path / "again")


def test_the_bundled_model_stays_close(tmp_path: Path, bundled: Engine) -> None:
    text = (Path(__file__).parents[2] / "demo/documents/the-red-headed-league.txt").read_text("utf-8")
    ids = bundled.tokenizer.encode(text)[:256]
    exact = bundled.logits(ids).log_softmax(-1)
    quantize(resolve("auto"), tmp_path / "fp8")
    engine = load(tmp_path / "fp8")
    assert engine.tokenizer.encode(text[:5000]) == bundled.tokenizer.encode(text[:5000])
    logits = engine.logits(ids).log_softmax(-1)
    kl = (exact.exp() * (exact - logits)).sum(-1).mean()
    same = (exact.argmax(-1) == logits.argmax(-1)).float().mean()
    # 1,024 tokens of this text: 0.021 and 0.909 (decision 0404).
    assert 0.001 < kl < 0.04
    assert same > 0.85


def _interrupt(now: bool) -> None:
    if now:
        raise KeyboardInterrupt


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    peer = four_layers()
    peer.model.layers[1].mlp.up_proj.weight.data[3, 3] = float("inf")
    with pytest.raises(CheckpointError, match=r"layers\.1\.mlp\.up_proj.* not finite"):
        quantize(write_folder(tmp_path / "source", peer), tmp_path / "target")
    assert not (tmp_path / "target").exists()
