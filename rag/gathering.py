"""Gathering: the passages that one question reads: the whole corpus where it fits, else what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model import Engine
from rag.answer import AnswerRequest, Context
from rag.budget import Budget, budget_for
from rag.framing import Frame, frame_for
from rag.packing import Pack, pack_retrieved, pack_whole
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

    def context(self, question: str, candidates: Sequence[Candidate]) -> tuple[Context, Frame]:
        """The ledger of what is searched for quotes, and the frame that its passages stand in.

        Raises InvalidRequest: `question_too_long`, `max_tokens_too_large`.
        """
        tokenizer = self.engine.tokenizer
        retrieved = passages_of(candidates)
        frame = frame_for(passage.text for passage in retrieved)
        budget = self._budget(question, frame)
        if not candidates:
            return Context(Pack("retrieved", budget.documents), budget.skeleton), frame
        whole = self.sources.whole(budget.documents, candidates)
        if whole:
            wide = frame_for(passage.text for passage in whole)
            budget = self._budget(question, wide)
            pack = pack_whole(whole, tokenizer, wide, budget.documents)
            if pack is not None:
                return Context(pack, budget.skeleton), wide
        near = self.sources.neighbours(candidates)
        frame = frame_for(passage.text for passage in (*retrieved, *near))
        budget = self._budget(question, frame)
        pack = pack_retrieved(retrieved, tokenizer, frame, budget.documents, sentence_spans, neighbours=near)
        return Context(pack, budget.skeleton), frame

    def _budget(self, question: str, frame: Frame) -> Budget:
        most = self.request.max_context_tokens or self.sources.budget() or self.settings.max_context_tokens
        return budget_for(
            self.engine, self.writer, frame, question, max_tokens=self.request.max_tokens, most=most
        )
