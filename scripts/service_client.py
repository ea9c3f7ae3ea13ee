"""A few calls to a running Longleaf with the standard library alone, for the scripts beside it."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

FINAL_STATES = frozenset({"ready", "failed", "cancelled"})
PROXYLESS = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class CallFailed(Exception):
    """The service answered with an error status, or not at all; the message says which."""


class Service:
    """Calls to the service at `base`, e.g. `http://127.0.0.1:8000`; with an API key where it has one."""

    def __init__(self, base: str, key: str = "", opener: urllib.request.OpenerDirector = PROXYLESS) -> None:
        self.base = base.rstrip("/")
        self.key = key
        self._opener = opener

    def fetch(
        self, method: str, path: str, body: bytes | None = None, content_type: str = "", seconds: float = 600
    ) -> bytes:
        """The body of the answer; raises `CallFailed`."""
        headers = {"Content-Type": content_type} if content_type else {}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(self.base + path, data=body, headers=headers, method=method)
        try:
            with self._opener.open(request, timeout=seconds) as response:
                answer: bytes = response.read()
        except urllib.error.HTTPError as error:
            said = error.read().decode("utf-8", "replace")
            raise CallFailed(f"{method} {path}: {error.code} {said}") from error
        except OSError as error:
            raise CallFailed(f"{method} {self.base}{path}: {error}") from error
        return answer

    def call(
        self, method: str, path: str, body: bytes | None = None, content_type: str = "", seconds: float = 600
    ) -> Any:
        """The decoded JSON answer, `None` for an empty one; raises `CallFailed`."""
        answer = self.fetch(method, path, body, content_type, seconds)
        return json.loads(answer) if answer else None

    def upload(self, files: Sequence[Path], collection: str) -> list[str]:
        """Upload files into a collection, those already there reused; returns the documents' ids in order."""
        boundary = uuid.uuid4().hex
        parts = [_part(boundary, 'name="collection"', collection.encode())]
        parts += [
            _part(boundary, f'name="file"; filename="{path.name}"', path.read_bytes()) for path in files
        ]
        body = b"".join(parts) + f"--{boundary}--\r\n".encode()
        path = "/documents?" + urlencode({"on_duplicate": "reuse"})
        answer = self.call("POST", path, body, f"multipart/form-data; boundary={boundary}")
        return [document["id"] for document in answer["documents"]]

    def document(self, document_id: str) -> dict[str, Any]:
        """The state of one document."""
        answer: dict[str, Any] = self.call("GET", f"/documents/{document_id}")
        return answer

    def text(self, document_id: str) -> str:
        """The canonical text of one document."""
        return self.fetch("GET", f"/documents/{document_id}/text").decode("utf-8")

    def wait_until_ready(
        self, ids: Sequence[str], seconds: float = 600, watch: Callable[[dict[str, Any]], None] | None = None
    ) -> None:
        """Wait until every document can be asked about; raises `CallFailed` when one fails or time is up."""
        deadline = time.monotonic() + seconds
        waiting = list(ids)
        while waiting:
            document = self.document(waiting[0])
            if watch:
                watch(document)
            if document["status"] in FINAL_STATES:
                if document["status"] != "ready":
                    raise CallFailed(f"{document['filename']}: {document['status']}: {document['error']}")
                waiting.pop(0)
            elif time.monotonic() > deadline:
                raise CallFailed(f"{document['filename']}: still {document['status']} after {seconds:.0f} s")
            else:
                time.sleep(0.25)

    def ask(self, question: str, collection: str) -> dict[str, Any]:
        """The answer to a question about a collection."""
        body = json.dumps({"question": question, "collection": collection}).encode()
        answer: dict[str, Any] = self.call("POST", "/query", body, "application/json")
        return answer

    def is_up(self) -> bool:
        """Whether a Longleaf answers at this address and is ready for questions."""
        try:
            ready = self.call("GET", "/readyz", seconds=5)
        except (CallFailed, ValueError):
            return False
        return isinstance(ready, dict) and ready.get("ready") is True

    def wait_until_up(self, seconds: float, gave_up: Callable[[], str | None] = lambda: None) -> None:
        """Wait for `/readyz`; raises `CallFailed` when time is up or `gave_up` returns a reason."""
        deadline = time.monotonic() + seconds
        while not self.is_up():
            if reason := gave_up():
                raise CallFailed(reason)
            if time.monotonic() > deadline:
                raise CallFailed(f"{self.base} was not ready after {seconds:.0f} s")
            time.sleep(0.5)


def _part(boundary: str, disposition: str, content: bytes) -> bytes:
    head = f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n"
    return head.encode() + content + b"\r\n"
