"""Answering: one question from search to checked quotes, and to prose where the model is able to write it.

The steps stand in `_Run.steps`, in the order in which they happen: retrieve, pack, quote, judge, cite,
write.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from model import Engine
from rag.answer import (
    Answer,
    AnswerEvent,
    AnswerMode,
    AnswerRequest,
    Basis,
    CitationEvent,
    Context,
    ContextEvent,
    DeltaEvent,
    DoneEvent,
    ProgressEvent,
    ReceiptEvent,
    Usage,
)
from rag.checking import Checker
from rag.citations import Citation
from rag.clock import Clock
from rag.delivering import Delivery, Outcome
from rag.embedders import Embedder
from rag.errors import InvalidRequest
from rag.finding import Finder, Found, Search
from rag.framing import Frame
from rag.gathering import Gathering
from rag.ids import new_id
from rag.language import detect, languages_of, warning
from rag.observing import NOBODY, Observer
from rag.quoting import Evidence, Quoter
from rag.receipts import Receipt, Receipts
from rag.recipe import State, keep, release
from rag.refusal import Verdict, judge
from rag.retrieval import Candidate
from rag.sentences import sentence_spans
from rag.settings import Settings
from rag.sources import Sources
from rag.span_reader import reader_for
from rag.store.repositories import Changes
from rag.store.scope import Scope
from rag.store.session import Database
from rag.turns import Turns
from rag.windows import windows_of
from rag.writer import UNTRIED, Standing, Writer

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
    "ReceiptEvent",
    "Usage",
]


class Answerer:
    """Answers questions; safe to share between threads."""

    def __init__(
        self,
        db: Database,
        retriever: Search,
        embedder: Embedder,
        engine_provider: Callable[[], Engine],
        settings: Settings,
        *,
        observer: Observer = NOBODY,
        standing: Standing = UNTRIED,
        judged: Callable[[Evidence], Verdict] = judge,
    ) -> None:
        """`standing`: of the model, which decides how it writes (`Writer.of`). `judged`: whether evidence is
        enough to answer."""
        self.db = db
        self.observer = observer
        self.retriever = retriever
        self.finder = Finder(retriever, engine_provider)
        self.embedder = embedder
        self.quoter = Quoter(embedder, sentence_spans, reader_for(embedder))
        self.engine = engine_provider
        self.settings = settings
        self.standing = standing
        self.judged = judged
        self.turns = Turns()

    def writer(self, engine: Engine, mode: AnswerMode) -> Writer | None:
        """As `Writer.of`."""
        return Writer.of(engine, mode, self.standing)

    def answer(
        self, request: AnswerRequest, cancel: threading.Event, *, kept: bool = True
    ) -> Iterator[AnswerEvent]:
        """Events as they happen, `DoneEvent` last. When `cancel` is set, they end at the next step without
        it. With `kept` the answer is stored before the last event.

        Raises, when the first event is asked for:
            InvalidRequest: `empty_question`; `question_too_long`, `max_tokens_too_large` for the model's
            window. NotFound, Conflict: as `Retriever.search`. Unavailable: the model is not loaded.
        """
        for event in _Run(self, request, cancel, kept=kept).steps():
            if cancel.is_set():
                return
            yield event

    def state(self, scope: Scope, collection_id: str) -> State:
        """What an answer would depend on now, beside its request. Raises NotFound, Unavailable."""
        with self.db.read() as session:
            sequence = Changes(session, scope).newest(collection_id)
        return State(self.engine().fingerprint, self.embedder.fingerprint, sequence, release())


class _Run:
    """One question's way through."""

    def __init__(
        self, parts: Answerer, request: AnswerRequest, cancel: threading.Event, *, kept: bool
    ) -> None:
        self._kept = kept
        self._parts = parts
        self._request = request
        self._cancel = cancel
        self._clock = Clock(parts.observer)
        self._question = request.question.strip()
        self._language = detect(self._question)
        self._sources = Sources(parts.db, request.scope)

    def steps(self) -> Iterator[AnswerEvent]:
        if not self._question:
            raise InvalidRequest("the question is empty: say what you want to know", code="empty_question")
        engine = self._parts.engine()
        writer = self._parts.writer(engine, self._request.mode)
        scope = self._request.scope
        state = self._parts.state(Scope(scope.workspace_id), scope.collection_id)
        asked = self._request
        with self._clock.observer.stage("retrieve"), self._turn(alone=not asked.history):
            found = self._parts.finder.find(
                self._question, scope, asked.top_k, history=asked.history, steps=asked.steps
            )
        self._question, candidates = found.question, found.candidates
        self._clock.step("retrieval")
        if self._cancel.is_set():
            return
        gathering = Gathering(engine, writer, self._sources, self._parts.settings, self._request)
        with self._turn():
            context, frame = gathering.context(self._question, candidates, found.further)
        basis = basis_of(candidates, context)
        self._clock.step("packing")
        early = writer is None or writer.reads_all
        if early:
            yield ContextEvent(context)
        evidence = yield from self._quote(context, found, shown=writer is None)
        if evidence is None:
            return
        with self._clock.observer.stage("verify"):
            citations = self._sources.cite(evidence.quotes, candidates)
        verdict = self._judged(evidence, citations, several=found.several)
        if verdict.enough and not citations:
            verdict = replace(verdict, reason="quotes_gone")
        self._clock.step("quoting")
        delivery = Delivery(
            self._question,
            self._language,
            self._request,
            self._clock,
            self._cancel,
            partial=found.partial is not None,
        )
        if not verdict.enough:
            outcome: Outcome | None = yield from delivery.refusal(
                context, citations, told=early, near=verdict.near
            )
        else:
            if writer is not None and not writer.reads_all:
                context = windows_of(context, citations, engine.tokenizer, frame)
                yield ContextEvent(context)
            outcome = yield from delivery.answer(writer, frame, context, citations, evidence.quotes)
        if outcome is None or self._cancel.is_set():
            return
        outcome = yield from delivery.compared(outcome)
        self._clock.step("generation")
        if self._request.receipts and outcome.status == "answered" and outcome.citations:
            outcome = yield from self._receipts(engine, frame, outcome)
            if self._cancel.is_set():
                return
            self._clock.step("receipts")
        self._clock.since_start("total")
        answer = Answer(
            new_id("ans"),
            outcome.text + outcome.added,
            outcome.kind,
            outcome.status,
            outcome.citations,
            outcome.context,
            verdict,
            outcome.usage,
            self._clock.timings,
            outcome.unsupported,
            self._language,
            self._warnings(engine, writer),
            outcome.receipts,
            outcome.disagreements,
            found.searches,
            basis,
            found.partial,
        )
        if self._kept:
            kept = keep(self._request, answer, state)
            self._sources.keep(answer.answer_id, self._request.question.strip(), kept)
        yield DoneEvent(answer)

    def _turn(self, *, alone: bool = True) -> AbstractContextManager[None]:
        """A turn on the cores; none for what asks the model as well, and not `alone`."""
        return self._parts.turns.turn() if alone else nullcontext()

    def _receipts(
        self, engine: Engine, frame: Frame, outcome: Outcome
    ) -> Generator[AnswerEvent, None, Outcome]:
        """What each citation is worth; stops between two of them when cancelled."""
        work = Receipts(engine, frame, self._question, outcome.citations, self._request.scope.workspace_id)
        written = outcome.kind != "quotes"
        found: list[Receipt] = []
        for receipt in work.of_answer(outcome.text, outcome.unsupported) if written else work.of_question():
            found.append(receipt)
            if self._cancel.is_set():
                break
            yield ReceiptEvent(receipt)
        usage = replace(outcome.usage, receipt_tokens=work.computed)
        return replace(outcome, receipts=tuple(found), usage=usage)

    def _warnings(self, engine: Engine, writer: Writer | None) -> tuple[str, ...]:
        if writer is None:
            return ()
        said = warning(self._language, languages_of(engine, self._parts.settings.model_languages))
        return (said,) if said else ()

    def _judged(self, evidence: Evidence, citations: Sequence[Citation], *, several: bool) -> Verdict:
        """Whether the evidence is enough, with a taught model's word on the likeliest quote where that is
        counted. One quote does not say what a question of several places asks."""
        parts = self._parts
        verdict, rule = parts.judged(evidence), parts.standing.counted
        if rule is None or several or not citations:
            return verdict
        checker = Checker(parts.engine(), self._request.scope.workspace_id)
        first = citations[0]
        return rule.judge(verdict, checker.margin(self._question, first.cited_text, first.document_id))

    def _quote(
        self, context: Context, searched: Found, *, shown: bool
    ) -> Generator[AnswerEvent, None, Evidence | None]:
        """The evidence, or None when cancelled; `shown`: the search for it is the reading that is
        reported."""
        total = context.pack.tokens
        segments, candidates = context.pack.segments, searched.candidates
        work = self._parts.quoter.find(self._question, segments, candidates, several=searched.several)
        while True:
            try:
                with self._turn():  # for each step: where this goes on after one, another decides
                    done, of = next(work)
            except StopIteration as end:
                found: Evidence = end.value
                return found
            if self._cancel.is_set():
                return None
            if shown:
                yield ProgressEvent(total * done // of, total, 0)


def basis_of(candidates: Sequence[Candidate], context: Context) -> Basis:
    """What is kept of what was found and looked into."""
    pack = context.pack
    passages = [*(s.passage for s in pack.segments), *(d.passage for d in pack.dropped)]
    sources = {passage.document_id: passage.generation for passage in passages}
    return Basis(tuple(candidate.chunk_id for candidate in candidates), sources)
