"""Framing: the lines around a passage, and what keeps document text from being more than data.

Three walls stand between a document and the model's orders: its text is encoded with control tokens out of
reach (the tokenizer), it stands inside a tag whose name occurs in none of the texts (here), and the system
message says what the tag means (`rag.prompts`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

TITLE_CHARACTERS = 120
"""Longest title that is shown to the model."""


@dataclass(frozen=True)
class Frame:
    """The lines around a passage, with a tag that `frame_for` chose."""

    tag: str

    def opening(self, title: str) -> str:
        """The line before the passage's text; the title is made harmless."""
        return f'<{self.tag} title="{clean_title(title)}">\n'

    @property
    def closing(self) -> str:
        """The line after the passage's text."""
        return f"\n</{self.tag}>\n"


def frame_for(texts: Iterable[str]) -> Frame:
    """A frame that none of `texts` can open or close: the first of `document`, `document-2`, … that follows a
    `<` or `</` in none of them, whatever the case, the width of letters, spaces or invisible characters
    between."""
    taken: set[str] = set()
    for text in texts:
        if "<" in text or not text.isascii():
            folded = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).casefold()
            taken.update(_TAGS.findall(folded))
    name, number = "document", 1
    while name in taken:
        number += 1
        name = f"document-{number}"
    return Frame(name)


_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff]")
_TAGS = re.compile(r"<[\s/\\]*(document(?:-\d+)?)")


def clean_title(title: str) -> str:
    """A title or file name as one harmless line: no control or invisible characters, quotes or brackets, at
    most `TITLE_CHARACTERS` code points."""
    plain = unicodedata.normalize("NFKC", title)
    kept = "".join(" " if _unsafe(c) else c for c in plain)
    return " ".join(kept.split())[:TITLE_CHARACTERS].rstrip()


def _unsafe(character: str) -> bool:
    # Cc and Cf: control and invisible format characters, bidirectional overrides among them.
    return character in '<>"|`[]{}' or unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp", "Cs", "Co")
