"""`longleaf sync`: a folder mirrored into a collection."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from api.commands.ingest import Entry, read_all
from api.commands.session import opened
from api.terminal import FAILURE, say, say_json, warn
from api.wiring import Service
from ingest.mirroring.look import How, compare
from ingest.mirroring.mirror import Done, Mirror, preview
from rag.settings import Settings
from rag.store.migrate import check, current_revision
from rag.store.repositories import Collections, check_collection_name
from rag.store.scope import DEFAULT_SCOPE
from rag.store.session import normalise_url

_PASSES = 6
"""Runs of which each waits for what the one before brought; more are of use only while files keep moving."""


@dataclass(frozen=True)
class Options:
    """How a folder is mirrored; each is an option of the command."""

    name: str | None = None
    checksum: bool = False
    retry: bool = False
    read: bool = True
    delete_all: bool = False
    as_json: bool = False


class Work:
    """A mirror at work, with as much of a service as it needs: a run without news loads no model."""

    def __init__(self, service: Service, folder: Path, collection: str, options: Options) -> None:
        """Finds the collection or makes it.

        Raises InvalidRequest (`invalid_collection_name`), Unavailable.
        """
        self.service, self.options = service, options
        self.stop = threading.Event()
        self._started = False
        with service.db.read() as session:
            found = Collections(session, service.scope).find(collection)
        if found is None:
            check_collection_name(collection)  # before a model is loaded for it
            self.start()
            found = service.ensure_collection(collection)
        self._collection_id = found.id
        self.mirror = Mirror(
            service.db,
            service.settings,
            service.scope,
            found.id,
            folder,
            root=options.name,
            stopped=self.stop.is_set,
        )

    def start(self) -> None:
        """Load what reading takes."""
        if not self._started:
            self.service.start(ingest=False, engine=False)
            self._started = True

    def once(self, *, checksum: bool = False) -> Done:
        """One run, without the reading. Raises as `Mirror.carry_out` does."""
        seen = self.mirror.look(checksum=checksum)
        done = self.mirror.carry_out(seen, delete_all=self.options.delete_all)
        if done.deleted:
            self._cleanse()
        return done

    def settle(self) -> Done:
        """Run and read until nothing waits."""
        queued = self.mirror.retry() if self.options.retry else {}
        total = self.once(checksum=self.options.checksum)
        for number in range(_PASSES):
            if number:
                total.add(self.once())
            if not self.options.read:
                return total
            queued |= total.documents | self.mirror.unread()
            if queued:
                self.start()
                read_all(self.service, [Entry(Path(path), key) for key, path in queued.items()])
            if not total.waiting:
                break
        total.troubles += [trouble for key, trouble in self.mirror.failed().items() if key in queued]
        return total

    def _cleanse(self) -> None:
        """Leave nothing of what was deleted in a stored index."""
        from rag.index.live import LiveIndexes  # noqa: PLC0415

        live = self.service.indexes.now() or LiveIndexes(self.service.db, self.service.settings)
        live.cleanse(self._collection_id)


def run(settings: Settings, folder: Path, collection: str, options: Options) -> None:
    """Mirror once and say what was done; exits with 1 when a file could not be taken or read.

    Raises NotFound, Conflict (`would_delete_everything`, `sync_running`), Unmigrated, Unavailable.
    """
    with working(settings, folder, collection, options) as work:
        done = work.settle()
        failed = len(work.mirror.failed())
    show(done, failed, as_json=options.as_json)
    if done.troubles:
        raise SystemExit(FAILURE)


def dry_run(settings: Settings, folder: Path, collection: str, options: Options) -> None:
    """Say what a run would do; writes nothing. Raises NotFound, Unmigrated, Unavailable."""
    url = normalise_url(settings.resolved_database_url)
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).is_file():
        check_collection_name(collection)
        done, failed = preview(compare(folder, {}, [], How(settings.max_upload_bytes))), 0
    else:
        done, failed = _previewed(settings, folder, collection, options)
    show(done, failed, as_json=options.as_json, would=True)


def _previewed(settings: Settings, folder: Path, collection: str, options: Options) -> tuple[Done, int]:
    with opened(settings) as db:
        found = None
        if current_revision(db) is not None:
            check(db)
            with db.read() as session:
                found = Collections(session, DEFAULT_SCOPE).find(collection)
        if found is None:
            check_collection_name(collection)
            return preview(compare(folder, {}, [], How(settings.max_upload_bytes))), 0
        mirror = Mirror(db, settings, DEFAULT_SCOPE, found.id, folder, root=options.name)
        return mirror.preview(mirror.look(checksum=options.checksum)), len(mirror.failed())


@contextmanager
def working(settings: Settings, folder: Path, collection: str, options: Options) -> Iterator[Work]:
    """A mirror at work, the only one over its folder. Raises Conflict (`sync_running`)."""
    service = Service(settings)
    try:
        service.open()
        work = Work(service, folder, collection, options)
        with work.mirror.alone():
            yield work
    finally:
        service.stop()


def show(done: Done, failed: int, *, as_json: bool, would: bool = False, one_line: bool = False) -> None:
    """Print what was done, or would be; `failed` counts documents that can't be read, old ones included."""
    troubles = done.troubles
    if as_json:
        report = {
            "dry_run": would,
            "added": done.added,
            "changed": done.changed,
            "moved": [{"from": before, "to": after} for before, after in done.moved],
            "taken_over": done.taken_over,
            "deleted": done.deleted,
            "unchanged": done.unchanged,
            "left_out": done.left_out,
            "waiting": done.waiting,
            "unreadable": failed,
            "problems": [asdict(trouble) for trouble in troubles],
        }
        say_json(report, one_line=one_line)
        return
    for sign, paths in (("+", done.added), ("~", done.changed), ("=", done.taken_over), ("-", done.deleted)):
        for path in paths:
            say(f"{sign} {path}")
    for before, after in done.moved:
        say(f"> {before} -> {after}")
    for trouble in troubles:
        warn(f"{trouble.path or '.'}: {trouble.detail}")
    counts = [
        (len(done.added), "new"),
        (len(done.changed), "changed"),
        (len(done.moved), "moved"),
        (len(done.taken_over), "taken over"),
        (len(done.deleted), "deleted"),
    ]
    told = ", ".join(f"{count} {what}" for count, what in counts if count) or "nothing to do"
    rest = [f"{done.unchanged} unchanged"]
    rest += [f"{done.left_out} left out"] if done.left_out else []
    rest += [f"{done.waiting} to be done once documents are read"] if done.waiting else []
    rest += [f"{failed} can't be read"] if failed else []
    say(f"{'would be: ' if would else ''}{told}; {', '.join(rest)}")
