"""Finding files, refusing damaged ones, naming models, choosing dtype and device."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checkpoints import tiny_model, write_gguf

from model import CheckpointError, Engine, HardwareError, ModelError, describe, hardware
from model.native.library import level, library
from model.weights.gguf import GGUFFile
from model.weights.hub import resolve


def test_what_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(CheckpointError, match="no model at"):
        resolve(tmp_path / "missing.gguf")
    with pytest.raises(CheckpointError, match="owner/name is not in the local hub cache"):
        resolve("owner/name")
    (tmp_path / "model.bin").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"not \.gguf"):
        resolve(tmp_path / "model.bin")
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        Engine.load(tmp_path)


def test_a_hub_id_resolves_through_the_cache(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = tmp_path / "models--owner--name"
    shutil.copytree(tiny_folder, entry / "snapshots" / "abc")
    (entry / "refs").mkdir()
    (entry / "refs" / "main").write_text("abc")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert Engine.load("owner/name", "cpu", "float32").context_length == 131_072


def test_damaged_gguf_files_raise_our_error(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write_gguf(path, tiny_model(), "Q8_0")
    whole = path.read_bytes()
    header = GGUFFile(path).header_size
    for size in [0, 3, 4, 20, *range(24, header, header // 40), header, len(whole) - 64]:
        path.write_bytes(whole[:size])
        with pytest.raises(ModelError):
            GGUFFile(path)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 9, 0, 0))
    with pytest.raises(CheckpointError, match="version 9"):
        GGUFFile(path)
    # A string that claims to be longer than the file, an array that claims to be longer than memory.
    for body in (struct.pack("<Q", 1 << 60), struct.pack("<Q1sIIQ", 1, b"k", 9, 8, 1 << 60)):
        path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + body)
        with pytest.raises(CheckpointError, match="truncated"):
            GGUFFile(path)


def test_damaged_folders_raise_our_error(tmp_path: Path, tiny_folder: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny_folder, folder)
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="cannot read"):
        Engine.load(folder, "cpu", "float32")
    weights.write_bytes(whole)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(CheckpointError, match=r"lacks the tensor model\.layers\.2"):
        Engine.load(folder, "cpu", "float32")
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 64}))
    with pytest.raises(CheckpointError, match=r"gate_proj.*\(128, 64\).*\(64, 64\)"):
        Engine.load(folder, "cpu", "float32")
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="not JSON"):
        Engine.load(folder, "cpu", "float32")


def test_the_fingerprint_follows_the_content(tmp_path: Path, tiny: Engine, tiny_folder: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(tiny_folder, copy)
    assert Engine.load(copy, "cpu", "bfloat16").fingerprint == tiny.fingerprint
    tokenizer = (copy / "tokenizer.json").read_text()
    (copy / "tokenizer.json").write_text(tokenizer + "\n")
    assert Engine.load(copy, "cpu", "float32").fingerprint != tiny.fingerprint
    assert len(tiny.fingerprint) == 64


def test_hardware_is_described_and_the_measurement_kept(tmp_path: Path) -> None:
    cache = tmp_path / "state" / "hardware.json"
    threads = torch.get_num_threads()
    found = describe("cpu", cache)
    assert torch.get_num_threads() == threads
    assert found.dtype in ("float32", "bfloat16")
    kept = json.loads(cache.read_text())
    cache.write_text(json.dumps({**kept, "prefill": 99.0, "decode": 99.0}))
    assert describe("cpu", cache).dtype == "bfloat16"
    cache.write_text(json.dumps({**kept, "prefill": 0.01, "decode": 0.01}))
    assert describe("cpu", cache).dtype == "float32"
    cache.write_text(json.dumps({**kept, "key": "another machine", "prefill": 99.0}))
    assert describe("cpu", cache).prefill_speedup != 99.0
    cache.write_text("{")
    assert describe("cpu", cache).device == "cpu"


def test_the_processor_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels' level and the description of the machine come from the same words of the kernel."""
    words = (
        "processor\t: 0\nmodel name\t: Plain\nflags\t\t: sse2 avx2\n\nprocessor\t: 1\nflags\t\t: avx512f\n"
    )
    (tmp_path / "cpuinfo").write_text(words)
    caches = (hardware._cpuinfo, library)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(hardware, "_CPUINFO", tmp_path / "cpuinfo")
            for cached in caches:
                cached.cache_clear()
            assert hardware._cpu() == ("Plain", ("avx2",))
            assert hardware.cpu_flags() == {"sse2", "avx2"}
            assert level() == "baseline"
    finally:
        for cached in caches:
            cached.cache_clear()


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "cuda:x", "cpu:1"])
def test_unknown_devices_are_refused(device: str) -> None:
    with pytest.raises(HardwareError, match=device):
        Engine.load("auto", device=device)


def test_unknown_dtypes_are_refused(tiny_folder: Path) -> None:
    with pytest.raises(HardwareError, match="int3"):
        Engine.load(tiny_folder, dtype="int3")


@pytest.mark.parametrize(("path", "dtype"), [("auto", "auto"), ("tiny", "int8"), ("tiny", "bfloat16")])
def test_loading_brings_neither_torchs_compiler_nor_sympy(tiny_folder: Path, path: str, dtype: str) -> None:
    """Each takes a second or two of every start, and nothing here uses them."""
    program = (
        "import sys; from model import Engine\n"
        f"Engine.load({(str(tiny_folder) if path == 'tiny' else path)!r}, 'cpu', {dtype!r})\n"
        "print(*{'torch._dynamo', 'sympy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
