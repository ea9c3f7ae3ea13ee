"""Gathering: the passages that one question reads: the whole corpus where it fits, else what was found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from model import Engine
from rag.answer import AnswerRequest, Context
from rag.budget import Budget, budget_for
from rag.framing import Frame, frame_for
from rag.packing import Pack, Tokenizer, leading, pack_retrieved, pack_whole
from rag.retrieval import Candidate
from rag.sentences import sentence_spans
from rag.settings import Settings
from rag.sources import Sources, passages_of
from rag.writer import Writer


@dataclass(frozen=True)
class Gathering:
    """What decides which passages of the candidates are read."""

    engine: Engine
    writer: Writer | None
    sources: Sources
    settings: Settings
    request: AnswerRequest

    def context(
        self, question: str, candidates: Sequence[Candidate], further: Sequence[Candidate] = ()
    ) -> tuple[Context, Frame]:
        """The ledger of what is searched for quotes, and the frame that its passages stand in. `further` are
        passages for what the candidates leave of the budget of a model that reads all.

        Raises InvalidRequest: `question_too_long`, `max_tokens_too_large`.
        """
        budgets: dict[Frame, Budget] = {}

        def room(frame: Frame) -> int:
            budgets[frame] = self._budget(question, frame)
            return budgets[frame].documents

        # Quotes are sought in the candidates: what nobody reads would be false in the ledger.
        more = further if self.writer is not None and self.writer.reads_all else ()
        pack, frame = read(self.sources, self.engine.tokenizer, candidates, more, room)
        return Context(pack, budgets[frame].skeleton), frame

    def _budget(self, question: str, frame: Frame) -> Budget:
        most = self.request.max_context_tokens or self.sources.budget() or self.settings.max_context_tokens
        return budget_for(
            self.engine, self.writer, frame, question, max_tokens=self.request.max_tokens, most=most
        )


def read(
    sources: Sources,
    tokenizer: Tokenizer,
    candidates: Sequence[Candidate],
    further: Sequence[Candidate],
    room: Callable[[Frame], int],
) -> tuple[Pack, Frame]:
    """What is read, and its frame: the whole corpus where `room`, the tokens of documents with a frame, holds
    it; else the candidates, what stands around the best of them, and `further` ones."""
    retrieved = passages_of(candidates)
    frame = frame_for(passage.text for passage in retrieved)
    budget = room(frame)
    if not candidates:
        return Pack("retrieved", budget), frame
    whole = sources.whole(budget, candidates)
    if whole:
        wide = frame_for(passage.text for passage in whole)
        pack = pack_whole(whole, tokenizer, wide, room(wide))
        if pack is not None:
            return pack, wide
    near = sources.neighbours(candidates, leading(budget))
    more = passages_of(further)
    beside = [passage for each in near.values() for passage in each]
    frame = frame_for(passage.text for passage in (*retrieved, *beside, *more))
    pack = pack_retrieved(
        retrieved, tokenizer, frame, room(frame), sentence_spans, neighbours=near, further=more
    )
    return pack, frame
