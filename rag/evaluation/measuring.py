"""Measuring: one question through search and answer, and everything that is to be known of its way."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from rag.answer import Answer, AnswerRequest, DoneEvent
from rag.answering import Answerer
from rag.citations import Citation, PageRange, page_at
from rag.errors import LongleafError
from rag.evaluation.library import Library, Located
from rag.evaluation.metrics import (
    Place,
    exact,
    first_ranks,
    found_rank,
    holds,
    packed,
    passage_ranking,
    touches,
)
from rag.evaluation.outcome import Outcome, QuoteOutcome
from rag.evaluation.questions import GoldQuestion
from rag.finding import Finder


class Measurer:
    """Asks questions as the service does; `request` is what each of them is asked with."""

    def __init__(self, answerer: Answerer, library: Library, request: AnswerRequest) -> None:
        self._answerer = answerer
        self._finder = Finder(answerer.retriever, answerer.engine)
        self._library = library
        self._request = request

    def warm_up(self) -> None:
        """Ask once and forget it: the first answer of a process pays for what the others find done."""
        try:
            self._ask(replace(self._request, question="?"), threading.Event())
        except LongleafError:
            return

    def measure(self, gold: GoldQuestion, cancel: threading.Event) -> Outcome:
        """Ask a question. What the service refuses with an error is an outcome, too."""
        located = self._library.locate(gold)
        every = gold.evidence_mode == "all"
        base = Outcome(
            id=gold.id,
            question=gold.question,
            cluster=gold.cluster,
            language=gold.language,
            answerable=gold.answerable,
            answers=gold.answers,
            located=bool(located.places) and not (every and located.missing),
            missing=located.missing,
            every=every,
        )
        request = replace(self._request, question=gold.question)
        try:
            base = self._retrieved(base, located, request)
            began = time.perf_counter()
            answer = self._ask(request, cancel)
            elapsed = (time.perf_counter() - began) * 1000
        except LongleafError as error:
            return replace(base, status="error", reason=error.code, error=error.detail)
        return self._answered(base, gold, located, answer, elapsed)

    def _retrieved(self, base: Outcome, located: Located, request: AnswerRequest) -> Outcome:
        if not located.places:
            return base
        searched = self._finder.find(request.question, request.scope, request.top_k)
        found = [Place(each.document_id, each.start, each.end) for each in searched.candidates]
        ranks = first_ranks(located.places, found)
        ndcg, reciprocal = passage_ranking(located.places, found, every=base.every)
        return replace(
            base,
            ranks=tuple(ranks),
            found=found_rank(ranks, every=base.every),
            ndcg=ndcg,
            reciprocal=reciprocal,
            searches=tuple(f"{step.why}: {step.query}" for step in searched.searches),
        )

    def _ask(self, request: AnswerRequest, cancel: threading.Event) -> Answer:
        for event in self._answerer.answer(request, cancel):
            if isinstance(event, DoneEvent):
                return event.answer
        raise KeyboardInterrupt

    def _answered(
        self, base: Outcome, gold: GoldQuestion, located: Located, answer: Answer, elapsed: float
    ) -> Outcome:
        pack = answer.context.pack
        passages = [segment.passage for segment in pack.segments]
        # a small model reads only what stands around the quotes; they were chosen from all of this
        passages += [dropped.passage for dropped in pack.dropped if dropped.reason == "not_quoted"]
        read = [Place(each.document_id, each.start, each.end) for each in passages]
        refused = answer.answer_status != "answered"
        return replace(
            base,
            packed=packed(located.places, read, every=base.every),
            packed_mode=pack.mode,
            packed_tokens=pack.tokens,
            budget=pack.budget,
            prompt_tokens=answer.usage.prompt_tokens,
            written_tokens=answer.usage.completion_tokens,
            answer=answer.answer,
            kind=answer.answer_kind,
            status=answer.answer_status,
            reason=answer.evidence.reason,
            score=answer.evidence.score,
            threshold=answer.evidence.threshold,
            holds_answer=not refused and holds(answer.answer, gold.answers),
            quotes=tuple(self._quote(each, gold.answers, located.places) for each in answer.citations),
            milliseconds=round(elapsed, 3),
            timings=dict(answer.timings),
        )

    def _quote(self, citation: Citation, answers: Sequence[str], gold: Sequence[Place]) -> QuoteOutcome:
        document, start, end = citation.document_id, citation.start_char_index, citation.end_char_index
        pages = [PageRange(page.number, page.start, page.end) for page in self._library.pages(document)]
        page = page_at(pages, start)
        place = Place(document, start, end)
        return QuoteOutcome(
            text=citation.cited_text,
            filename=citation.filename,
            page=citation.page_number,
            start=start,
            end=end,
            exact=exact(self._library.text(document), start, end, citation.cited_text),
            page_right=citation.page_number == (None if page is None else page.number),
            evidence=any(touches(place, want) for want in gold),
            holds=holds(citation.cited_text, answers),
        )
