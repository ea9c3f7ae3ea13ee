"""`longleaf ingest`: files and folders, read into a collection by this process."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api.commands.session import command_service
from api.terminal import FAILURE, fail, say, say_json, warn
from api.wiring import Service
from ingest import jobs
from ingest.uploads import NewDocument, UploadSink, accept
from rag.errors import LongleafError
from rag.settings import Settings
from rag.store.records import FINAL_STATUSES, DocumentRow
from rag.store.repositories import Documents

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_PIECE = 1024 * 1024
_POLL_SECONDS = 0.1


@dataclass
class Entry:
    """A file and what became of it; `reason` says why it was not read."""

    path: Path
    document_id: str | None = None
    duplicate: bool = False
    status: str = "failed"
    code: str | None = None
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The entry as `--json` shows it."""
        error = {"code": self.code, "detail": self.reason} if self.reason else None
        return {
            "path": str(self.path),
            "id": self.document_id,
            "duplicate": self.duplicate,
            "status": self.status,
            "error": error,
        }


def run(
    settings: Settings, paths: list[Path], collection: str, *, as_json: bool, cluster: str | None = None
) -> None:
    """Read everything, here or on the Ray cluster at an address, and say what became of it.

    Exits with 1 when a file failed. Raises Unavailable; InvalidRequest (`bad_cluster_address`).
    """
    files, missing = find_files(paths)
    entries = [Entry(path, code="not_found", reason="there is no such file or folder") for path in missing]
    if not files and not missing:
        fail(f"there is no file in {', '.join(str(path) for path in paths)}")
    if files:
        with _crew(cluster) as read, command_service(settings, engine=False) as service:
            added = add_files(service, files, collection)
            read(service, added)
        entries += added
    failed = [entry for entry in entries if entry.reason]
    duplicates = [entry for entry in entries if entry.duplicate and not entry.reason]
    ready = len(entries) - len(failed) - len(duplicates)
    for entry in failed:
        warn(f"{entry.path}: {entry.reason}")
    if as_json:
        say_json(
            {
                "collection": collection,
                "ready": ready,
                "duplicates": len(duplicates),
                "failed": len(failed),
                "documents": [entry.as_dict() for entry in entries],
            }
        )
    else:
        for entry in duplicates:
            say(f"{entry.path}: skipped, the collection has it as {entry.document_id}")
        say(
            f"{ready} read into {collection!r}, {len(duplicates)} skipped as duplicates, {len(failed)} failed"
        )
    if failed:
        raise SystemExit(FAILURE)


@contextmanager
def _crew(cluster: str | None) -> Iterator[Callable[[Service, list[Entry]], None]]:
    """Who reads: this process, or a cluster, which is joined before a file is touched."""
    if cluster is None:
        yield read_all
        return
    from api.cluster.joining import joined  # noqa: PLC0415

    with redirect_stdout(sys.stderr), joined(cluster) as ray:  # Ray tells of losses on stdout
        yield lambda service, entries: _read_on_cluster(ray, service, entries)


def find_files(paths: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Return the files that are meant, in order and once each, and the paths that do not exist.

    Folders are searched through; names that begin with a dot and links to folders are left out there.
    """
    files: dict[Path, None] = {}
    missing: list[Path] = []
    for path in paths:
        if path.is_dir():
            for folder, folders, names in os.walk(path):
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                found = (Path(folder) / name for name in sorted(names) if not name.startswith("."))
                files.update(dict.fromkeys(each for each in found if each.is_file()))
        elif path.is_file():
            files[path] = None
        else:
            missing.append(path)
    return list(files), missing


def add_files(service: Service, files: Iterable[Path], collection: str) -> list[Entry]:
    """Put files into the store, queued. A duplicate that failed before is queued again.

    Raises InvalidRequest (`invalid_collection_name`), Unavailable.
    """
    collection_id = service.ensure_collection(collection).id
    return [_add(service, path, collection_id) for path in files]


def _add(service: Service, path: Path, collection_id: str) -> Entry:
    entry = Entry(path)
    try:
        with UploadSink(service.settings) as sink, path.open("rb") as source:
            while piece := source.read(_PIECE):
                sink.write(piece)
            metadata = {} if path.is_absolute() or path.parent == Path() else {"path": str(path)}
            taken = accept(
                service.db,
                service.settings,
                service.scope,
                collection_id,
                NewDocument(sink, path.name, metadata),
                reuse=True,
            )
    except LongleafError as error:
        entry.code, entry.reason = error.code, error.detail
        return entry
    except OSError as error:
        entry.code, entry.reason = "unreadable", error.strerror or str(error)
        return entry
    entry.document_id, entry.duplicate = taken.document.id, taken.reused
    if taken.document.status in {"failed", "cancelled"}:
        jobs.retry(service.db, service.scope, taken.document.id)
        entry.duplicate = False
    return entry


def read_all(service: Service, entries: list[Entry]) -> None:
    """Read what is queued until every entry's document is in a final state; shows progress on a terminal."""
    from ingest.worker import Worker  # noqa: PLC0415

    waiting = [entry for entry in entries if entry.document_id is not None]
    worker = Worker(service.db, service.settings, service.embedder.wait())
    broken: list[Exception] = []

    def work() -> None:
        try:
            while not all(_settled(row) for row in _rows(service, waiting).values()):
                worker.run_until_idle()
                # what is left is being read by a server on the same store
                if stopping.wait(_POLL_SECONDS):
                    return
        except Exception as error:  # it is raised in the main thread
            broken.append(error)

    stopping = threading.Event()
    thread = threading.Thread(target=work, name="ingest", daemon=True)
    thread.start()
    try:
        _watch(service, waiting, thread)
    finally:
        stopping.set()
        worker.stop()
        thread.join(timeout=30)
    if broken:
        raise broken[0]
    _conclude(service, waiting)


def _read_on_cluster(ray: Any, service: Service, entries: list[Entry]) -> None:
    """Have a cluster read what is queued until every entry's document is in a final state."""
    from api.cluster.ingest import BulkIngest  # noqa: PLC0415
    from api.cluster.ingest_progress import Progress, Unsettled  # noqa: PLC0415

    waiting = [entry for entry in entries if entry.document_id is not None]
    bulk = BulkIngest(ray, service.db, service.settings, service.embedder.wait().fingerprint)
    open_ones = Unsettled(service.db, service.scope, [entry.document_id or "" for entry in waiting])
    with Progress(service.db, bulk) as progress:
        bulk.run(open_ones.none, show=progress.show)
    _conclude(service, waiting)


def _conclude(service: Service, waiting: list[Entry]) -> None:
    """Note what became of each."""
    rows = _rows(service, waiting)
    for entry in waiting:
        row = rows.get(entry.document_id or "")
        if row is None:
            entry.code, entry.reason = "document_not_found", "it was deleted meanwhile"
        else:
            newest = row.updating or row
            entry.status = newest.status
            if newest.status != "ready":
                entry.code = newest.error_code or newest.status
                entry.reason = newest.error_detail or f"reading ended as {newest.status}"


def _settled(row: DocumentRow) -> bool:
    """Whether nothing of it is on its way, a newer version included."""
    return (row.updating or row).status in FINAL_STATUSES


def _rows(service: Service, entries: list[Entry]) -> dict[str, DocumentRow]:
    with service.db.read() as session:
        return Documents(session, service.scope).many([entry.document_id or "" for entry in entries])


def _watch(service: Service, entries: list[Entry], thread: threading.Thread) -> None:
    if not sys.stderr.isatty():
        thread.join()
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        documents = progress.add_task("documents", total=len(entries))
        chunks = progress.add_task("chunks", total=None)
        while thread.is_alive():
            thread.join(_POLL_SECONDS * 3)
            _update(progress, documents, chunks, _rows(service, entries).values())


def _update(progress: Progress, documents: TaskID, chunks: TaskID, rows: Iterable[DocumentRow]) -> None:
    seen = list(rows)
    progress.update(documents, completed=sum(_settled(row) for row in seen))
    busy = [newest for row in seen if (newest := row.updating or row).status == "embedding"]
    if busy:
        done, total = sum(row.chunks_done for row in busy), sum(row.chunks_total for row in busy)
        progress.update(chunks, completed=done, total=total)
