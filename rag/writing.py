"""Writing: prose from a model, let through sentence by sentence where a quote supports it."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from model import PrefillProgress, SamplingParams, TokenEvent
from rag.answer import AnswerEvent, AnswerRequest, Context, DeltaEvent, ProgressEvent, Usage
from rag.citations import Citation
from rag.clock import Clock
from rag.framing import Frame
from rag.prose import ProseCheck
from rag.sentences import sentence_spans
from rag.writer import Writer

PARAGRAPH = "\n\n"
"""Between the sentence that leads and what is written."""


@dataclass(frozen=True)
class Written:
    """What came of it: `supported` sentences of `text` have a quote, `unsupported` ones are marked there."""

    text: str
    supported: int
    unsupported: tuple[str, ...]
    usage: Usage
    context: Context


@dataclass(frozen=True)
class Writing:
    """What a model is asked to write; `likeliest` is the best sentence of the first citation."""

    writer: Writer
    frame: Frame
    question: str
    request: AnswerRequest
    likeliest: str

    def prose(
        self,
        context: Context,
        citations: Sequence[Citation],
        clock: Clock,
        cancel: threading.Event,
        lead: str,
    ) -> Generator[AnswerEvent, None, Written | None]:
        """Prose that the quotes support, as it comes; its value is None when cancelled.

        `lead` is a sentence that stands before it: what says no more than that is left out.
        """
        writer, request = self.writer, self.request
        prompt = writer.prompt(
            self.frame, self.question, context.pack, citations, self.likeliest, request.max_tokens
        )
        context = replace(context, skeleton_tokens=len(prompt) - context.pack.tokens)
        quotes = [citation.cited_text for citation in citations]
        mark = request.unsupported == "mark"
        check = ProseCheck(self.question, quotes, sentence_spans, mark=mark, known=lead)
        params = SamplingParams(
            max_tokens=request.max_tokens, temperature=request.temperature, seed=request.seed
        )
        # What was read stays in the workspace, and goes when one of the documents goes.
        events = writer.engine.generate(
            prompt,
            params,
            cancel=cancel,
            salt=request.scope.workspace_id,
            tags={segment.passage.document_id for segment in context.pack.segments},
        )
        usage, began, reading = Usage(), time.perf_counter(), True
        for event in events:
            shown = ""
            if isinstance(event, PrefillProgress):
                yield ProgressEvent(event.read, event.total, event.cached)
            elif isinstance(event, TokenEvent):
                clock.since_start("time_to_first_token")
                if reading:
                    clock.observer.took("prefill", time.perf_counter() - began, tokens=len(prompt))
                    reading = False
                shown = check.push(event.text)
            elif event.reason == "cancelled":
                return None
            else:
                shown = check.flush(complete=event.reason != "length")
                usage = Usage(event.prompt_tokens, event.cached_tokens, event.completion_tokens)
            if shown:
                yield DeltaEvent(shown if check.text != shown or not lead else PARAGRAPH + shown)
        return Written(check.text, check.supported, tuple(check.unsupported), usage, context)
