"""Checkpoints in 8 bits: written by the converter, read back, read by transformers, refused by name."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import tiny_model, write_folder, write_gguf
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoTokenizer, FbgemmFp8Config, LlamaConfig, LlamaForCausalLM
from transformers.quantizers.quantizers_utils import should_convert_module

from model import CheckpointError, Engine
from model.llama.transformer import Transformer
from model.quant import convert, stored
from model.quant.convert import Format, quantize
from model.quant.fp8 import E4M3, FP8Linear, quantize_rows
from model.weights.checkpoint import open_checkpoint
from model.weights.hub import resolve
from model.weights.mapping import fill

ROOT = Path(__file__).parents[2]


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
    fill(model, *checkpoint.sources(model))
    return {name: part for name, part in model.named_modules() if isinstance(part, FP8Linear)}


def same_bytes(left: Tensor, right: Tensor) -> bool:
    return torch.equal(left.view(torch.uint8), right.view(torch.uint8))


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
        assert same_bytes(both.weight, torch.cat([gate, up]))
        assert torch.equal(both.weight_scale, torch.cat([gate_scale, up_scale]))
        assert same_bytes(parts[f"blocks.{n}.ffn.down"].weight, quantize_rows(mlp.down_proj.weight)[0])
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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]
    with pytest.raises(CheckpointError, match="exists"):
        quantize(source, target)
    with pytest.raises(CheckpointError, match="quantised already"):
        quantize(target, tmp_path / "again")


SHARD = 100_000
KILLED = """
import sys, time
from pathlib import Path
from model.quant.convert import quantize

def show(done, total):
    if done == 25:
        print(done, flush=True)
        time.sleep(60)

quantize(Path(sys.argv[1]), Path(sys.argv[2]), shard_bytes=100_000, on_progress=show)
"""


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the weight files that are written from now on."""
    names: list[str] = []

    def save(tensors: dict[str, Tensor], path: Path, **more: Any) -> None:
        names.append(path.name)
        save_file(tensors, path, **more)

    monkeypatch.setattr(convert, "save_file", save)
    return names


def test_a_killed_conversion_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_folder(tmp_path / "source", four_layers())
    target, whole = tmp_path / "target", tmp_path / "whole"
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(source), str(target)], stdout=subprocess.PIPE, cwd=ROOT, text=True
    )
    with child:
        assert child.stdout
        assert child.stdout.readline() == "25\n"
        child.kill()
    assert not target.exists()
    names, seen = written(monkeypatch), list[int]()
    done = quantize(source, target, shard_bytes=SHARD, on_progress=lambda count, _: seen.append(count))
    finished = sorted(path.name for path in target.glob("*.safetensors"))
    assert names == finished[-len(names) :]
    assert 2 <= len(names) < len(finished)
    assert done.kept_bytes == sum((target / name).stat().st_size for name in finished[: -len(names)])
    assert seen[-1] == done.tensors
    names.clear()
    assert quantize(source, whole, shard_bytes=SHARD) == replace(done, target=whole, kept_bytes=0)
    assert names == finished
    assert content(target) == content(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target", "whole"]


def test_only_the_same_conversion_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_folder(tmp_path / "source", four_layers())
    target, partial = tmp_path / "target", tmp_path / ".target.partial"

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(convert, "write_tokenizer", full)  # after the weights
        with pytest.raises(OSError, match="No space left"):
            quantize(source, target, shard_bytes=SHARD)
    assert f"kept in {partial}" in caplog.text
    assert "afresh" not in caplog.text
    files = sorted((partial / "files").glob("*.safetensors"))
    sizes = {path.name: path.stat().st_size for path in files}
    with files[2].open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    (partial / "files" / "model-half.safetensors").write_bytes(b"half")
    holder = os.open(partial, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    with pytest.raises(CheckpointError, match="another process is writing"):
        quantize(source, target, shard_bytes=SHARD)
    os.close(holder)

    names = written(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(convert, "write_tokenizer", full)
        with pytest.raises(OSError, match="No space left"):
            quantize(source, target, shard_bytes=SHARD)
    assert names == [files[2].name]
    assert {path.name: path.stat().st_size for path in (partial / "files").glob("*.safetensors")} == sizes
    assert "afresh" not in caplog.text

    names.clear()
    with monkeypatch.context() as patch:
        patch.setattr(convert, "write_tokenizer", full)
        with pytest.raises(OSError, match="No space left"):
            quantize(source, target, "int8", shard_bytes=SHARD)
    assert "another source or with other settings: starting afresh" in caplog.text
    assert len(names) == len(list((partial / "files").glob("*.safetensors"))) != len(files)

    caplog.clear()
    names.clear()
    weights = source / "model.safetensors"
    os.utime(weights, ns=(0, weights.stat().st_mtime_ns + 1))
    quantize(source, target, "int8", shard_bytes=SHARD)
    assert "starting afresh" in caplog.text
    assert names == sorted(path.name for path in target.glob("*.safetensors"))
    quantize(source, tmp_path / "whole", "int8", shard_bytes=SHARD)
    assert content(target) == content(tmp_path / "whole")


def test_the_bundled_model_stays_close(tmp_path: Path, bundled: Engine) -> None:
    text = (ROOT / "demo/documents/the-red-headed-league.txt").read_text("utf-8")
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
