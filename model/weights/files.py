"""What all layouts of a checkpoint share: small JSON files, a name for people, a fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from model.errors import CheckpointError


def json_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no file.

    Raises:
        CheckpointError: the file holds something else.
    """
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds no JSON object")
    return value


def folder_name(folder: Path) -> str:
    """A folder's name for people; `owner/model` for a snapshot in the hub cache."""
    entry = folder.parent.parent.name
    if folder.parent.name == "snapshots" and entry.startswith("models--"):
        return entry.removeprefix("models--").replace("--", "/", 1)
    return folder_name(folder.parent) if folder.name == "original" else folder.name


def fingerprint(files: Iterable[Path], head: int, samples: int = 64, width: int = 4096) -> str:
    """64 hex digits of each file's size, first `head` bytes, and `samples` windows of `width` bytes.

    Reading 16 GB to name it would take longer than the first answer. A fine-tuned model differs
    everywhere, so samples tell it apart; an edit of a few bytes between two windows goes unseen.
    """
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        digest.update(size.to_bytes(8, "little"))
        with path.open("rb") as file:
            digest.update(file.read(max(head, width)))
            for index in range(samples):
                file.seek(max(0, size - width) * index // (samples - 1))
                digest.update(file.read(width))
    return digest.hexdigest()
