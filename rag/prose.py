"""Prose: written sentences are let through one by one, each with the quote that supports it, or marked."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.figures import figures
from rag.inert import inert
from rag.packing import Spans
from rag.terms import Terms, terms

SUPPORTED = 0.8
"""Share of a sentence's terms that must stand in one quote or in the question.

See docs/decisions/0301-quotes-before-prose.md."""

UNSUPPORTED = "[?]"
"""Stands after a sentence that no quote supports, where such sentences are shown at all."""

MARK = re.compile(r"\s*\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]")
"""The numbers of quotes behind a sentence, with the white space before them."""


class ProseCheck:
    """Takes text as it is written and gives back the sentences that the quotes support, each with its mark.

    A sentence is supported by a quote when nearly all its terms stand in the quote or in the question, some
    of them in the quote alone, and all its numbers too, in digits or in words. It gets the marks of the model
    that hold, else that of its best quote; marks of quotes that do not exist never come out. Without support
    it is left out, or, with `mark`, shown with `UNSUPPORTED` after it.
    """

    def __init__(
        self, question: str, quotes: Sequence[str], sentences: Spans, *, mark: bool = False, known: str = ""
    ) -> None:
        """`known` was said before: a sentence with nothing beyond it, and the question, is left out."""
        self._sentences = sentences
        self._mark = mark
        self._asked = terms(question)
        self._known = terms(known) | self._asked if known else frozenset()
        self._asked_numbers = figures(question)
        self._quotes = [(terms(quote), figures(quote)) for quote in quotes]
        self._held = ""
        self._given: list[str] = []
        self.removed = 0
        self.supported = 0
        self.unsupported: list[str] = []

    @property
    def text(self) -> str:
        """Everything let through so far."""
        return "".join(self._given)

    def push(self, piece: str) -> str:
        """Take what was written, give what may be shown now: whole sentences, often none."""
        self._held += piece
        # The last sentence may go on, and a mark after a full stop belongs to the sentence before it.
        spans = self._sentences(self._held)
        if len(spans) < 2:
            return ""
        cut = spans[-1][0]
        if MARK.match(self._held, cut) or len(self._held) - cut < _ENOUGH:
            return ""
        done, self._held = self._held[:cut], self._held[cut:]
        return self._pass(done)

    def flush(self, *, complete: bool) -> str:
        """The end of the text; a last sentence that is not `complete` (the token limit cut it) is left
        out."""
        rest, self._held = self._held, ""
        spans = self._sentences(rest)
        if spans and not complete and not rest.rstrip().endswith((".", "!", "?", "।", "。", "؟", "]")):
            self.removed += 1
            rest = rest[: spans[-1][0]]
        return self._pass(rest)

    def _pass(self, text: str) -> str:
        shown: list[str] = []
        for start, end in _with_marks(text, self._sentences(text)):
            sentence = text[start:end]
            said = " ".join(MARK.sub("", sentence).split())
            gap = " " if self._given or shown else ""
            numbers = self.support(said)
            if numbers and terms(said) <= self._known:
                continue
            if not said or not numbers:
                if said and self._mark:
                    # A mark of the model's own must not look like one of ours.
                    plain = inert(said.replace(UNSUPPORTED, "").strip())
                    self.unsupported.append(plain)
                    shown.append(f"{gap}{plain} {UNSUPPORTED}")
                self.removed += bool(said)
                continue
            self.supported += 1
            named = [int(n) for marks in MARK.findall(sentence) for n in marks.split(",")]
            kept = [n for n in dict.fromkeys(named) if n in numbers] or numbers[:1]
            shown.append(f"{gap}{inert(said)} {''.join(f'[{n}]' for n in kept)}")
        piece = "".join(shown)
        if piece:
            self._given.append(piece)
        return piece

    def support(self, sentence: str) -> list[int]:
        """Numbers, from 1, of the quotes that support a sentence, the best first."""
        said, numbers = terms(sentence), figures(sentence)
        found: list[tuple[float, int]] = []
        for number, (quoted, stated) in enumerate(self._quotes, start=1):
            share = _share(said, quoted | self._asked)
            fresh = (said & quoted) - self._asked
            if share >= SUPPORTED and fresh and numbers <= stated | self._asked_numbers:
                found.append((-_share(said, quoted), number))
        return [number for _, number in sorted(found)]


_ENOUGH = 8  # characters of the next sentence to see before the one before is certainly over


def _share(part: Terms, whole: Terms) -> float:
    return len(part & whole) / len(part) if part else 0.0


def _with_marks(text: str, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in which a mark that follows a full stop belongs to the sentence before it."""
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        mark = MARK.match(text, start)
        if mark and joined:
            joined[-1] = (joined[-1][0], mark.end())
            rest = next((at for at in range(mark.end(), end) if not text[at].isspace()), end)
            if rest < end:
                joined.append((rest, end))
        else:
            joined.append((start, end))
    return joined
