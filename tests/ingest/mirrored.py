"""What the tests of mirroring share: a folder, the collection that mirrors it, and what that should say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from ingesting import Desk

from ingest.mirroring.mirror import Done, Mirror
from ingest.worker import Worker
from rag.store.repositories import DEFAULT_SCOPE, Documents, SyncedFiles


class Mirrored:
    """A folder and a desk whose collection follows it."""

    def __init__(self, desk: Desk, folder: Path, **more: Any) -> None:
        self.desk, self.folder, self.more = desk, folder, more
        folder.mkdir(parents=True, exist_ok=True)

    def mirror(self, **more: Any) -> Mirror:
        desk = self.desk
        return Mirror(
            desk.db, desk.settings, DEFAULT_SCOPE, desk.collection_id, self.folder, **self.more, **more
        )

    def once(self, *, delete_all: bool = False, checksum: bool = False, **more: Any) -> Done:
        """One run, without reading what it brought."""
        mirror = self.mirror(**more)
        return mirror.carry_out(mirror.look(checksum=checksum), delete_all=delete_all)

    def sync(self, **more: Any) -> Done:
        """Run and read until there is nothing to do; returns what the first run did."""
        first = self.once(**more)
        for _ in range(5):
            self.read()
            mirror = self.mirror()
            seen = mirror.look()
            if seen.plan.nothing:
                return first
            mirror.carry_out(seen, delete_all=True)
        raise AssertionError(f"it does not come to rest: {seen.plan}")

    def read(self) -> None:
        Worker(self.desk.db, self.desk.settings, self.desk.embedder).run_until_idle()

    def write(self, path: str, content: str | bytes) -> Path:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        return target

    def documents(self) -> dict[str, Any]:
        """The documents of the collection by the path that they say."""
        with self.desk.db.read() as session:
            rows = Documents(session, DEFAULT_SCOPE).list(
                collection_id=self.desk.collection_id, limit=100_000
            )
        assert len({row.meta.get("path") for row in rows}) == len(rows)
        return {row.meta.get("path"): row for row in rows}

    def said(self) -> dict[str, tuple[str, str, str, str]]:
        """What a user sees of each document, by path: file name, title, state, text."""
        return {
            path: (row.filename, row.title, row.status, self.desk.text(row.id))
            for path, row in self.documents().items()
        }

    def rows(self) -> dict[str, str]:
        """Documents by the files that they stand for."""
        with self.desk.db.read() as session:
            known = SyncedFiles(session, DEFAULT_SCOPE).list(self.desk.collection_id, self.mirror().root)
        return {row.path: row.document_id for row in known}


def expected(
    folder: Path,
    wanted: Callable[[str], bool] = lambda path: True,  # noqa: ARG005
) -> dict[str, tuple[str, str, str, str]]:
    """What mirroring a folder of plain text files from scratch comes to: a document for each content, named
    after the first of its files."""
    first: dict[bytes, str] = {}
    for path in sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()):
        if wanted(path):
            first.setdefault((folder / path).read_bytes(), path)
    return {
        path: (PurePosixPath(path).name, PurePosixPath(path).stem, "ready", content.decode())
        for content, path in first.items()
    }
