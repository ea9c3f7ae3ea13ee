"""What the service has acknowledged, kept outside of it: the side that is right when the two differ."""

from __future__ import annotations

import hashlib
import itertools
import random
from dataclasses import dataclass, field

from tests.ingest.ingesting import tiny_pdf

WORDS = [
    "river",
    "meadow",
    "lantern",
    "copper",
    "winter",
    "harbour",
    "ladder",
    "orchard",
    "velvet",
    "thunder",
    "anchor",
    "granite",
]


@dataclass
class Sent:
    """Bytes that were sent, with a word that is in no other document."""

    token: str
    filename: str
    content: bytes
    text: str

    @property
    def sha256(self) -> str:
        """Of the content, in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass
class Kept:
    """A document that the service has said it holds; `versions` are the contents that it may have, the last
    one being what it must have unless the answer to it was never heard."""

    id: str
    versions: list[Sent]
    unsure: bool = False
    """Whether the last version's answer was not heard."""
    perhaps_deleted: bool = False
    cancelled: bool = False
    read: str = ""
    """SHA-256 of the version whose text and original were looked at byte by byte."""


@dataclass
class Record:
    """All that was acknowledged, all that was deleted, and what nobody knows yet."""

    rng: random.Random
    kept: dict[str, Kept] = field(default_factory=dict)
    deleted: dict[str, list[Sent]] = field(default_factory=dict)
    unheard: list[Sent] = field(default_factory=list)
    partial: dict[str, Sent] = field(default_factory=dict)
    """Resumable uploads whose end was not heard yet, by their path."""
    set_aside: int = 0
    numbers: itertools.count = field(default_factory=lambda: itertools.count(1))

    def hold(self, document_id: str, sent: Sent) -> None:
        """Note that a document was acknowledged, unless that was heard before."""
        if document_id not in self.deleted:
            self.kept.setdefault(document_id, Kept(document_id, [sent]))

    def drop(self, document_id: str) -> None:
        """Note that a document was deleted."""
        gone = self.kept.pop(document_id)
        self.deleted[document_id] = gone.versions
        # Whoever goes on with an upload of the same bytes would send a new document.
        tokens = {sent.token for sent in gone.versions}
        self.partial = {path: sent for path, sent in self.partial.items() if sent.token not in tokens}

    def write(self) -> Sent:
        """A new document of one to some thirty chunks."""
        number = next(self.numbers)
        token = f"zq{number:05d}{''.join(self.rng.choices('bcdfghjklmnpqrstvwx', k=6))}"
        paragraphs = self.rng.choices([1, 2, 3, 12, 40], (6, 3, 2, 2, 1))[0]
        lines = []
        for place in range(paragraphs):
            words = " ".join(self.rng.choices(WORDS, k=22))
            lines.append(f"Paragraph {place} of {token} tells of {words}.")
        ending = self.rng.choice(["txt", "md", "html", "pdf"])
        text = "\n\n".join(lines)
        if ending == "html":
            content = "<html><body>" + "".join(f"<p>{line}</p>" for line in lines) + "</body></html>"
        elif ending == "pdf":
            return Sent(token, f"{token}.pdf", tiny_pdf(lines, size=6, left=20, width=812), "")
        else:
            content = text
        return Sent(token, f"{token}.{ending}", content.encode(), text if ending in {"txt", "md"} else "")
