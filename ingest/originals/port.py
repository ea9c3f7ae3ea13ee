"""What the rest of the service asks of the place where originals lie, whichever it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ingest.keeping.portable import Written
from rag.store.scope import Scope

if TYPE_CHECKING:
    from ingest.uploads import FinishedUpload

Which = tuple[str, int]
"""A document's id, and a generation of it."""


@dataclass(frozen=True, slots=True)
class Stray:
    """An original that is nobody's: what it is called where it lies, and its bytes there."""

    name: str
    bytes: int


class Originals(Protocol):
    """The files as they were uploaded, one for each generation of a document that is live or may be read yet.

    An original is durable where it lies before its row is committed, and goes after the commit that took its
    row: a crash between the two leaves a file without a row, never a row without its file. Methods raise
    OSError, or Unavailable where the place does not answer.
    """

    where: str
    """What people call the place."""

    def writing(self) -> AbstractContextManager[None]:
        """Held while originals come and their rows are entered, so that no sweep takes them for nobody's."""

    def send(self, document_id: str, upload: FinishedUpload) -> None:
        """Do what of `place` can be done before the transaction that makes the generation."""

    def place(self, uploads: Iterable[tuple[str, int, FinishedUpload]]) -> None:
        """Let uploads be the originals of documents' generations, durably."""

    def again(self, document_id: str, before: int, generation: int) -> None:
        """Let the bytes of the generation `before` be another's too. Raises FileNotFoundError."""

    def discard(self, document_ids: Iterable[str]) -> None:
        """Take back what was placed for documents that were refused; never raises."""

    def refused(self, document_id: str, sha256: str) -> None:
        """Take back what was sent of a next version that was refused; never raises."""

    def drop_old(self, scope: Scope, document_id: str) -> list[int]:
        """Remove what newer generations replaced; returns those that were there."""

    def remove(self, gone: Sequence[Which]) -> None:
        """Remove originals of documents whose rows are gone, as far as can be; raises at the end."""

    def lies_at(self, document_id: str, generation: int) -> Path | None:
        """Its path, None where it is in no folder of this machine. Raises FileNotFoundError."""

    def open(self, document_id: str, generation: int) -> AbstractContextManager[Path]:
        """A file with its bytes, which is not to be changed and may be gone afterwards.

        Raises FileNotFoundError, LongleafError (`file_damaged`).
        """

    def read(self, document_id: str, generation: int, start: int, end: int) -> Iterator[bytes]:
        """Its bytes from `start` to before `end`, or its end. Raises as `open`, while it is read as well."""

    def digest(self, document_id: str, generation: int) -> Written:
        """Its SHA-256 and size as they are by now. Raises as `open`."""

    def copy(self, document_id: str, generation: int, target: Path, *, link: bool) -> bool:
        """Bring it to another path, durably; with `link` as the same file, if that can be: then True.

        Raises as `open`.
        """

    def strays(self) -> Iterator[Stray]:
        """Originals that are nobody's."""

    def sweep(self) -> list[str]:
        """Remove what is nobody's, others being at work; returns the names."""
