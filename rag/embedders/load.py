"""Finds and opens the embedder that the settings name; nothing is ever downloaded."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from rag.embedders.base import Embedder
from rag.embedders.q4file import Q4File, find_bundled
from rag.errors import Unavailable
from rag.settings import Settings

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

_E5_PREFIXES = ("query: ", "passage: ")
_WEIGHTS = (".safetensors", ".bin", ".pt")


def load_embedder(settings: Settings) -> Embedder:
    """Open the embedder of `settings.embedder`: `auto`, a folder, or a hub id in the local cache.

    Raises `Unavailable` (codes `embedder_missing`, `embedder_damaged`, `embedder_unsupported`,
    `device_missing`) with what to do.
    """
    # the libraries read these when they are imported, which is why they are set before
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TRANSFORMERS_OFFLINE"] = "1"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from rag.embedders.precision import choose  # noqa: PLC0415

    device, dtype = choose(settings.device, settings.dtype)
    if settings.embedder == "auto":
        return _bundled(device, dtype)
    return _folder(_locate(settings.embedder), settings.embedder, device, dtype)


def _bundled(device: str, dtype: torch.dtype) -> Embedder:
    from rag.embedders.light import LightPipeline  # noqa: PLC0415
    from rag.embedders.sentence import SentenceEmbedder  # noqa: PLC0415

    path = find_bundled()
    pipeline: SentenceTransformer | LightPipeline
    if device == "cpu":
        pipeline = LightPipeline(Q4File(path), dtype)
    else:
        from rag.embedders.bundled import build_pipeline  # noqa: PLC0415

        pipeline = build_pipeline(Q4File(path), dtype, device)
    return SentenceEmbedder(
        pipeline,
        name="multilingual-e5-small",
        fingerprint=_fingerprint("multilingual-e5-small", [path], *_E5_PREFIXES),
        query_prefix=_E5_PREFIXES[0],
        passage_prefix=_E5_PREFIXES[1],
        dtype=dtype,
    )


def _folder(folder: Path, name: str, device: str, dtype: torch.dtype) -> Embedder:
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    from rag.embedders.sentence import SentenceEmbedder  # noqa: PLC0415

    files = sorted(p for p in folder.rglob("*") if p.suffix in (*_WEIGHTS, ".json", ".txt", ".model"))
    if not any(p.suffix in _WEIGHTS for p in files):
        raise Unavailable(f"{folder} holds no weights (*.safetensors).", code="embedder_missing")
    try:
        pipeline = SentenceTransformer(
            str(folder),
            device=device,
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"dtype": dtype},
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, json.JSONDecodeError) as error:
        raise Unavailable(
            f"The embedding model in {folder} does not load: {error}", code="embedder_damaged"
        ) from error
    query, passage = _prefixes(name, {key: prompt or "" for key, prompt in pipeline.prompts.items()})
    short = Path(name).name if Path(name).exists() else name
    return SentenceEmbedder(
        pipeline,
        name=short,
        fingerprint=_fingerprint(Path(name).name, files, query, passage),
        query_prefix=query,
        passage_prefix=passage,
        dtype=dtype,
    )


def _locate(name: str) -> Path:
    """Return the folder of `name`: itself, or its snapshot in the hub's local cache."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
        raise Unavailable(
            f"LONGLEAF_EMBEDDER is {name!r}, which is neither a folder nor a hub id such as "
            "`intfloat/multilingual-e5-base`.",
            code="embedder_missing",
        )
    from huggingface_hub import snapshot_download  # noqa: PLC0415
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError  # noqa: PLC0415

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError) as error:
        raise Unavailable(
            f"The embedding model {name!r} is not in the local cache and nothing is downloaded at run time: "
            f"fetch it once with `hf download {name}`, or set LONGLEAF_EMBEDDER=auto.",
            code="embedder_missing",
        ) from error


def _prefixes(name: str, prompts: dict[str, str]) -> tuple[str, str]:
    """Return the query and passage prefix: the model's own prompts, or those of the E5 family by its name."""
    query = prompts.get("query", "")
    passage = prompts.get("passage", "") or prompts.get("document", "")
    if not query and not passage:
        base = Path(name).name.lower()
        if ("-e5-" in base or base.startswith("e5-")) and "instruct" not in base:
            return _E5_PREFIXES
    return query, passage


def _fingerprint(name: str, files: list[Path], query: str, passage: str) -> str:
    """Hash what decides the vectors: weights and configuration (pooling is in it), and the prefixes."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + b"\0")
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    digest.update(json.dumps([query, passage]).encode())
    return f"{name}@{digest.hexdigest()[:16]}"
