"""Answering: one question from search to checked quotes, and to prose where the model is able to write it.

The steps stand in `_Run.steps`, in the order in which they happen: retrieve, pack, quote, judge, cite,
write.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from model import Engine, PrefillProgress, SamplingParams, TokenEvent
from rag.answer import (
    Answer,
    AnswerEvent,
    AnswerKind,
    AnswerRequest,
    AnswerStatus,
    CitationEvent,
    Context,
    ContextEvent,
    DeltaEvent,
    DoneEvent,
    ProgressEvent,
    Usage,
)
from rag.budget import CPU_CONTEXT, Budget, budget_for
from rag.citations import Citation
from rag.embedders import Embedder
from rag.errors import InvalidRequest
from rag.framing import Frame, frame_for
from rag.ids import new_id
from rag.packing import Dropped, Pack, Passage, pack_exactly, pack_retrieved, pack_whole, touching
from rag.prompts import REFUSAL
from rag.prose import ProseCheck
from rag.quoting import Evidence, Quoter
from rag.refusal import judge
from rag.retrieval import Candidate, SearchScope
from rag.sentences import sentence_spans
from rag.settings import Settings
from rag.sources import Sources, passages_of
from rag.store.session import Database
from rag.writer import Writer

__all__ = [
    "Answer",
    "AnswerEvent",
    "AnswerRequest",
    "Answerer",
    "CitationEvent",
    "Context",
    "ContextEvent",
    "DeltaEvent",
    "DoneEvent",
    "ProgressEvent",
    "Usage",
]

NOTHING = "The documents hold nothing on this question."


class Search(Protocol):
    """The part of `rag.retrieval.Retriever` that is needed here."""

    def search(self, question: str, scope: SearchScope, top_k: int = 10) -> list[Candidate]: ...


class Answerer:
    """Answers questions; safe to share between threads."""

    def __init__(
        self,
        db: Database,
        retriever: Search,
        embedder: Embedder,
        engine_provider: Callable[[], Engine],
        settings: Settings,
    ) -> None:
        self.db = db
        self.retriever = retriever
        self.embedder = embedder
        self.quoter = Quoter(embedder, sentence_spans)
        self.engine = engine_provider
        self.settings = settings

    def answer(self, request: AnswerRequest, cancel: threading.Event) -> Iterator[AnswerEvent]:
        """Events as they happen, `DoneEvent` last. When `cancel` is set, they end at the next step without
        it.

        Raises, when the first event is asked for:
            InvalidRequest: `empty_question`; `question_too_long`, `max_tokens_too_large` for the model's
            window. NotFound, Conflict: as `Retriever.search`. Unavailable: the model is not loaded.
        """
        for event in _Run(self, request, cancel).steps():
            if cancel.is_set():
                return
            yield event


class _Run:
    """One question's way through."""

    def __init__(self, parts: Answerer, request: AnswerRequest, cancel: threading.Event) -> None:
        self._parts = parts
        self._request = request
        self._cancel = cancel
        self._clock = _Clock()
        self._question = request.question.strip()
        self._sources = Sources(parts.db, request.scope)

    def steps(self) -> Iterator[AnswerEvent]:
        if not self._question:
            raise InvalidRequest("the question is empty: say what you want to know", code="empty_question")
        engine = self._parts.engine()
        writer = Writer.of(engine, self._request.mode)
        sequence = self._sources.sequence()
        candidates = self._parts.retriever.search(self._question, self._request.scope, self._request.top_k)
        self._clock.step("retrieval")
        if self._cancel.is_set():
            return
        context, frame = self._pack(engine, writer, candidates)
        self._clock.step("packing")
        early = writer is None or writer.reads_all
        if early:
            yield ContextEvent(context)
        evidence = yield from self._quote(context, candidates, shown=writer is None)
        if evidence is None:
            return
        citations = self._sources.cite(evidence.quotes, candidates)
        verdict = judge(evidence)
        if verdict.enough and not citations:
            verdict = replace(verdict, reason="quotes_gone")
        self._clock.step("quoting")
        if not verdict.enough:
            outcome: _Outcome | None = yield from self._refuse(context, citations, told=early)
        else:
            if writer is not None and not writer.reads_all:
                context = self._windows(writer, frame, context, citations)
                yield ContextEvent(context)
            outcome = yield from self._give(writer, frame, context, citations)
        if outcome is None or self._cancel.is_set():
            return
        self._clock.step("generation")
        self._clock.since_start("total")
        answer = Answer(
            new_id("ans"),
            outcome.text,
            outcome.kind,
            outcome.status,
            outcome.citations,
            outcome.context,
            verdict,
            outcome.usage,
            self._clock.timings,
        )
        self._sources.keep(answer.answer_id, self._question, self._recipe(answer, engine, sequence))
        yield DoneEvent(answer)

    def _quote(
        self, context: Context, candidates: Sequence[Candidate], *, shown: bool
    ) -> Generator[AnswerEvent, None, Evidence | None]:
        """The evidence, or None when cancelled; `shown`: the search for it is the reading that is
        reported."""
        total = context.pack.tokens
        work = self._parts.quoter.find(self._question, context.pack.segments, candidates)
        while True:
            try:
                done, of = next(work)
            except StopIteration as end:
                found: Evidence = end.value
                return found
            if self._cancel.is_set():
                return None
            if shown:
                yield ProgressEvent(total * done // of, total, 0)

    def _refuse(
        self, context: Context, closest: tuple[Citation, ...], *, told: bool
    ) -> Generator[AnswerEvent, None, _Outcome]:
        if not told:
            yield ContextEvent(context)
        empty = not context.pack.segments and not context.pack.dropped
        status: AnswerStatus = "nothing_retrieved" if empty else "insufficient_evidence"
        text = NOTHING if empty else REFUSAL
        self._clock.since_start("time_to_first_token")
        yield DeltaEvent(text)
        return _Outcome(text, "none", status, (), replace(context, closest=closest))

    def _give(
        self, writer: Writer | None, frame: Frame, context: Context, citations: tuple[Citation, ...]
    ) -> Generator[AnswerEvent, None, _Outcome | None]:
        """The quotes, and then prose or the quotes once more as the answer's text; None when cancelled."""
        for citation in citations:
            yield CitationEvent(citation)
        usage = Usage()
        if writer is not None:
            written = yield from self._write(writer, frame, context, citations)
            if written is None:
                return None
            text, usage, context = written
            if text:
                return _Outcome(text, "prose", "answered", citations, context, usage)
        text = quoted(citations)
        self._clock.since_start("time_to_first_token")
        yield DeltaEvent(text)
        return _Outcome(text, "quotes", "answered", citations, context, usage)

    def _pack(
        self, engine: Engine, writer: Writer | None, candidates: Sequence[Candidate]
    ) -> tuple[Context, Frame]:
        """What is searched for quotes: the whole corpus where it fits, else what was retrieved."""
        retrieved = passages_of(candidates)
        frame = frame_for(passage.text for passage in retrieved)
        budget = self._budget(engine, writer, frame)
        if not candidates:
            return Context(Pack("retrieved", budget.documents), budget.skeleton), frame
        whole = self._sources.whole(budget.documents, candidates)
        if whole:
            wide = frame_for(passage.text for passage in whole)
            budget = self._budget(engine, writer, wide)
            pack = pack_whole(whole, engine.tokenizer, wide, budget.documents)
            if pack is not None:
                return Context(pack, budget.skeleton), wide
        near = self._sources.neighbours(candidates)
        frame = frame_for(passage.text for passage in (*retrieved, *near))
        budget = self._budget(engine, writer, frame)
        pack = pack_retrieved(
            retrieved, engine.tokenizer, frame, budget.documents, sentence_spans, neighbours=near
        )
        return Context(pack, budget.skeleton), frame

    def _budget(self, engine: Engine, writer: Writer | None, frame: Frame) -> Budget:
        most = self._request.max_context_tokens or self._parts.settings.max_context_tokens
        return budget_for(
            engine, writer, frame, self._question, max_tokens=self._request.max_tokens, most=most
        )

    def _windows(
        self, writer: Writer, frame: Frame, context: Context, citations: Sequence[Citation]
    ) -> Context:
        """The ledger of a small model, which reads the quotes with the sentences around them and nothing
        else."""
        windows = [
            window(citation, context.pack, score=float(-number)) for number, citation in enumerate(citations)
        ]
        budget = min(context.pack.budget, CPU_CONTEXT)
        pack = pack_exactly(windows, writer.engine.tokenizer, frame, budget, sentence_spans)
        unread = [
            Dropped(segment.passage, "not_quoted", "holds no quote")
            for segment in context.pack.segments
            if not any(touching(segment.passage, each) for each in windows)
        ]
        pack = replace(pack, mode=context.pack.mode, dropped=(*context.pack.dropped, *unread, *pack.dropped))
        return Context(pack, context.skeleton_tokens)

    def _write(
        self, writer: Writer, frame: Frame, context: Context, citations: Sequence[Citation]
    ) -> Generator[AnswerEvent, None, tuple[str, Usage, Context] | None]:
        """Prose that the quotes support, sentence by sentence; None when cancelled."""
        request = self._request
        prompt = writer.prompt(frame, self._question, context.pack, citations, request.max_tokens)
        context = replace(context, skeleton_tokens=len(prompt) - context.pack.tokens)
        check = ProseCheck(self._question, [citation.cited_text for citation in citations], sentence_spans)
        params = SamplingParams(
            max_tokens=request.max_tokens, temperature=request.temperature, seed=request.seed
        )
        # What was read stays in the workspace, and goes when one of the documents goes.
        events = writer.engine.generate(
            prompt,
            params,
            cancel=self._cancel,
            salt=request.scope.workspace_id,
            tags={segment.passage.document_id for segment in context.pack.segments},
        )
        for event in events:
            shown = ""
            if isinstance(event, PrefillProgress):
                yield ProgressEvent(event.read, event.total, event.cached)
            elif isinstance(event, TokenEvent):
                self._clock.since_start("time_to_first_token")
                shown = check.push(event.text)
            elif event.reason == "cancelled":
                return None
            else:
                shown = check.flush(complete=event.reason != "length")
                usage = Usage(event.prompt_tokens, event.cached_tokens, event.completion_tokens)
            if shown:
                yield DeltaEvent(shown)
        return check.text, usage, context

    def _recipe(self, answer: Answer, engine: Engine, sequence: int) -> dict[str, Any]:
        request, pack = self._request, answer.context.pack
        return {
            "collection_id": request.scope.collection_id,
            "document_ids": sorted(request.scope.document_ids)
            if request.scope.document_ids is not None
            else None,
            "filtered": request.scope.filters is not None,
            "sequence": sequence,
            "model": engine.fingerprint,
            "embedder": self._parts.embedder.fingerprint,
            "top_k": request.top_k,
            "max_context_tokens": request.max_context_tokens,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
            "mode": request.mode,
            "kind": answer.answer_kind,
            "status": answer.answer_status,
            "pack": {
                "mode": pack.mode,
                "budget": pack.budget,
                "segments": [
                    [s.passage.document_id, s.passage.generation, s.passage.start, s.passage.end, s.tokens]
                    for s in pack.segments
                ],
            },
            "citations": [
                [c.document_id, c.start_char_index, c.end_char_index, c.chunk_id] for c in answer.citations
            ],
        }


def quoted(citations: Sequence[Citation]) -> str:
    """An answer that is nothing but its quotes, each with its number."""
    return "\n\n".join(f"{citation.cited_text} [{citation.id}]" for citation in citations)


def window(citation: Citation, pack: Pack, *, score: float) -> Passage:
    """A quote with the sentence before and after it, as far as the pack has them."""
    start, end = citation.start_char_index, citation.end_char_index
    passage = next(
        s.passage
        for s in pack.segments
        if s.passage.document_id == citation.document_id and s.passage.start <= start and end <= s.passage.end
    )
    spans = [(passage.start + a, passage.start + b) for a, b in sentence_spans(passage.text)]
    start = max((a for a, b in spans if b <= start), default=min(start, max(passage.start, start)))
    end = min((b for a, b in spans if a >= end), default=end)
    return replace(
        passage,
        start=start,
        end=end,
        text=passage.text[start - passage.start : end - passage.start],
        score=score,
        chunk_ids=(citation.chunk_id,),
        page_start=citation.page_number,
        page_end=citation.page_number,
    )


@dataclass(frozen=True)
class _Outcome:
    """What came of a question."""

    text: str
    kind: AnswerKind
    status: AnswerStatus
    citations: tuple[Citation, ...]
    context: Context
    usage: Usage = field(default_factory=Usage)


class _Clock:
    """Milliseconds by step."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        names = ("retrieval", "packing", "quoting", "time_to_first_token", "generation", "total")
        self.timings: dict[str, float | None] = dict.fromkeys(names)

    def step(self, name: str) -> None:
        """The step that ends now."""
        now = time.perf_counter()
        self.timings[name], self._last = round((now - self._last) * 1000, 2), now

    def since_start(self, name: str) -> None:
        """A moment, counted from the question's arrival; only the first counts."""
        if self.timings[name] is None:
            self.timings[name] = round((time.perf_counter() - self._start) * 1000, 2)
