"""`longleaf status`: documents, models, machine, disk and schema, without loading a model."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from api.inventory import generator_path, local_models
from api.loaders import hardware_cache
from api.terminal import human_bytes, say, say_heading, say_json
from api.version import version
from ingest.files import size_of
from ingest.keeping import reembed
from model.errors import ModelError
from model.hardware import Hardware, describe
from rag.errors import LongleafError
from rag.index.live import snapshot_folder
from rag.index.snapshot import FORMAT, read_manifest
from rag.index.vectors import CODED_FROM
from rag.settings import Settings
from rag.store.migrate import check, current_revision, head_revision
from rag.store.opening import open_database
from rag.store.records import CollectionRow
from rag.store.repositories import Changes, Chunks, Collections
from rag.store.scope import DEFAULT_SCOPE
from rag.store.session import normalise_url


def run(settings: Settings, *, as_json: bool) -> None:
    """Print what there is; writes nothing into the store."""
    report = {
        "version": version(),
        "data_dir": str(settings.data_dir),
        "database": _database(settings),
        "models": _models(settings),
        "machine": _machine(settings),
        "disk": _disk(settings.data_dir),
    }
    if as_json:
        say_json(report)
    else:
        _show(report)


def _database(settings: Settings) -> dict[str, Any]:
    url = normalise_url(settings.resolved_database_url)
    report: dict[str, Any] = {
        "url": url.render_as_string(hide_password=True),
        "state": "ok",
        "schema": None,
        "schema_needed": head_revision(),
        "documents": {},
        "chunks": 0,
        "collections": [],
    }
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).is_file():
        return report | {"state": "there is none yet; it is made when it is first used"}
    database = open_database(settings)
    try:
        report["schema"] = current_revision(database)
        check(database)
        with database.read() as session:
            collections = Collections(session, DEFAULT_SCOPE)
            total: Counter[str] = Counter()
            for row in collections.list():
                counts = collections.counts(row.id)
                total.update(counts)
                report["collections"].append(
                    {
                        "name": row.name,
                        "documents": sum(counts.values()),
                        **_collection(session, settings, row),
                    }
                )
        report["documents"] = dict(total)
        report["chunks"] = sum(each["chunks"] for each in report["collections"])
    except LongleafError as error:
        report["state"] = error.detail
    finally:
        database.dispose()
    return report


def _collection(session: Session, settings: Settings, row: CollectionRow) -> dict[str, Any]:
    chunks = Chunks(session, DEFAULT_SCOPE).count(collection_id=row.id)
    coming = reembed.progress(session, DEFAULT_SCOPE, row.id)
    return {
        "chunks": chunks,
        "embedder": row.embedder,
        "max_context_tokens": row.max_context_tokens,
        "sequence": Changes(session, DEFAULT_SCOPE).newest(row.id),
        "index": _index(settings, row, chunks),
        "reembedding": None
        if coming is None
        else {"embedder": coming.embedder, "done": coming.done, "total": coming.total},
    }


def _index(settings: Settings, row: CollectionRow, chunks: int) -> dict[str, Any]:
    """What is stored of the collection's index; a small one is built from the database at each start."""
    folder = snapshot_folder(settings, row.id)
    try:
        manifest = read_manifest(folder)
        if manifest["format"] == FORMAT and manifest["origin"]["embedder"] == row.embedder:
            measured = manifest["measured"]
            return {
                "stored": True,
                "sequence": manifest["seq"],
                "kind": measured["kind"],
                "chunks": measured["chunks"],
                "recall_at_10": measured["recall_at_10"],
            }
    except (OSError, ValueError, KeyError, TypeError):  # there is none, or it is damaged
        pass
    kind = "flat" if settings.index == "flat" or chunks < CODED_FROM else None
    recall = 1.0 if kind == "flat" else None
    return {"stored": False, "sequence": None, "kind": kind, "chunks": None, "recall_at_10": recall}


def _models(settings: Settings) -> dict[str, Any]:
    chosen = [model for model in local_models(settings) if model.chosen]
    path, problem = generator_path(settings)
    embedder = next((model for model in chosen if model.role == "embeds"), None)
    return {
        "generator": {
            "setting": settings.model,
            "path": str(path) if path else None,
            "problem": problem or None,
        },
        "embedder": {
            "setting": settings.embedder,
            "path": embedder.path if embedder else None,
            "problem": None if embedder else "it was not found on this machine",
        },
    }


def _machine(settings: Settings) -> dict[str, Any]:
    cache = hardware_cache(settings) if settings.data_dir.is_dir() else None
    try:
        hardware = describe(settings.device, cache)
    except ModelError as error:
        return {"problem": str(error)}
    dtype = hardware.dtype if settings.dtype == "auto" else settings.dtype
    return {
        "device": hardware.device,
        "device_name": hardware.device_name,
        "threads": hardware.threads,
        "features": list(hardware.features),
        "memory_bytes": hardware.memory_bytes,
        "dtype": dtype,
        "why": _why(settings, hardware),
        "bfloat16_speedup": {"prefill": hardware.prefill_speedup, "decode": hardware.decode_speedup},
    }


def _why(settings: Settings, hardware: Hardware) -> str:
    device = (
        ("a GPU was found" if hardware.device.startswith("cuda") else "no GPU was found")
        if settings.device == "auto"
        else f"LONGLEAF_DEVICE is {settings.device}"
    )
    if settings.dtype != "auto":
        return f"{device}; LONGLEAF_DTYPE is {settings.dtype}"
    if hardware.prefill_speedup is None or hardware.decode_speedup is None:
        return f"{device}; the GPU's own 16-bit format"
    return (
        f"{device}; measured here, bfloat16 is {hardware.prefill_speedup:g} times as fast as float32 in "
        f"reading "
        f"and {hardware.decode_speedup:g} times in writing"
    )


def _disk(folder: Path) -> dict[str, Any]:
    sizes = {name: size_of(folder / name) for name in ("blobs", "index", "tmp")}
    sizes["database"] = sum(size_of(path) for path in folder.glob("longleaf.db*")) if folder.is_dir() else 0
    present = next(path for path in (folder, *folder.parents) if path.exists())
    return {**sizes, "free": shutil.disk_usage(present).free}


def _show(report: dict[str, Any]) -> None:
    database, models, machine, disk = (report[name] for name in ("database", "models", "machine", "disk"))
    say_heading("longleaf ", report["version"])
    say(f"data folder  {report['data_dir']}")
    say(f"database     {database['url']}")
    say(f"schema       {database['schema'] or 'none'} of {database['schema_needed']}; {database['state']}")
    counts = ", ".join(f"{count} {status}" for status, count in sorted(database["documents"].items()))
    say(f"documents    {counts or 'none'}; {database['chunks']:,} chunks")
    for collection in database["collections"]:
        tokens = collection["max_context_tokens"]
        budget = "" if tokens is None else f", budget {tokens} tokens"
        say(f"  {collection['name']}: {collection['documents']} documents, {collection['embedder']}{budget}")
        say(f"    {collection['chunks']:,} chunks, {_index_line(collection)}")
        if (coming := collection["reembedding"]) is not None:
            say(f"    {coming['done']:,} of {coming['total']:,} chunks have vectors of {coming['embedder']}")
    for role in ("generator", "embedder"):
        model = models[role]
        say(f"{role:12} {model['path'] or model['problem']} ({model['setting']})")
    if "problem" in machine:
        say(f"machine      {machine['problem']}")
    else:
        say(f"machine      {machine['device']}: {machine['device_name']}, {machine['threads']} threads")
        say(f"number format  {machine['dtype']}: {machine['why']}")
    used = ", ".join(f"{name} {human_bytes(disk[name])}" for name in ("database", "blobs", "index"))
    say(f"disk         {used}; {human_bytes(disk['free'])} free")


def _index_line(collection: dict[str, Any]) -> str:
    index = collection["index"]
    if index["kind"] is None:
        return "no stored index: it is built at the next start"
    recall = f"{index['kind']} index, recall@10 {index['recall_at_10']:.3f}"
    if not index["stored"]:
        return f"{recall}, built at each start"
    return f"{recall} as of change {index['sequence']} of {collection['sequence']}"
