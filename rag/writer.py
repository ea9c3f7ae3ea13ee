"""Writer: which model may write, what it reads before, and the prompt that it gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from model import Engine
from rag.citations import Citation
from rag.framing import Frame
from rag.packing import Pack
from rag.prompts import Skeleton, skeleton

WRITES = 1_000_000_000
"""Parameters from which on `auto` lets the model write; below, its prose loses answers that the quotes hold
(docs/decisions/0301-quotes-before-prose.md)."""

READS_ALL = 3_000_000_000
"""Parameters from which on the model reads the full pack; below, it reads what stands around the quotes."""


@dataclass(frozen=True)
class Writer:
    """A model that writes.

    Attributes:
        reads_all: it reads the full pack and a list of the quotes, else windows of the quotes.
        leads: the best quoted sentence comes first, and what the model writes after it.
        refuses: where all that it writes is the refusal, the answer is one.
    """

    engine: Engine
    reads_all: bool
    leads: bool
    refuses: bool = False

    @classmethod
    def of(
        cls, engine: Engine, mode: Literal["auto", "quotes", "answer"], *, proven: bool = False
    ) -> Writer | None:
        """The writer for a mode; None where quotes are the answer: asked for, a small model, or one without a
        known chat format.

        A `proven` model writes whatever its size: on documents that it was not taught it was measured to
        write better than the model that it was made from (`rag.distil.verdict`).
        """
        able = proven or engine.parameter_count >= WRITES
        if engine.chat_format is None or mode == "quotes" or (mode == "auto" and not able):
            return None
        return cls(engine, engine.parameter_count >= READS_ALL, leads=not able, refuses=proven)

    @staticmethod
    def skeleton_of(engine: Engine, frame: Frame, question: str, quotes: Sequence[str] = ()) -> Skeleton:
        """The prompt around the passages; for a model that is never prompted, the question alone."""
        if engine.chat_format is None:
            return Skeleton((), tuple(engine.tokenizer.encode(question)))
        return skeleton(engine.chat_format, frame, question, quotes)

    def prompt(
        self, frame: Frame, question: str, pack: Pack, citations: Sequence[Citation], max_tokens: int
    ) -> list[int]:
        """The ids that the model reads: skeleton and pack, with as many quotes listed as there is room
        for."""
        room = self.engine.context_length - max_tokens - pack.tokens
        listed = [citation.cited_text for citation in citations] if self.reads_all else []
        while True:
            around = self.skeleton_of(self.engine, frame, question, listed)
            if around.tokens <= room or not listed:
                return around.prompt(pack.ids)
            listed.pop()
