"""Keeps each collection's index in step with the database, which alone is the truth."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from sqlalchemy.orm import Session

from rag.errors import Conflict
from rag.index import snapshot
from rag.index.analysis import NAMES_END
from rag.index.collection import CollectionIndex, IndexedDocument
from rag.index.shared import SharedSnapshots
from rag.index.vectors import Kind
from rag.settings import Settings
from rag.store.records import DocumentRow
from rag.store.repositories import Changes, Chunks, Collections, Documents
from rag.store.repositories.changes import Latest
from rag.store.scope import Scope
from rag.store.session import Database
from rag.store.state import identity_of
from rag.store.tables import DEFAULT_WORKSPACE

PATIENCE_SECONDS = 0.1
"""How long who brings an index on waits for a replica to have what is new, before the primary is read."""
BATCH_CHUNKS = 2048
"""Chunks that are read and analysed at a time, which bounds the memory of a rebuild."""
WORTH_SAVING = 2000
"""Chunks from which on a rebuilt index is written to disk."""
WORTH_KEEPING = 20_000
"""Chunks from which on a removal is followed by a new snapshot at once: to build anew would take long."""
_ENDING = re.compile(r"\.[A-Za-z0-9]{1,10}\Z")


@dataclass(frozen=True)
class Followed:
    """An index with everything in it up to the change number `seq`, the collection's last at the call."""

    index: CollectionIndex
    seq: int


@dataclass
class _Entry:
    """A collection's index, the number of the last change in it, and the lock of the one who brings it on."""

    index: CollectionIndex = field(default_factory=CollectionIndex)
    workspace_id: str = DEFAULT_WORKSPACE
    seq: int = -1
    unsaved: int = 0
    turn: threading.Lock = field(default_factory=threading.Lock)


class LiveIndexes:
    """The indexes of this process, built on first use from a snapshot or from the database alone."""

    def __init__(
        self,
        db: Database,
        settings: Settings,
        holds: Callable[[str], bool] | None = None,
        *,
        shared: SharedSnapshots | None = None,
    ) -> None:
        """With `holds`, an index has the documents alone whose ids that is true of, and is never on disk.
        `shared` is where snapshots of other machines are found and own ones are sent to."""
        self._db = db
        self._holds = holds
        self._shared = shared
        self._folder = settings.data_dir / "index"
        self._kind: Kind = settings.index
        self._entries: dict[str, _Entry] = {}
        self._lock = threading.Lock()

    def follow(
        self, collection_id: str, workspace_id: str = DEFAULT_WORKSPACE, embedder: str | None = None
    ) -> CollectionIndex:
        """Return the index with everything in it that was committed before the call; as `follow_to`."""
        return self.follow_to(collection_id, workspace_id, embedder).index

    def follow_to(
        self, collection_id: str, workspace_id: str = DEFAULT_WORKSPACE, embedder: str | None = None
    ) -> Followed:
        """Return the index with all in it that was committed before the call, and which change that is.

        One indexed query of the primary when nothing is new; what is new comes from a replica that has it.
        Raises NotFound (`collection_not_found`) and, before anything is built, Conflict (`embedder_mismatch`)
        where the collection's vectors are not those of `embedder`.
        """
        entry = self._entry(collection_id)
        scope = Scope(workspace_id)
        latest = self._latest(scope, collection_id)
        if embedder is not None and latest.embedder != embedder:
            raise Conflict(
                f"collection {latest.name!r} was embedded with {latest.embedder}, this service runs "
                f"{embedder}: set LONGLEAF_EMBEDDER to that model, or run "
                "`longleaf reembed` for the collection",
                code="embedder_mismatch",
            )
        entry.workspace_id = workspace_id
        if 0 <= latest.seq <= entry.seq:
            return Followed(entry.index, latest.seq)
        with entry.turn:
            # Asked anew by whoever has the turn: what was deleted and forgotten here while it was waited for
            # must not come back from a replica that does not know of it yet.
            needed = latest.seq if self._db.replicas is None else self._latest(scope, collection_id).seq
            if entry.seq < 0:
                self._build(entry, collection_id, scope, needed)
            else:
                self._catch_up(entry, collection_id, scope, needed)
        return Followed(entry.index, latest.seq)

    def _latest(self, scope: Scope, collection_id: str) -> Latest:
        with self._db.glance() as session:
            return Changes(session, scope).latest(collection_id)

    def current(self, collection_id: str, workspace_id: str, embedder: str, seq: int) -> CollectionIndex:
        """Return the index with at least the changes up to number `seq` in it, and vectors of `embedder`.

        Where it has them already nothing is asked of the database. Raises as `follow`.
        """
        entry = self._entry(collection_id)
        if 0 <= seq <= entry.seq and entry.index.embedder == embedder:
            return entry.index
        return self.follow(collection_id, workspace_id, embedder)

    def sequence(self, collection_id: str) -> int:
        """Return the number of the last change that the index holds, -1 before it is built."""
        return self._entry(collection_id).seq

    def held(self, collection_id: str) -> CollectionIndex:
        """Return the index as it is, without a look at the database."""
        return self._entry(collection_id).index

    def sizes(self) -> list[int]:
        """Chunks of each collection's index that is in memory."""
        with self._lock:
            return [len(entry.index) for entry in self._entries.values() if entry.seq >= 0]

    def forget(self, collection_id: str, document_id: str | None = None) -> None:
        """Drop a document, or the whole collection, from memory and disk, after its deletion's commit.

        When it returns, neither this process's index nor a snapshot, a shared one included, holds anything of
        it. Raises OSError when the disk does not let a snapshot be removed, Unavailable when the shared place
        does not.
        """
        folder = self._folder / collection_id
        if document_id is None:
            with self._lock:
                self._entries.pop(collection_id, None)
            if self._holds is None:
                snapshot.drop(folder)
            if self._shared is not None:
                self._shared.drop(collection_id)
            return
        entry = self._entry(collection_id)
        with entry.turn:
            entry.index.apply([], [document_id])
            entry.unsaved += 1
            try:
                if self._holds is None:
                    snapshot.purge(folder, entry.index)
            finally:
                if self._shared is not None:
                    self._shared.purge(collection_id, entry.index)

    def cleanse(self, collection_id: str, workspace_id: str = DEFAULT_WORKSPACE) -> None:
        """Take out of the snapshot what was deleted by others, where there is one: for a process that deletes
        without searching. Raises NotFound."""
        folder = self._folder / collection_id
        if not folder.is_dir():
            return
        self.follow(collection_id, workspace_id)
        entry = self._entry(collection_id)
        with entry.turn:
            if len(entry.index) >= WORTH_SAVING:
                self._save(entry, collection_id, Scope(workspace_id))
            else:
                snapshot.drop(folder)

    def close(self) -> None:
        """Write snapshots of the indexes that changed since they were last written, and wait until they are
        where others find them."""
        self.save()
        if self._shared is not None:
            self._shared.close()

    def save(self) -> None:
        """Write snapshots of the indexes that changed since they were last written."""
        with self._lock:
            entries = list(self._entries.items())
        for collection_id, entry in entries:
            with entry.turn:
                if entry.unsaved and len(entry.index) >= WORTH_SAVING:
                    self._save(entry, collection_id, Scope(entry.workspace_id))

    def _entry(self, collection_id: str) -> _Entry:
        with self._lock:
            return self._entries.setdefault(collection_id, _Entry())

    def _build(
        self, entry: _Entry, collection_id: str, scope: Scope, needed: int, *, anew: bool = False
    ) -> None:
        """Take the snapshot if it is good, then make it what the database says, within one read snapshot.

        Where vectors were exchanged the snapshot has old ones: then it is all built `anew`.
        """
        if self._shared is not None and not anew:
            with self._db.read() as session:
                origin = _origin(session, scope, collection_id)
            self._shared.fetch(self._folder / collection_id, origin)

        def build(session: Session) -> tuple[CollectionIndex, int, int, bool]:
            origin = _origin(session, scope, collection_id)
            # a part of a collection is never on disk
            skipped = anew or self._holds is not None
            loaded = None if skipped else snapshot.load(self._folder / collection_id, origin, self._kind)
            index = loaded or CollectionIndex(kind=self._kind)
            index.embedder = origin.embedder
            seq = Changes(session, scope).newest(collection_id)
            live = {row.id: row for row in Documents(session, scope).live(collection_id) if self._has(row.id)}
            held = {key: generation for key, (generation, _) in index.documents.items()}
            stale = [key for key in held if key not in live]
            later = Changes(session, scope).after(collection_id, index.seq, limit=1_000_000) if loaded else []
            renamed = {change.document_id for change in later}
            wanted = [row for key, row in live.items() if held.get(key) != row.generation or key in renamed]
            return index, seq, self._apply(session, scope, index, wanted, stale), loaded is not None

        index, seq, changed, loaded = self._db.reading(needed, build, patience=PATIENCE_SECONDS)
        entry.index, entry.seq, entry.unsaved = index, seq, changed
        if changed >= WORTH_SAVING or (changed and loaded):
            self._save(entry, collection_id, scope)

    def _catch_up(self, entry: _Entry, collection_id: str, scope: Scope, needed: int) -> None:
        def catch_up(session: Session) -> tuple[bool, list[str]]:
            changes = Changes(session, scope).after(collection_id, entry.seq, limit=1_000_000)
            exchanged, gone = any(change.kind == "reembed" for change in changes), list[str]()
            if changes and not exchanged:
                touched = {change.document_id for change in changes if self._has(change.document_id)}
                live = {
                    key: row
                    for key, row in Documents(session, scope).many(sorted(touched)).items()
                    if row.generation > 0 and row.collection_id == collection_id
                }
                gone = [key for key in touched if key in entry.index.documents and key not in live]
                # also those whose generation is here already: then their names are others
                entry.unsaved += self._apply(session, scope, entry.index, list(live.values()), gone)
                entry.seq = changes[-1].seq
            return exchanged, gone

        exchanged, gone = self._db.reading(needed, catch_up, patience=PATIENCE_SECONDS)
        if exchanged:
            self._build(entry, collection_id, scope, needed, anew=True)
        elif gone and len(entry.index) >= WORTH_KEEPING:
            self._save(entry, collection_id, scope)
        elif gone and self._holds is None:
            with suppress(OSError):  # whoever deleted it has heard of it; a search goes on
                snapshot.purge(self._folder / collection_id, entry.index)

    def _apply(
        self,
        session: Session,
        scope: Scope,
        index: CollectionIndex,
        wanted: list[DocumentRow],
        gone: list[str],
    ) -> int:
        """Bring the documents `wanted` in and take `gone` out; return how many chunks that touched."""
        touched, batch, size = len(gone), list[IndexedDocument](), 0
        for row in wanted:
            document = _read(session, scope, row)
            batch.append(document)
            size += len(document.ids)
            if size >= BATCH_CHUNKS:
                index.apply(batch, gone)
                touched, batch, size, gone = touched + size, [], 0, []
        if batch or gone:
            index.apply(batch, gone)
        return touched + size

    def _has(self, document_id: str) -> bool:
        return self._holds is None or self._holds(document_id)

    def _save(self, entry: _Entry, collection_id: str, scope: Scope) -> None:
        if self._holds is not None:
            return
        folder = self._folder / collection_id
        try:
            with self._db.read() as session:
                origin = _origin(session, scope, collection_id)
            snapshot.save(folder, entry.index, origin, entry.seq)
        except OSError:  # a full or read-only disk costs the next start some time, nothing else
            snapshot.drop(folder)
            return
        # A deletion may have been committed, and have dropped the snapshot, while this one was being written.
        deleted = partial(self._deleted_since, collection_id, scope, entry.seq)
        if deleted():
            snapshot.drop(folder)
            return
        entry.unsaved = 0
        if self._shared is not None:
            self._shared.publish(folder, collection_id, deleted)

    def _deleted_since(self, collection_id: str, scope: Scope, seq: int) -> bool:
        with self._db.read() as session:
            later = Changes(session, scope).after(collection_id, seq)
        return any(change.kind == "delete" for change in later)


def _origin(session: Session, scope: Scope, collection_id: str) -> snapshot.Origin:
    identity = identity_of(session)
    embedder = Collections(session, scope).get(collection_id).embedder
    return snapshot.Origin(identity, collection_id, embedder)


def _read(session: Session, scope: Scope, row: DocumentRow) -> IndexedDocument:
    chunks = Chunks(session, scope).of_generation(row.id, row.generation)
    slices = Documents(session, scope).text_slices(row.id, [(chunk.start, chunk.end) for chunk in chunks])
    vectors = [chunk.vector for chunk in chunks if chunk.vector is not None]
    if len(vectors) != len(chunks):
        raise RuntimeError(
            f"document {row.id} was published with {len(chunks) - len(vectors)} chunks unembedded"
        )
    return IndexedDocument(
        row.id,
        row.generation,
        np.array([chunk.id for chunk in chunks], dtype=np.int64),
        np.stack(vectors) if vectors else np.zeros((0, 0), dtype=np.float16),
        [
            lexical_text(row.title, row.filename, chunk.headings, text)
            for chunk, text in zip(chunks, slices, strict=True)
        ],
    )


def lexical_text(title: str, filename: str, headings: tuple[str, ...], text: str) -> str:
    """Return what the lexical index holds of a chunk: names (title, file name, heading path), then its text.

    A file name without its ending is left out where it is the title.
    """
    stem = _ENDING.sub("", filename)
    names = [title, *([stem] if stem != title else []), *headings]
    return "\n".join(names).replace(NAMES_END, " ") + NAMES_END + text


def snapshot_folder(settings: Settings, collection_id: str) -> Path:
    """Return where the snapshot of a collection lies, for deletion by those who hold no `LiveIndexes`."""
    return settings.data_dir / "index" / collection_id
