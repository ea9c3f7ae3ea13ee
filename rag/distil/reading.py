"""Reading: what a model is given for a question in mode `answer`, made by the parts that answer it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rag.answer import AnswerRequest, Context
from rag.answering import Answerer
from rag.checking import check_prompt
from rag.citations import Citation
from rag.delivering import best_sentence
from rag.distil.remembering import Remembering
from rag.gathering import Gathering
from rag.quoting import Quoter
from rag.sentences import sentence_spans
from rag.sources import Sources
from rag.windows import windows_of
from rag.writer import Standing, Writer


@dataclass(frozen=True)
class Reading:
    """What was found for a question and how it is put to the model.

    Attributes:
        prompt: token ids, as the service would send them.
        citations: the quotes, which alone can support what is written.
        checks: of each quote, token ids of the question whether it says what is asked.
        context: the ledger of what stands in the prompt.
    """

    question: str
    prompt: tuple[int, ...]
    citations: tuple[Citation, ...]
    context: Context
    checks: tuple[tuple[int, ...], ...] = ()


class Reader:
    """Reads questions as `Answerer` does for a model that was found better, and stops before anything is
    written; every question is read, also one that the service would refuse without asking the model."""

    def __init__(self, answerer: Answerer, request: AnswerRequest) -> None:
        """`request` is what each question is asked with."""
        self._parts, self._request = answerer, replace(request, mode="answer")
        # no reader of spans: what it says decides on refusing, not on what is quoted
        self._quoter = Quoter(Remembering(answerer.embedder), sentence_spans)

    def read(self, question: str) -> Reading | None:
        """What the model would read; None where nothing can be quoted. Raises as `Answerer.answer`."""
        parts, request = self._parts, replace(self._request, question=question)
        engine = parts.engine()
        writer = Writer.of(engine, "answer", Standing(better=True))
        if writer is None:
            return None
        scope, asked = request.scope, question.strip()
        found = parts.finder.find(asked, scope, request.top_k, steps=request.steps)
        sources = Sources(parts.db, scope)
        gathering = Gathering(engine, writer, sources, parts.settings, request)
        context, frame = gathering.context(found.question, found.candidates, found.further)
        evidence = self._quoter.evidence(
            found.question, context.pack.segments, found.candidates, several=found.several
        )
        citations = sources.cite(evidence.quotes, found.candidates)
        if not citations:
            return None
        if not writer.reads_all:
            context = windows_of(context, citations, engine.tokenizer, frame)
        likeliest = best_sentence(citations[0], evidence.quotes)
        prompt = writer.prompt(frame, found.question, context.pack, citations, likeliest, request.max_tokens)
        assert engine.chat_format is not None  # noqa: S101 (there is no writer without one)
        checks = tuple(
            tuple(check_prompt(engine.chat_format, found.question, each.cited_text)) for each in citations
        )
        return Reading(found.question, tuple(prompt), citations, context, checks)


def passages(reading: Reading) -> Sequence[str]:
    """The texts that stand in the prompt."""
    return [segment.passage.text for segment in reading.context.pack.segments]
