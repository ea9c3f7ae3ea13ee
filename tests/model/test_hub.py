"""Models by hub id: from the local cache, and fetched into it from a hub of the test's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from checkpoints import tiny_model, write_folder
from hub_server import HUB_ID, Hub, serving
from huggingface_hub.utils._xet_progress_reporting import XetDownloadProgressReporter

from model import CheckpointError, Engine
from model.weights.download import DownloadProgress, Meter, needed
from model.weights.hub import cached_models, cached_snapshot, hub_parts, resolve


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A sharded tiny model, with things in the repository that nobody needs."""
    folder = write_folder(tmp_path_factory.mktemp("repository"), tiny_model(), shard="100KB")
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sum(name.endswith(".safetensors") for name in found) >= 3
    return {
        **found,
        "modeling_evil.py": b"raise SystemExit",
        "README.md": b"# tiny",
        "pytorch_model.bin": b"pickle",
        "original/consolidated.00.pth": b"pickle",
    }


@pytest.fixture
def hub(files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(Hub(files)) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 4096)
        yield running


def test_only_what_is_needed_is_fetched_and_it_loads(
    hub: Hub, files: dict[str, bytes], tmp_path: Path
) -> None:
    seen: list[DownloadProgress] = []
    path = resolve(HUB_ID, download=True, on_progress=seen.append)
    names = {name for name in files if name.endswith((".json", ".safetensors"))}
    assert {each.name for each in path.iterdir()} == names
    assert all((path / name).read_bytes() == files[name] for name in names)
    assert seen[-1] == DownloadProgress(HUB_ID, seen[-1].total, sum(len(files[name]) for name in names))
    assert [each.done for each in seen] == sorted(each.done for each in seen)
    engine = Engine.load(HUB_ID, "cpu", "float32")
    assert engine.parameter_count == sum(p.numel() for p in tiny_model().parameters())
    # The cache is the library's own: it finds the model there, and so do we, without a request.
    asked = len(hub.requests)
    assert huggingface_hub.snapshot_download(
        HUB_ID, cache_dir=tmp_path / "hub", local_files_only=True
    ) == str(path)
    assert resolve(HUB_ID, download=True) == resolve(f"{HUB_ID}@{hub.commit}") == path
    assert list(cached_models()) == [(HUB_ID, path)]
    assert len(hub.requests) == asked
    assert (path / "config.json").is_symlink()


def test_the_token_goes_to_the_hub_alone(hub: Hub) -> None:
    resolve(HUB_ID, download=True)
    assert ("127.0.0.1", "Bearer hf_secret") in hub.tokens
    assert ("localhost", None) in hub.tokens
    assert ("localhost", "Bearer hf_secret") not in hub.tokens


def test_nothing_is_fetched_unless_it_is_allowed(hub: Hub) -> None:
    with pytest.raises(CheckpointError, match=f"longleaf models pull {HUB_ID}"):
        resolve(HUB_ID)
    assert hub.requests == []


def test_a_cut_connection_is_taken_up_where_it_broke(hub: Hub, files: dict[str, bytes]) -> None:
    shard = max((name for name in files if name.endswith(".safetensors")), key=lambda name: len(files[name]))
    hub.cut[shard] = 20_000
    path = resolve(HUB_ID, download=True)
    assert (path / shard).read_bytes() == files[shard]
    ranges = [asked for _, name, asked in hub.requests if name.endswith(f"cdn/{shard}")]
    assert ranges[-1] is not None
    assert 0 < int(ranges[-1].removeprefix("bytes=").rstrip("-")) <= 20_000


def test_an_interrupted_download_goes_on_with_what_is_missing(hub: Hub, files: dict[str, bytes]) -> None:
    shard = max(name for name in files if name.endswith(".safetensors"))
    hub.broken.add(shard)
    with pytest.raises(CheckpointError, match=r"cannot fetch owner/tiny.*try again"):
        resolve(HUB_ID, download=True)
    # The branch has no entry yet, and by its commit the model is known to be incomplete.
    assert cached_snapshot(HUB_ID) is None
    with pytest.raises(CheckpointError, match="not in the local hub cache"):
        resolve(f"{HUB_ID}@{hub.commit}")
    hub.broken.clear()
    there = {path.name for path in cached_snapshot(HUB_ID, hub.commit).iterdir()}  # type: ignore[union-attr]
    hub.requests.clear()
    resolve(HUB_ID, download=True)
    assert shard in hub.fetched()
    assert not there & set(hub.fetched())


@pytest.mark.usefixtures("hub")
def test_an_interrupt_ends_all_streams() -> None:
    def stop(progress: DownloadProgress) -> None:
        if progress.done > 50_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resolve(HUB_ID, download=True, on_progress=stop)
    resolve(HUB_ID, download=True)


@pytest.mark.parametrize("kind", ["00001-of-", "tokenizer.json"])
def test_a_wrong_digest_is_refused_and_removed(hub: Hub, files: dict[str, bytes], kind: str) -> None:
    name = next(name for name in files if kind in name)
    right = hub.files[name]
    hub.files[name] = bytes([right[0] ^ 1]) + right[1:]
    with pytest.raises(CheckpointError, match=f"{name} of {HUB_ID} arrived damaged"):
        resolve(HUB_ID, download=True)
    hub.files[name] = right
    assert (resolve(HUB_ID, download=True) / name).read_bytes() == files[name]


def test_a_wrong_size_is_refused(hub: Hub) -> None:
    name = next(name for name in hub.files if name.endswith(".safetensors"))
    hub.files[name] = hub.files[name][:-7]
    with pytest.raises(CheckpointError, match="should be of size"):
        resolve(HUB_ID, download=True)
    assert cached_snapshot(HUB_ID) is None


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_model_says_what_to_do(hub: Hub, status: int) -> None:
    hub.gated = status
    with pytest.raises(CheckpointError, match=rf"gated.*{HUB_ID}.*licence.*HF_TOKEN"):
        resolve(HUB_ID, download=True)


@pytest.mark.usefixtures("hub")
def test_what_the_hub_does_not_have() -> None:
    with pytest.raises(CheckpointError, match="no model owner/other"):
        resolve("owner/other", download=True)
    with pytest.raises(CheckpointError, match="no revision 'v2'"):
        resolve(f"{HUB_ID}@v2", download=True)


def test_offline_and_out_of_reach(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="HF_HUB_OFFLINE"):
        resolve(HUB_ID, download=True)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(CheckpointError, match=r"cannot fetch owner/tiny from http://127\.0\.0\.1:1"):
        resolve(HUB_ID, download=True)
    assert hub.requests == []


@pytest.mark.usefixtures("hub")
def test_a_snapshot_that_lacks_a_shard_is_completed() -> None:
    path = resolve(HUB_ID, download=True)
    shard = next(each for each in path.iterdir() if each.name.endswith(".safetensors"))
    shard.resolve().unlink()
    with pytest.raises(CheckpointError, match=f"lacks {shard.name}"):
        resolve(HUB_ID)
    assert resolve(HUB_ID, download=True) == path
    assert torch.isfinite(Engine.load(HUB_ID, "cpu", "float32").logits([1, 2, 3])).all()


def test_storage_in_pieces_is_counted_once() -> None:
    """The hub's newer storage, Xet, reports bytes of the network and bytes of the file to the same bar."""
    seen: list[DownloadProgress] = []
    meter = Meter("owner/tiny", 100, seen.append)
    reporter = XetDownloadProgressReporter(
        reconstruction_desc="file", total=100, log_level=20, tqdm_class=meter.bar()
    )
    with reporter as progress:
        for done in (40, 100):
            rates = {"total_bytes_completion_rate": 1.0, "total_transfer_bytes_completion_rate": 1.0}
            report = {
                "total_bytes_completed": done,
                "total_transfer_bytes_completed": done,
                "total_bytes": 100,
            }
            progress.update_progress(SimpleNamespace(**report, **rates))
    assert [each.done for each in seen if each.done] == [40, 100]


def test_hub_ids() -> None:
    assert hub_parts("owner/model") == ("owner/model", "main")
    assert hub_parts("owner/model@refs/pr/1") == ("owner/model", "refs/pr/1")
    for wrong in (
        "model",
        "a/b/c",
        "../model",
        "owner/..",
        "owner/model@../x",
        "owner/model@",
        "https://a/b",
    ):
        assert hub_parts(wrong) is None


def test_which_files_of_a_repository_are_needed() -> None:
    meta = ["params.json", "tokenizer.model", "consolidated.00.pth", "consolidated.01.pth"]
    inside = [f"original/{name}" for name in meta]
    assert needed([*meta, "example.py", "LICENSE"]) == sorted(meta)
    assert needed([*inside, "config.json", "run.py"]) == sorted([*inside, "config.json"])
    safe = ["config.json", "model.safetensors", "tokenizer.json"]
    assert needed([*safe, *inside, "sub/model.safetensors", "adapter.safetensors"]) == safe
    assert needed(["a.Q4_K.gguf", "README.md"]) == ["a.Q4_K.gguf"]
    with pytest.raises(CheckpointError, match="2 GGUF files"):
        needed(["a.gguf", "b.gguf"])
    with pytest.raises(CheckpointError, match="holds no safetensors"):
        needed(["pytorch_model.bin", "config.json"])


def test_a_shape_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="a shape to plan for"):
        resolve("llama-3.1-8b")


def test_a_folder_with_one_gguf_file_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert resolve(tmp_path) == tmp_path / "model.gguf"
    (tmp_path / "params.json").write_text(json.dumps({}))
    assert resolve(tmp_path) == tmp_path
