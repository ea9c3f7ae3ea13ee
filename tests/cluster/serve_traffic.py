"""What clients do all the time while the service under them changes, and how each of their requests ended."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.cluster.cluster_service import ClusterService
from tests.faults.checks import Violation

TOKENS = 1200
"""Of an answer: it takes some seconds, so that one is under way whatever happens when."""
PAUSE = 0.7
"""Seconds between two requests of a client: what is to start beside them needs the machine too."""
FACT = "The tower {name} was built by Mrs Bellweather in the year {year}.\n"


@dataclass
class Traffic:
    """Three clients: one asks and reads the answer's stream, one searches, one uploads and deletes.

    Attributes:
        sent: documents that were acknowledged and not deleted, by id.
        deleted: ids of those whose deletion was acknowledged.
        answers: when each stream began and ended.
        failed: what was not answered as it should be.
    """

    service: ClusterService
    known: str
    sent: dict[str, str] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    answers: list[tuple[float, float]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Let the clients work for as long as the context lasts."""
        threads = [
            threading.Thread(target=self._again, args=(each,))
            for each in (self._ask, self._search, self._send)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def check(self) -> None:
        """Wait until all that was acknowledged is ready, found and whole, and look that nothing deleted is
        back. Raises Violation."""
        client = self.service.client
        for document in self.sent:
            self.service.until_read(document)
        there = {each["id"] for each in client.get("/documents", params={"limit": 1000}).json()["documents"]}
        if lost := self.sent.keys() - there:
            raise Violation(f"acknowledged and lost: {lost}")
        if back := self.deleted & there:
            raise Violation(f"deleted and there again: {back}")
        for document, text in self.sent.items():
            found = {each["document_id"] for each in self.service.found(text).json()["results"]}
            if document not in found:
                raise Violation(f"{document} is not found by its own text")
            if found & self.deleted:
                raise Violation(f"deleted and found: {found & self.deleted}")

    def _again(self, work: Callable[[httpx.Client, int], None]) -> None:
        number = 0
        with httpx.Client(base_url=self.service.client.base_url, timeout=120) as client:
            while not self._stop.is_set():
                number += 1
                kind = work.__name__.strip("_")
                try:
                    work(client, number)
                    self.counts[kind] += 1
                except (httpx.HTTPError, Violation) as error:
                    self.failed.append(f"{kind} {number}: {type(error).__name__}: {error}")
                if kind != "ask":
                    time.sleep(PAUSE)

    def _ask(self, client: httpx.Client, number: int) -> None:
        body = {
            "question": "When does the lease of the mill end?",
            "mode": "answer",
            "max_tokens": TOKENS,
            "seed": number,
            "stream": True,
        }
        began, name, last = time.monotonic(), "", ("", None)
        with client.stream("POST", "/query", json=body) as stream:
            if stream.status_code != 200:
                stream.read()
                raise Violation(f"{stream.status_code} {stream.text}")
            for line in stream.iter_lines():
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    last = name, json.loads(line[6:])
        told: Any = last[1]
        if last[0] != "done" or not told["citations"]:
            raise Violation(f"the answer ended with {last}")
        self.answers.append((began, time.monotonic()))

    def _search(self, client: httpx.Client, number: int) -> None:
        found = _ok(
            client.post("/search", json={"query": f"When does the lease of the mill end? ({number})"})
        )
        if self.known not in {each["document_id"] for each in found["results"]}:
            raise Violation(f"the known document is not among {found['results']}")

    def _send(self, client: httpx.Client, number: int) -> None:
        text = FACT.format(name=secrets.token_hex(6), year=1400 + number)
        sent = _ok(client.post("/documents", files={"file": (f"tower-{number}.md", text.encode())}))
        document = sent["documents"][0]["id"]
        self.sent[document] = text
        if number % 5 == 0:
            gone = next(iter(self.sent))
            answer = client.delete(f"/documents/{gone}")
            if answer.status_code != 204:
                raise Violation(f"deletion: {answer.status_code} {answer.text}")
            del self.sent[gone]
            self.deleted.add(gone)


def _ok(answer: httpx.Response) -> Any:
    if answer.status_code >= 400:
        raise Violation(f"{answer.status_code} {answer.text}")
    return answer.json()
