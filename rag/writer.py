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
from rag.refusal import Counted

WRITES = 1_000_000_000
"""Parameters from which on `auto` lets the model write; below, its prose loses answers that the quotes hold
(docs/decisions/0301-quotes-before-prose.md)."""

READS_ALL = 3_000_000_000
"""Parameters from which on the model reads the full pack; below, it reads what stands around the quotes."""


@dataclass(frozen=True)
class Standing:
    """What a model's trial on documents that it was not taught has shown (`rag.distil.verdict`).

    Attributes:
        better: it is better than the model it was made from.
        writes: it says no less than the quotes, so it may stand in their place.
        counted: how its word on whether the quotes say what is asked is counted; None where it is not, since
            what the documents do not say was told no better with it.
    """

    better: bool = False
    writes: bool = False
    counted: Counted | None = None


UNTRIED = Standing()
"""Of a model without a trial."""


@dataclass(frozen=True)
class Writer:
    """A model that writes.

    Attributes:
        reads_all: it reads the full pack and a list of the quotes, else windows of the quotes.
        leads: the best quoted sentence comes first, and what the model writes after it.
        pointed: its prompt ends with the best quoted sentence, to be written unless the model knows better
            (docs/decisions/0314-a-taught-reader-is-pointed.md).
    """

    engine: Engine
    reads_all: bool
    leads: bool
    pointed: bool = False

    @classmethod
    def of(
        cls, engine: Engine, mode: Literal["auto", "quotes", "answer"], standing: Standing = UNTRIED
    ) -> Writer | None:
        """The writer for a mode; None where quotes are the answer: asked for, a small model, or one without a
        known chat format.

        A taught model that is better writes as it did in its trial, in mode `answer`; one that says no less
        than the quotes does so in `auto`, too, whatever its size.
        """
        able, better = engine.parameter_count >= WRITES, standing.better
        by_itself = able or (better and standing.writes)
        if engine.chat_format is None or mode == "quotes" or (mode == "auto" and not by_itself):
            return None
        reads_all = engine.parameter_count >= READS_ALL
        leads = not (able or better)
        return cls(engine, reads_all, leads, pointed=better and not reads_all)

    @staticmethod
    def skeleton_of(
        engine: Engine, frame: Frame, question: str, quotes: Sequence[str] = (), likeliest: str = ""
    ) -> Skeleton:
        """The prompt around the passages; for a model that is never prompted, the question alone."""
        if engine.chat_format is None:
            return Skeleton((), tuple(engine.tokenizer.encode(question)))
        return skeleton(engine.chat_format, frame, question, quotes, likeliest)

    def prompt(  # noqa: PLR0917 (called by two programs alone)
        self,
        frame: Frame,
        question: str,
        pack: Pack,
        citations: Sequence[Citation],
        likeliest: str,
        max_tokens: int,
    ) -> list[int]:
        """The ids that the model reads: skeleton and pack, with as many quotes listed as there is room for,
        or with `likeliest`, the best sentence of the first."""
        room = self.engine.context_length - max_tokens - pack.tokens
        listed = [citation.cited_text for citation in citations] if self.reads_all else []
        pointed_at = likeliest if self.pointed else ""
        while True:
            around = self.skeleton_of(self.engine, frame, question, listed, pointed_at)
            if around.tokens <= room or not (listed or pointed_at):
                return around.prompt(pack.ids)
            pointed_at = ""
            listed = listed[:-1]
