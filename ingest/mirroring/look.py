"""What a folder holds, beside what is known of it: looked at without writing anything."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.orm import Session

from ingest.errors import Stopped
from ingest.mirroring.ignore import BadRules
from ingest.mirroring.plan import Held, Plan, make_plan
from ingest.mirroring.scan import Found, Scan, Trouble, said, scan
from rag.errors import NotFound, Unavailable
from rag.store.records import FINAL_STATUSES, DocumentRow, SyncedRow
from rag.store.repositories import Documents, SyncedFiles
from rag.store.scope import Scope
from rag.store.session import Database

_PIECE = 1024 * 1024


class Changed(Exception):
    """A file is not any more what it was when it was looked at."""


@dataclass
class Look:
    """What a folder holds, what is known of it, and what has to be done."""

    plan: Plan
    scan: Scan
    shas: dict[str, str]
    """SHA-256 by path."""
    known: dict[str, SyncedRow]
    kept: set[str] = field(default_factory=set)
    """Known paths that can't be looked at: the bytes that were read before stand for theirs."""
    troubles: list[Trouble] = field(default_factory=list)
    empty: int = 0
    """Files without a byte: one that is new is none yet, one that had some stays what it was."""


@dataclass(frozen=True)
class Place:
    """A folder, the collection it is mirrored into, and `root`, the name by which the store knows it."""

    scope: Scope
    collection_id: str
    root: str
    folder: Path

    def known(self, session: Session) -> dict[str, SyncedRow]:
        """What was brought from it, by path. Raises NotFound."""
        rows = SyncedFiles(session, self.scope).list(self.collection_id, self.root)
        return {row.path: row for row in rows}

    def held(self, session: Session, known: Mapping[str, SyncedRow]) -> list[Held]:
        """The documents that stand for its files. Raises NotFound."""
        paths: dict[str, set[str]] = {}
        for row in known.values():
            paths.setdefault(row.document_id, set()).add(row.path)
        shared = SyncedFiles(session, self.scope).held_elsewhere(self.collection_id, self.root)
        documents = Documents(session, self.scope).many(list(paths))
        return [held(row, frozenset(paths[key]), shared=key in shared) for key, row in documents.items()]


@dataclass(frozen=True)
class How:
    """How files are looked at: the bytes of the largest that is taken, whether the bytes of every file are
    read (`checksum`) or of those with another size or time alone, and when to stop."""

    largest: int
    checksum: bool = False
    stopped: Callable[[], bool] = lambda: False


def look(db: Database, place: Place, how: How) -> Look:
    """Walk through the folder and compare; reads the bytes of what seems new, writes nothing.

    Raises NotFound (`folder_not_found`, `collection_not_found`), Unavailable (`folder_unreadable`), Stopped.
    """
    with db.read() as session:
        known = place.known(session)
        documents = place.held(session, known)
    return compare(place.folder, known, documents, how)


def compare(folder: Path, known: dict[str, SyncedRow], documents: Iterable[Held], how: How) -> Look:
    """The same without a store. Raises NotFound (`folder_not_found`), Unavailable, Stopped."""
    found = _scanned(folder, known=bool(known))
    seen = Look(Plan(), found, {}, known, troubles=list(found.troubles))
    for path, file in found.files.items():
        _digest(seen, path, file, folder, how)
    for path, row in known.items():
        if path not in found.files and found.hides(path):
            _keep(seen, row)
    seen.plan = make_plan(seen.shas, documents)
    return seen


def _scanned(folder: Path, *, known: bool) -> Scan:
    try:
        if known or folder.is_dir():
            return scan(folder)
    except FileNotFoundError:
        return Scan()  # all that is known is gone: who carries that out asks before
    except (OSError, BadRules) as error:
        raise Unavailable(f"{folder} can't be read: {said(error)}", code="folder_unreadable") from error
    raise NotFound(f"there is no folder {folder}", code="folder_not_found")


def _digest(seen: Look, path: str, file: Found, folder: Path, how: How) -> None:
    row = seen.known.get(path)
    if row and not how.checksum and (row.bytes, row.mtime_ns) == (file.size, file.mtime_ns):
        seen.shas[path] = row.sha256
        return
    if file.size == 0:
        seen.empty += 1
    elif file.size > how.largest:
        detail = f"it has {file.size} bytes, LONGLEAF_MAX_UPLOAD_BYTES is {how.largest}"
        seen.troubles.append(Trouble(path, "too_large", detail))
    else:
        try:
            with opened(folder, file, how.stopped) as pieces:
                digest = hashlib.sha256()
                for piece in pieces:
                    digest.update(piece)
            seen.shas[path] = digest.hexdigest()
            return
        except FileNotFoundError:
            return
        except Changed:
            seen.troubles.append(Trouble(path, "changing", "it was being written; it is taken next time"))
        except OSError as error:
            seen.troubles.append(Trouble(path, "unreadable", said(error)))
    if row:
        _keep(seen, row)


def _keep(seen: Look, row: SyncedRow) -> None:
    seen.shas[row.path] = row.sha256
    seen.kept.add(row.path)


@contextmanager
def opened(
    folder: Path, file: Found, stopped: Callable[[], bool] = lambda: False
) -> Iterator[Iterator[bytes]]:
    """The bytes of a file in pieces.

    Raises Changed when it is not the one that was found, Stopped, OSError.
    """
    path = os.path.realpath(folder / file.path)
    # never waits, as for the other end of a pipe, should the name lead to one by now
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)

    def same() -> bool:
        now = os.fstat(descriptor)
        return (now.st_size, now.st_mtime_ns, (now.st_dev, now.st_ino)) == (
            file.size,
            file.mtime_ns,
            file.place,
        )

    def pieces() -> Iterator[bytes]:
        while piece := os.read(descriptor, _PIECE):
            if stopped():
                raise Stopped
            yield piece

    try:
        if not same():
            raise Changed
        yield pieces()
        if not same():
            raise Changed
    finally:
        os.close(descriptor)


def held(row: DocumentRow, paths: frozenset[str], *, shared: bool = False) -> Held:
    """A document as a plan sees it."""
    newest = row.updating or row
    return Held(
        document_id=row.id,
        paths=paths,
        sha256=newest.sha256,
        live=row.sha256 if row.generation else None,
        failed=newest.status in {"failed", "cancelled"},
        busy=newest.status not in FINAL_STATUSES,
        shown_path=row.meta.get("path"),
        filename=row.filename,
        shared=shared,
    )
