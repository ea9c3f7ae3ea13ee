"""What a question's file names mean in the store: which documents, and which places of their stored text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath

from rag.errors import NotFound
from rag.evaluation.metrics import Place
from rag.evaluation.questions import GoldEvidence, GoldQuestion
from rag.store.records import DocumentRow, PageRow
from rag.store.repositories import Documents
from rag.store.scope import Scope
from rag.store.session import Database

_TEXTS = 16
"""Stored texts that are kept in memory: the questions of a file mostly come document by document."""


@dataclass(frozen=True)
class Located:
    """Where a question's evidence lies; `missing` says, in words, what of it could not be found."""

    places: tuple[Place, ...]
    missing: tuple[str, ...] = ()


class Library:
    """The ready documents of a collection, by every name that they go by."""

    def __init__(
        self,
        db: Database,
        scope: Scope,
        collection_id: str,
        paths: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """`paths` are further names, by document id: the files that were uploaded as it."""
        self._db, self._scope = db, scope
        self._names: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        with db.read() as session:
            self.rows: dict[str, DocumentRow] = {
                row.id: row for row in Documents(session, scope).live(collection_id)
            }
        for row in self.rows.values():
            kept = row.meta.get("path")
            names = [row.id, row.filename, *([kept] if isinstance(kept, str) else [])]
            for name in (*names, *(paths or {}).get(row.id, ())):
                parts = _parts(name)
                if parts:
                    self._names.setdefault(parts[-1], []).append((parts, row.id))
        self._text = lru_cache(maxsize=_TEXTS)(self._read)

    def find(self, name: str) -> tuple[str, ...]:
        """Ids of the documents that a name may mean: those whose path ends with it."""
        wanted = _parts(name)
        if not wanted:
            return ()
        known = self._names.get(wanted[-1], [])
        found = [document for parts, document in known if parts[-len(wanted) :] == wanted]
        if not found:  # a bare file name in the store, and folders before it in the question
            found = [document for parts, document in known if wanted[-len(parts) :] == parts]
        return tuple(dict.fromkeys(found))

    def locate(self, question: GoldQuestion) -> Located:
        """The places of a question's evidence in the stored texts."""
        places: list[Place] = []
        missing: list[str] = []
        for evidence in question.evidence:
            documents = self.find(evidence.doc)
            if not documents:
                missing.append(f"{evidence.doc} is not among the documents")
                continue
            every = question.evidence_mode == "all"
            found = [place for document in documents for place in self._places(document, evidence, every)]
            if not found:
                missing.append(f"{evidence.doc} does not hold {_said(evidence)}")
            places += found[:1] if every else found
        return Located(tuple(dict.fromkeys(places)), tuple(missing))

    def text(self, document: str) -> str:
        """The stored text of a document; empty for one that is gone."""
        return self._text(document)[0]

    def pages(self, document: str) -> Sequence[PageRow]:
        """The pages of a document."""
        return self._text(document)[1]

    def _read(self, document: str) -> tuple[str, tuple[PageRow, ...]]:
        with self._db.read() as session:
            documents = Documents(session, self._scope)
            try:
                return documents.text(document), tuple(documents.pages(document))
            except NotFound:  # it was deleted meanwhile
                return "", ()

    def _places(self, document: str, evidence: GoldEvidence, every: bool) -> list[Place]:
        text = self.text(document)
        start, end = evidence.start, evidence.end
        if start is not None and end is not None:
            if end <= len(text) and evidence.text in (None, text[start:end]):
                return [Place(document, start, end)]
            if evidence.text is None:
                return []
        if evidence.page is not None:
            pages = [page for page in self.pages(document) if page.number == evidence.page]
            return [Place(document, page.start, page.end, page=True) for page in pages]
        if evidence.text is None:
            return [Place(document, 0, len(text), page=True)] if text else []
        found = [Place(document, a, b) for a, b in occurrences(text, evidence.text)]
        if start is not None:  # the file's offsets, of a text that was converted
            at = start
            found.sort(key=lambda place: abs(place.start - at))
            return found[:1]
        return found[:1] if every else found


def occurrences(text: str, wanted: str) -> Iterator[tuple[int, int]]:
    """Where a text stands in another, however its white space is broken."""
    words = wanted.split()
    if words:
        pattern = r"\s+".join(map(re.escape, words))
        yield from (match.span() for match in re.finditer(pattern, text))


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "."))


def _said(evidence: GoldEvidence) -> str:
    if evidence.page is not None:
        return f"a page {evidence.page}"
    if evidence.text is not None:
        text = " ".join(evidence.text.split())
        return f"“{text if len(text) <= 60 else text[:59] + '…'}”"
    return f"the characters {evidence.start} to {evidence.end}"
