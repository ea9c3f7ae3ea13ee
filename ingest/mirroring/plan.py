"""What has to be done so that a collection says what a folder holds: a pure comparison.

Documents are told by their bytes, as the store tells them. So a file that was moved keeps its document, two
files with the same bytes share one, and files that change places need nothing but other names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from ingest.names import display_filename


@dataclass(frozen=True)
class Held:
    """A document that stands for files of the folder."""

    document_id: str
    paths: frozenset[str]
    """Of the files, as far as this folder is concerned."""
    sha256: str
    """Of the newest bytes that it was given."""
    live: str | None
    """Of the bytes that answer; None before any do."""
    failed: bool
    """Whether the newest bytes could not be read, or were cancelled."""
    busy: bool
    """Whether they are still being read."""
    shown_path: object
    """What it is said to be, as `path` of its metadata."""
    filename: str
    shared: bool = False
    """Whether a file of another folder has it too: then only its last folder may change or delete it."""


@dataclass(frozen=True)
class Give:
    """Bytes of the files `paths` that no document has: for a document (`document_id`), or a new one."""

    paths: tuple[str, ...]
    sha256: str
    document_id: str | None = None
    before: tuple[str, ...] = ()


@dataclass(frozen=True)
class Follow:
    """A document whose bytes stay and whose files have other paths now."""

    document_id: str
    paths: tuple[str, ...]
    before: tuple[str, ...]
    sha256: str
    rename: bool
    reread: bool
    busy: bool


@dataclass(frozen=True)
class Drop:
    """A document whose files are all gone; `shared` with another folder it stays."""

    document_id: str
    paths: tuple[str, ...]
    shared: bool


@dataclass
class Plan:
    """In the order in which it is carried out."""

    drops: list[Drop] = field(default_factory=list)
    follows: list[Follow] = field(default_factory=list)
    gives: list[Give] = field(default_factory=list)
    unchanged: int = 0
    """Files whose document says all of them."""

    @property
    def empties(self) -> bool:
        """Whether of all that was known nothing would be left."""
        kept = self.unchanged or self.follows or any(give.document_id for give in self.gives)
        return bool(self.drops) and not kept

    @property
    def nothing(self) -> bool:
        """Whether all is as it should be."""
        return not (self.drops or self.follows or self.gives)


def make_plan(files: Mapping[str, str], held: Iterable[Held]) -> Plan:
    """Compare files (SHA-256 by path) with the documents that stand for them."""
    plan = Plan()
    wanted: dict[str, list[str]] = {}
    for path in sorted(files):
        wanted.setdefault(files[path], []).append(path)
    documents = sorted(held, key=lambda each: each.document_id)
    left = _match(plan, wanted, documents)
    for sha256, paths in list(wanted.items()):
        own = next((each for each in left if not each.shared and not each.paths.isdisjoint(paths)), None)
        if own is not None:
            left.remove(own)
        before = tuple(sorted(own.paths)) if own else ()
        plan.gives.append(Give(tuple(paths), sha256, own.document_id if own else None, before))
    plan.drops = [Drop(each.document_id, tuple(sorted(each.paths)), each.shared) for each in left]
    return plan


def _match(plan: Plan, wanted: dict[str, list[str]], documents: list[Held]) -> list[Held]:
    """Take out of `wanted` what documents have already; returns those that are not wanted as they are."""
    newest = {each.sha256 for each in documents}
    left, restored = [], []
    for each in documents:
        # Its new bytes can't be read, and the old ones, which it still answers with, are wanted elsewhere:
        # nobody else can have them.
        if each.failed and each.live in wanted and each.live not in newest:
            restored.append(each)
        elif each.sha256 in wanted:
            _follow(plan, each, tuple(wanted.pop(each.sha256)))
        else:
            left.append(each)
    for each in restored:
        paths = wanted.pop(each.live or "", None)
        if paths is None:
            left.append(each)
        else:
            plan.gives.append(
                Give(tuple(paths), each.live or "", each.document_id, tuple(sorted(each.paths)))
            )
    return left


def _follow(plan: Plan, each: Held, paths: tuple[str, ...]) -> None:
    first = PurePosixPath(paths[0])
    rename = not each.shared and not (
        each.shown_path == paths[0] and each.filename == display_filename(first.name)
    )
    if not rename and each.paths == set(paths):
        plan.unchanged += len(paths)
        return
    # What a file is taken for can depend on its ending, e.g. Markdown and plain text.
    reread = rename and first.suffix.lower() != PurePosixPath(each.filename).suffix.lower()
    plan.follows.append(
        Follow(each.document_id, paths, tuple(sorted(each.paths)), each.sha256, rename, reread, each.busy)
    )
