"""What is counted while it happens: requests, searches, answers, jobs and messages of one service."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from api.v1.events import Answered, Called, Piece, Step
from rag.observing import SEARCH, Number

if TYPE_CHECKING:
    from ingest.outcomes import Outcome
    from ingest.pipeline import Step as IngestStep
    from rag.answer import Answer

QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Bounds in seconds of what should take milliseconds."""
SLOW = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)
"""Bounds in seconds of what models and parsers do."""
BROAD = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""Bounds in seconds of what may be either."""
TOKENS = (128, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER_METHOD = "OTHER"
"""Label of every method that no route has: whoever asks can make up as many as they like."""
UNMATCHED = "unmatched"
"""Label of every path that is no route's."""
_ENDS: dict[IngestStep, str] = {
    "parsed": "parse",
    "written": "chunk",
    "ready_to_publish": "embed",
    "published": "publish",
}


class Metrics:
    """The instruments of one service, and the registry that shows them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = self._counter(
            "longleaf_http_requests", "Requests that were answered; 499 where the client left before.",
            "method", "route", "status",
        )  # fmt: skip
        self._request_seconds = self._histogram(
            "longleaf_http_request_duration_seconds", "From a request to the end of its answer or stream.",
            BROAD, "method", "route",
        )  # fmt: skip
        self.in_progress = Gauge(
            "longleaf_http_requests_in_progress", "Requests in work.", registry=self.registry
        )
        self._search_seconds = self._histogram(
            "longleaf_retrieval_stage_duration_seconds", "Stages of one search.", QUICK, "stage"
        )
        self._answers = self._counter("longleaf_answers", "Questions that were answered.", "status", "kind")
        self._answer_seconds = self._histogram(
            "longleaf_answer_duration_seconds", "From a question to its whole answer.", SLOW
        )
        self._answer_stages = self._histogram(
            "longleaf_answer_stage_duration_seconds", "Stages of one answer.", BROAD, "stage"
        )
        self._first_token = self._histogram(
            "longleaf_time_to_first_token_seconds",
            "From a question, or a request to the bare model (raw), to the first words of the answer.",
            SLOW, "work",
        )  # fmt: skip
        self._context_tokens = self._histogram(
            "longleaf_answer_context_tokens", "Tokens of documents in the ledger of an answer.", TOKENS
        )
        self._ingest_seconds = self._histogram(
            "longleaf_ingest_stage_duration_seconds", "Stages of reading one document.", SLOW, "stage"
        )
        self._jobs = self._counter("longleaf_ingest_jobs", "Jobs that ended in this process.", "outcome")
        self._messages = self._counter(
            "longleaf_webhook_attempts", "Attempts to send a message that this process made.", "outcome"
        )
        self._at = threading.local()

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that has ended: `method` of `METHODS` or `OTHER_METHOD`, `route` a template or
        `UNMATCHED`, never what somebody made up."""
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(method, route).observe(seconds)

    def stage(self, name: str) -> AbstractContextManager[object]:
        """Measure a stage of a search (`rag.observing.Observer`); those of an answer come with it."""
        return self._search_seconds.labels(name).time() if name in SEARCH else nullcontext()

    def took(self, name: str, seconds: float, **numbers: Number) -> None:
        """Is measured by `answered`."""

    def answered(self, answer: Answer) -> None:
        """Count an answer and its timings."""
        self._answers.labels(answer.answer_status, answer.answer_kind).inc()
        self._context_tokens.observe(answer.context.pack.tokens)
        for name, took in answer.timings.items():
            if took is None:
                continue
            if name == "total":
                self._answer_seconds.observe(took / 1000)
            elif name == "time_to_first_token":
                self._first_token.labels("answer").observe(took / 1000)
            else:
                self._answer_stages.labels(name).observe(took / 1000)

    def generating(self, steps: Iterator[Step]) -> Iterator[Step]:
        """Pass steps of the bare model on, and measure when the first of its text comes."""
        began, first = time.perf_counter(), None
        for step in steps:
            if first is None and isinstance(step, Piece | Called):
                first = time.perf_counter() - began
            if isinstance(step, Answered):  # counted as an answer
                first = None
            yield step
        if first is not None:
            self._first_token.labels("raw").observe(first)

    def ingest_step(self, step: IngestStep) -> None:
        """Measure the stage that ends with a step of a job, in the thread that does the job."""
        now = time.perf_counter()
        if step in _ENDS:
            self._ingest_seconds.labels(_ENDS[step]).observe(now - self._at.began)
        if step != "embedded":  # a batch of several
            self._at.began = now

    def ingest_ended(self, outcome: Outcome) -> None:
        """Count a job that this process is done with."""
        self._jobs.labels(outcome).inc()

    def sent(self, outcome: str) -> None:
        """Count an attempt to send a webhook's message: `delivered`, or why not (see `Sender`)."""
        self._messages.labels(outcome).inc()

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, registry=self.registry)

    def _histogram(self, name: str, meaning: str, bounds: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, meaning, labels, buckets=bounds, registry=self.registry)
