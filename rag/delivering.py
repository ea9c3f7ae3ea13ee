"""Delivering: what was found said to whoever asks: a refusal, the quotes, or prose with their marks."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace

from rag.answer import (
    AnswerEvent,
    AnswerKind,
    AnswerRequest,
    AnswerStatus,
    CitationEvent,
    Context,
    ContextEvent,
    DeltaEvent,
    Usage,
)
from rag.citations import Citation
from rag.clock import Clock
from rag.disagreement import Disagreement, disagreements
from rag.framing import Frame
from rag.inert import inert
from rag.phrases import say
from rag.quotes import Quote
from rag.receipts import Receipt
from rag.writer import Writer
from rag.writing import PARAGRAPH, Writing


@dataclass(frozen=True)
class Outcome:
    """What came of a question."""

    text: str
    kind: AnswerKind
    status: AnswerStatus
    citations: tuple[Citation, ...]
    context: Context
    usage: Usage = field(default_factory=Usage)
    unsupported: tuple[str, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    disagreements: tuple[Disagreement, ...] = ()
    added: str = ""


@dataclass(frozen=True)
class Delivery:
    """How one question's outcome reaches its asker: each step yields events and ends with an `Outcome`."""

    question: str
    language: str | None
    request: AnswerRequest
    clock: Clock
    cancel: threading.Event
    partial: bool = False
    """Whether only a part of the documents could be searched: then nothing is said of all of them."""

    def refusal(
        self, context: Context, closest: tuple[Citation, ...], *, told: bool, near: bool
    ) -> Generator[AnswerEvent, None, Outcome]:
        """No answer, and what came closest; with `near` as citations too."""
        if not told:
            yield ContextEvent(context)
        empty = not context.pack.segments and not context.pack.dropped
        status: AnswerStatus = "nothing_retrieved" if empty else "insufficient_evidence"
        text = say("unreached" if self.partial else "nothing" if empty else "refusal", self.language)
        shown = closest if near else ()
        for citation in shown:
            yield CitationEvent(citation)
        self.clock.since_start("time_to_first_token")
        yield DeltaEvent(text)
        return Outcome(text, "none", status, shown, replace(context, closest=closest))

    def answer(
        self,
        writer: Writer | None,
        frame: Frame,
        context: Context,
        citations: tuple[Citation, ...],
        quotes: Sequence[Quote],
    ) -> Generator[AnswerEvent, None, Outcome | None]:
        """The quotes, then what is written or the quotes once more as the answer's text; None when
        cancelled."""
        for citation in citations:
            yield CitationEvent(citation)
        if writer is not None:
            return (yield from self._written(writer, frame, context, citations, quotes))
        text = quoted(citations)
        self.clock.since_start("time_to_first_token")
        yield DeltaEvent(text)
        return Outcome(text, "quotes", "answered", citations, context)

    def _written(
        self,
        writer: Writer,
        frame: Frame,
        context: Context,
        citations: tuple[Citation, ...],
        quotes: Sequence[Quote],
    ) -> Generator[AnswerEvent, None, Outcome | None]:
        """Prose, with the best sentence before it where the model is small, or in its place where nothing
        written has support; None when cancelled."""
        likeliest = best_sentence(citations[0], quotes)
        sentence = f"{inert(likeliest)} [1]"
        lead = sentence if writer.leads else ""
        if lead:
            self.clock.since_start("time_to_first_token")
            yield DeltaEvent(lead)
        writing = Writing(writer, frame, self.question, self.request, likeliest)
        written = yield from writing.prose(context, citations, self.clock, self.cancel, lead)
        if written is None:
            return None
        parts = [part for part in (lead, written.text) if part]
        if not written.supported and not lead:
            yield DeltaEvent(f"{PARAGRAPH}{sentence}" if parts else sentence)
            parts.append(sentence)
        return Outcome(
            PARAGRAPH.join(parts),
            "prose" if written.supported else "sentence",
            "answered",
            citations,
            written.context,
            written.usage,
            written.unsupported,
        )

    def compared(self, outcome: Outcome) -> Generator[AnswerEvent, None, Outcome]:
        """Say where the citations disagree."""
        found = disagreements(self.question, outcome.citations) if outcome.status == "answered" else ()
        if not found:
            return outcome
        said = "".join(f"\n\n{self._differing(each)}" for each in found)
        yield DeltaEvent(said)
        return replace(outcome, disagreements=found, added=said)

    def _differing(self, found: Disagreement) -> str:
        values = (
            f"{inert(value)} [{number}]"
            for number, value in zip(found.citation_ids, found.values, strict=True)
        )
        return f"{say('disagreement', self.language)} {', '.join(values)}."


def quoted(citations: Sequence[Citation]) -> str:
    """An answer that is nothing but its quotes, each with its number; they are exact in the citations."""
    return "\n\n".join(f"{inert(citation.cited_text)} [{citation.id}]" for citation in citations)


def best_sentence(citation: Citation, quotes: Sequence[Quote]) -> str:
    """The likeliest sentence inside a citation; all of it where that was cut."""
    start, end = citation.start_char_index, citation.end_char_index
    for quote in quotes:
        first, last = quote.seed
        if quote.document_id == citation.document_id and start <= first < last <= end:
            return quote.sentence
    return citation.cited_text
