"""A folder's state brought into a collection, one transaction a document, so that it can stop anywhere.

Which file a document stands for is written together with the document. A run that was killed is therefore
never half-way: the next one compares anew and does what is missing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from sqlalchemy.orm import Session

from ingest import jobs
from ingest.deletion import delete_documents
from ingest.errors import Stopped
from ingest.locks import file_lock
from ingest.mirroring.look import Changed, How, Look, Place, held, look, opened
from ingest.mirroring.plan import Drop, Follow, Give
from ingest.mirroring.scan import Trouble, said
from ingest.updates import read_again, rename, replace_file
from ingest.uploads import NewDocument, UploadSink, accept
from rag.errors import Conflict, LongleafError, NotFound, Unavailable
from rag.settings import Settings
from rag.store.records import DocumentRow, SyncedRow
from rag.store.repositories import Collections, Documents, SyncedFiles, Versions
from rag.store.scope import Scope
from rag.store.session import Database

TOGETHER = 200
"""Documents that are deleted, or get another name, in one transaction."""
FEW = 10
"""So few files may all be replaced by others between two runs without a question."""
_FRESH_NS = 2_000_000_000
"""A file that was written so short a time ago may be written again without its time being another."""

Step = Literal["looked", "dropped", "followed", "copied", "given"]


@dataclass
class Done:
    """What a run did, by paths."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    moved: list[tuple[str, str]] = field(default_factory=list)
    taken_over: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    unchanged: int = 0
    left_out: int = 0
    waiting: int = 0
    """What another run does, once documents are read or files are at rest."""
    troubles: list[Trouble] = field(default_factory=list)
    documents: dict[str, str] = field(default_factory=dict)
    """Documents that are to be read, each with its path."""

    def add(self, later: Done) -> None:
        """Take in what a later run of the same went on to do."""
        for name in ("added", "changed", "moved", "taken_over", "deleted"):
            getattr(self, name).extend(getattr(later, name))
        self.documents |= later.documents
        self.unchanged, self.left_out = later.unchanged, later.left_out
        self.waiting, self.troubles = later.waiting, later.troubles


class Mirror:
    """One folder and the collection that says what it holds."""

    def __init__(
        self,
        db: Database,
        settings: Settings,
        scope: Scope,
        collection_id: str,
        folder: Path,
        *,
        root: str | None = None,
        on_step: Callable[[Step, str], None] = lambda step, path: None,  # noqa: ARG005
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """`root` is the name by which the store knows the folder, by default its absolute path; `on_step` is
        called with a path when a step is reached."""
        self._db, self._settings, self._scope = db, settings, scope
        self._place = Place(scope, collection_id, root or str(folder.resolve()), folder)
        self._on_step = on_step
        self._stopped = stopped

    @property
    def root(self) -> str:
        """The name by which the store knows the folder."""
        return self._place.root

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other runs over the same folder away. Raises Conflict (`sync_running`)."""
        key = f"{self._place.collection_id}\0{self.root}".encode()
        path = self._settings.data_dir / "mirrors" / f"{hashlib.sha256(key).hexdigest()[:32]}.lock"
        with file_lock(path) as ours:
            if not ours:
                raise Conflict(f"another run is mirroring {self.root}; wait for its end", code="sync_running")
            yield

    def look(self, *, checksum: bool = False) -> Look:
        """Compare; see `ingest.mirroring.look`."""
        how = How(self._settings.max_upload_bytes, checksum, self._stopped)
        seen = look(self._db, self._place, how)
        self._on_step("looked", "")
        return seen

    def carry_out(self, seen: Look, *, delete_all: bool = False) -> Done:
        """Do what was found to be done.

        Raises Conflict (`would_delete_everything`) where nothing would be left, or of many known files none,
        unless `delete_all`; Unavailable, Stopped.
        """
        plan = seen.plan
        if plan.empties and (not seen.shas or len(seen.known) > FEW) and not delete_all:
            raise Conflict(
                f"none of the {len(seen.known)} files that were read from {self.root} is there any more; if "
                "that is meant, say --delete-all",
                code="would_delete_everything",
            )
        done = _begin(seen)
        self._touch(seen)
        for first in range(0, len(plan.drops), TOGETHER):
            self._drop(plan.drops[first : first + TOGETHER], done)
        for first in range(0, len(plan.follows), TOGETHER):
            self._follow(plan.follows[first : first + TOGETHER], seen, done)
        for give in plan.gives:
            self._give(give, seen, done)
        return done

    def preview(self, seen: Look) -> Done:
        """What `carry_out` would do, without doing it."""
        return preview(seen, lambda sha256: self._holder(sha256) is not None)

    def unread(self) -> dict[str, str]:
        """Documents of the folder that are not read to the end, each with one of its paths."""
        with self._db.read() as session:
            documents = self._place.held(session, self._place.known(session))
        return {each.document_id: min(each.paths) for each in documents if each.busy}

    def failed(self) -> dict[str, Trouble]:
        """Documents whose newest bytes could not be read, or were cancelled, each with the reason."""
        with self._db.read() as session:
            paths = {row.document_id: path for path, row in sorted(self._place.known(session).items())[::-1]}
            rows = Documents(session, self._scope).many(list(paths))
        newest = {key: row.updating or row for key, row in rows.items()}
        return {
            key: Trouble(paths[key], row.error_code or row.status, row.error_detail or f"it was {row.status}")
            for key, row in newest.items()
            if row.status in {"failed", "cancelled"}
        }

    def retry(self) -> dict[str, str]:
        """Queue once more what could not be read or was cancelled; returns documents with their paths."""
        queued = {}
        for document_id, trouble in self.failed().items():
            try:
                jobs.retry(self._db, self._scope, document_id)
            except (Conflict, NotFound):  # somebody else was quicker
                continue
            queued[document_id] = trouble.path
        return queued

    def _touch(self, seen: Look) -> None:
        """Note other times of files whose bytes are the same."""
        rows = [
            self._row(path, seen.known[path].document_id, sha256, seen)
            for path, sha256 in seen.shas.items()
            if path in seen.known and path not in seen.kept and seen.known[path].sha256 == sha256
        ]
        rows = [row for row in rows if row != seen.known[row.path]]
        if rows:
            with self._db.session() as session:
                self._files(session).touch(self._place.collection_id, self.root, rows)

    def _files(self, session: Session) -> SyncedFiles:
        return SyncedFiles(session, self._scope)

    def _row(self, path: str, document_id: str, sha256: str, seen: Look) -> SyncedRow:
        if path in seen.kept:
            known = seen.known[path]
            return SyncedRow(path, document_id, sha256, known.bytes, known.mtime_ns)
        file = seen.scan.files[path]
        fresh = time.time_ns() - file.mtime_ns < _FRESH_NS
        return SyncedRow(path, document_id, sha256, file.size, -1 if fresh else file.mtime_ns)

    def _put(self, session: Session, document_id: str, paths: Sequence[str], sha256: str, seen: Look) -> None:
        rows = [self._row(path, document_id, sha256, seen) for path in paths]
        self._files(session).put(self._place.collection_id, self.root, rows)

    def _forget(self, session: Session, paths: Sequence[str]) -> None:
        self._files(session).drop(self._place.collection_id, self.root, paths)

    def _drop(self, drops: Sequence[Drop], done: Done) -> None:
        self._go_on()
        with self._db.session() as session:
            for drop in drops:
                if drop.shared:
                    self._forget(session, drop.paths)
        mine = [drop.document_id for drop in drops if not drop.shared]
        delete_documents(self._db, self._settings, self._scope, mine)
        done.deleted += [path for drop in drops for path in drop.paths]
        self._on_step("dropped", drops[0].paths[0])

    def _follow(self, follows: Sequence[Follow], seen: Look, done: Done) -> None:
        self._go_on()
        again = []
        with self._db.session() as session:
            Collections(session, self._scope).share(self._place.collection_id)
            documents = Documents(session, self._scope)
            for follow in sorted(follows, key=lambda each: each.document_id):
                try:
                    row = documents.lock(follow.document_id)
                except NotFound:  # deleted by somebody; its file is new next time
                    done.waiting += 1
                    continue
                self._forget(session, [path for path in follow.before if path not in follow.paths])
                self._put(session, row.id, follow.paths, follow.sha256, seen)
                _tell(follow.before, follow.paths, done)
                if follow.rename and follow.busy:
                    done.waiting += 1
                elif follow.reread:
                    again.append(follow)
                elif follow.rename:
                    self._rename(session, row, follow.paths[0])
        for follow in again:
            self._read_again(follow, done)
        self._on_step("followed", follows[0].paths[0])

    def _read_again(self, follow: Follow, done: Done) -> None:
        first = follow.paths[0]

        def within(session: Session, row: DocumentRow) -> None:
            self._say_path(session, row, first)

        name = PurePosixPath(first).name
        read_again(self._db, self._settings, self._scope, follow.document_id, name, within=within)
        done.documents[follow.document_id] = first

    def _rename(self, session: Session, row: DocumentRow, path: str) -> None:
        rename(session, self._scope, row.id, PurePosixPath(path).name, {**row.meta, "path": path})

    def _say_path(self, session: Session, row: DocumentRow, path: str) -> None:
        """Say where a document lies; its name comes with its new generation."""
        meta = {**row.meta, "path": path}
        Documents(session, self._scope).describe(row.id, meta=meta, title=row.title)

    def _give(self, give: Give, seen: Look, done: Done) -> None:
        self._go_on()
        if seen.kept.issuperset(give.paths):  # somebody changed their document, and nobody can read them
            return
        try:
            holder = self._holder(give.sha256)
            if holder is not None and holder.id != give.document_id:
                self._take_over(holder, give, seen, done)
            else:
                self._bring(give, seen, done)
        except (Changed, FileNotFoundError):
            done.waiting += 1
        except OSError as error:
            done.troubles.append(Trouble(give.paths[0], "unreadable", said(error)))
        except Unavailable:
            raise
        except LongleafError as error:
            if error.code in {"duplicate_document", "document_not_found"}:
                done.waiting += 1  # somebody else brought or took it: the next look tells
            else:
                done.troubles.append(Trouble(give.paths[0], error.code, error.detail))
        self._on_step("given", give.paths[0])

    def _holder(self, sha256: str) -> DocumentRow | None:
        """The document of the collection that has these bytes, or is about to."""
        with self._db.read() as session:
            documents = Documents(session, self._scope)
            collection_id = self._place.collection_id
            coming = Versions(session, self._scope).pending_with(collection_id, sha256)
            return documents.get(coming) if coming else documents.find_by_sha256(collection_id, sha256)

    def _take_over(self, holder: DocumentRow, give: Give, seen: Look, done: Done) -> None:
        """Let a document that came another way, with the bytes of a file, stand for the file."""
        if held(holder, frozenset()).sha256 != give.sha256:
            done.waiting += 1  # these bytes are about to be replaced
            return
        if give.document_id is not None:
            delete_documents(self._db, self._settings, self._scope, [give.document_id])
        with self._db.session() as session:
            Collections(session, self._scope).share(self._place.collection_id)
            row = Documents(session, self._scope).lock(holder.id)
            now = held(row, frozenset())
            if now.sha256 != give.sha256:
                done.waiting += 1
                return
            self._put(session, row.id, give.paths, give.sha256, seen)
            elsewhere = self._files(session).held_elsewhere(self._place.collection_id, self.root)
            if now.busy:
                done.waiting += 1
            elif row.id not in elsewhere:
                self._rename(session, row, give.paths[0])
        done.taken_over += give.paths

    def _bring(self, give: Give, seen: Look, done: Done) -> None:
        """Copy a file's bytes into the store, for a new document or as the next version of one."""
        first = next(path for path in give.paths if path not in seen.kept)

        def within(session: Session, row: DocumentRow) -> None:
            self._forget(session, [path for path in give.before if path not in give.paths])
            self._put(session, row.id, give.paths, give.sha256, seen)
            if row.meta.get("path") != first:
                self._say_path(session, row, first)

        with UploadSink(self._settings) as sink:
            with opened(self._place.folder, seen.scan.files[first], self._stopped) as pieces:
                for piece in pieces:
                    sink.write(piece)
            if sink.sha256 != give.sha256:
                raise Changed
            self._on_step("copied", first)
            new = NewDocument(sink, PurePosixPath(first).name, {"path": first})
            parts = self._db, self._settings, self._scope
            if give.document_id is None:
                key = accept(*parts, self._place.collection_id, new, within=within).document.id
            else:
                key = give.document_id
                if replace_file(*parts, key, new, within=within).unchanged:
                    done.waiting += 1  # for its name
        done.documents[key] = first
        _tell_given(give, seen, done)

    def _go_on(self) -> None:
        if self._stopped():
            raise Stopped


def preview(seen: Look, is_there: Callable[[str], bool] = lambda sha256: False) -> Done:  # noqa: ARG005
    """What would be done; `is_there` tells whether the collection has bytes already."""
    plan = seen.plan
    done = _begin(seen)
    done.deleted += [path for drop in plan.drops for path in drop.paths]
    for follow in plan.follows:
        _tell(follow.before, follow.paths, done)
    for give in plan.gives:
        if is_there(give.sha256):
            done.taken_over += give.paths
        else:
            _tell_given(give, seen, done)
    return done


def _begin(seen: Look) -> Done:
    return Done(
        unchanged=seen.plan.unchanged,
        left_out=seen.scan.left_out + seen.empty,
        troubles=list(seen.troubles),
    )


def _tell(before: Sequence[str], after: Sequence[str], done: Done) -> None:
    """Say a move for each path that went, a new file for each that came besides."""
    gone = [path for path in before if path not in after]
    come = [path for path in after if path not in before]
    done.moved += list(zip(gone, come, strict=False))
    done.deleted += gone[len(come) :]
    done.added += come[len(gone) :]


def _tell_given(give: Give, seen: Look, done: Done) -> None:
    done.changed += [path for path in give.paths if path in give.before]
    done.added += [path for path in give.paths if path not in give.before]
    done.deleted += [path for path in give.before if path not in seen.shas]
